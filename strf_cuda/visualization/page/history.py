"""What a training run left behind about its course: losses from TensorBoard's files, figures of its evaluations."""

from pathlib import Path
from typing import Any

from strf_cuda.contents import read_json

TRAINING = {"loss": "train/loss", "cross_entropy": "train/cross_entropy", "triplet": "train/triplet"}
ACCURACY = "train/accuracy"
EPOCH = "epoch"  # Lightning logs it beside the figures of every step


def run_history(folder: Path | None, epochs: int | None = None, until: list[dict[str, Any]] | None = None) -> dict:
    """The course of the run that a model comes from.

    Args:
        folder: where the model lies, if on this machine; in a run's folder metrics.json and tensorboard/ lie beside it.
        epochs: how many the model has behind it, if that is known.
        until: the run's evaluations up to there, as its checkpoint holds them.

    Returns:
        epoch: the model's, or None
        evaluations: rows of epoch, mAP, rank-1 and rank-5, of the whole run or else `until`
        training: rows of epoch, loss, cross_entropy, triplet and accuracy, means over the steps that were logged
        missing: a sentence for each part that is not there
    """
    evaluations = (folder and _evaluations(folder / "metrics.json")) or until or []
    training = _training(folder / "tensorboard") if folder else []
    missing = []
    if not training:
        missing.append("There are no losses: beside the model lies no tensorboard/ of a run that holds some.")
    if not evaluations:
        missing.append(
            "There are no figures by epoch: neither the model nor a metrics.json of a run beside it holds them."
        )
    return {"epoch": epochs, "evaluations": evaluations, "training": training, "missing": missing}


def _evaluations(path: Path) -> list[dict[str, Any]]:
    try:
        metrics = read_json(path)
    except (OSError, ValueError):
        return []
    return metrics.get("history", []) if isinstance(metrics, dict) else []


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
