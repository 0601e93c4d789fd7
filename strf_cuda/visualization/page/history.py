"""What a training run left behind about its course: losses from TensorBoard's files, figures of its evaluations."""

import json
from pathlib import Path
from typing import Any

TRAINING = {"loss": "train/loss", "cross_entropy": "train/cross_entropy", "triplet": "train/triplet"}
ACCURACY = "train/accuracy"
EPOCH = "epoch"  # Lightning logs it beside the figures of every step


def run_history(folder: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The course of the run that a checkpoint belongs to.

    Args:
        folder: where the checkpoint lies; in a run's folder metrics.json and tensorboard/ lie beside it.
        checkpoint: its content without weights: "epoch" and "callbacks", where it has them.

    Returns:
        epoch: the checkpoint's, from 1, or None
        evaluations: rows of epoch, mAP, rank-1 and rank-5; those until the checkpoint where the run has no metrics.json
        training: rows of epoch, loss, cross_entropy, triplet and accuracy, means over the steps that were logged
        missing: a sentence for each part that is not there
    """
    epoch = checkpoint.get("epoch")
    evaluations = _evaluations_of_run(folder / "metrics.json") or _evaluations_until(checkpoint)
    training = _training(folder / "tensorboard")
    missing = []
    if not training:
        missing.append(
            f"There are no losses: TensorBoard's files in {folder / 'tensorboard'} are missing or hold none."
        )
    if not evaluations:
        missing.append(
            f"There are no figures by epoch: neither {folder / 'metrics.json'} nor the checkpoint holds the history of "
            "a run."
        )
    return {
        "epoch": None if epoch is None else epoch + 1,
        "evaluations": evaluations,
        "training": training,
        "missing": missing,
    }


def _evaluations_of_run(path: Path) -> list[dict[str, Any]]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return metrics.get("history", []) if isinstance(metrics, dict) else []


def _evaluations_until(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    return checkpoint.get("callbacks", {}).get("EvaluateAndSave", {}).get("history", [])


def _training(folder: Path) -> list[dict[str, float]]:
    """Means by epoch. A continued run has logged some steps twice: the later figures count."""
    if not folder.is_dir():
        return []

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    events.Reload()
    tags = events.Tags()["scalars"]
    if EPOCH not in tags:
        return []
    epochs = _by_step(events.Scalars(EPOCH))
    rows: dict[int, dict[str, float]] = {}
    for name, tag in {**TRAINING, "accuracy": ACCURACY}.items():
        if tag not in tags:
            continue
        values: dict[int, list[float]] = {}
        for step, value in _by_step(events.Scalars(tag)).items():
            if step in epochs:
                values.setdefault(int(epochs[step]) + 1, []).append(value)
        for epoch, logged in values.items():
            rows.setdefault(epoch, {"epoch": epoch})[name] = sum(logged) / len(logged)
    return [rows[epoch] for epoch in sorted(rows)]


def _by_step(events: list) -> dict[int, float]:
    return {event.step: event.value for event in sorted(events, key=lambda event: event.wall_time)}
