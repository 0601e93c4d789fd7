"""`python -m strf_cuda.evaluate`: figures of a trained model, its ranked results, and a picture of some of them.

metrics.json     mAP, CMC, mINP, by challenge, with the protocol they follow
rankings.json    the ten nearest tracklets of every query
rankings.png     queries at even distances through the list, right answers green, wrong ones red
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strf_cuda import hub
from strf_cuda.cli import load_config, run, to_dict
from strf_cuda.config import EvaluateConfig
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.processes import Team, check_devices, joined, launched, start
from strf_cuda.settings import check_at_least, check_evaluation, evaluation_settings, other_split_notes

PROG = "python -m strf_cuda.evaluate"
TOP = 10


def main(argv: list[str] | None = None) -> None:
    with joined() as team:
        config = read_options(sys.argv[1:] if argv is None else argv)
        if launched():
            config.devices = team.local_processes

        from strf_cuda.quiet import show_warnings_in_one_line

        show_warnings_in_one_line()
        evaluate_checkpoint(config, team)


def read_options(words: Sequence[str]) -> EvaluateConfig:
    """The checked configuration that a command line gives."""
    config = load_config(EvaluateConfig, words, prog=PROG)
    _check(config)
    return config


def evaluate_checkpoint(config: EvaluateConfig, team: Team | None = None) -> dict[str, Any] | None:
    """Evaluates a checkpoint and writes the three files.

    Args:
        team: the processes that this one has joined. Without it, `config.devices` are started, and this one waits.

    Returns:
        The content of metrics.json, or None in all processes of a team but the first.

    Raises:
        InputError: a checkpoint, data set or option that cannot be used, or a process that was killed.
        SystemExit: one of the processes that were started has failed, and has said why.
    """
    _check(config)
    folder = _folder(config)

    # After the checks, since these take seconds to import.
    from strf_cuda.data import open_dataset
    from strf_cuda.devices import autocast_type, keep_freed_memory, resolve_device
    from strf_cuda.evaluation import evaluate
    from strf_cuda.faults import evaluation_needs, faults_told
    from strf_cuda.files import writable_folder, write_json
    from strf_cuda.pictures import draw_rankings
    from strf_cuda.trained import open_model

    device = resolve_device(config.device)
    check_devices(config.devices, device)
    team = team or Team()
    if config.devices > team.processes:
        start("strf_cuda.evaluate", config, config.devices)
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    team.connect(device)
    keep_freed_memory(device)
    with team.one_on_each_machine_first():
        trained = open_model(config.checkpoint)
    data, protocol = evaluation_settings(config, trained.config)
    with team.one_on_each_machine_first():
        dataset = open_dataset(data.name, data.root, data.split)
    dataset.notes.extend(other_split_notes(data, trained.config.data))
    autocast = autocast_type(config.precision, config.device)
    if team.is_first:
        for note in dataset.notes:
            print(f"note: {note}")
        print(
            f"{dataset.name}: {len(dataset.query):,} queries, {len(dataset.gallery):,} gallery tracklets; "
            f"{trained.config.model.kind}, unit {trained.config.model.unit}, from {config.checkpoint}",
            flush=True,
        )
        writable_folder(folder)
    with faults_told(*evaluation_needs(protocol, during_training=False)):
        evaluation = evaluate(trained.model.to(device), dataset, data, protocol, autocast=autocast)
    if evaluation is None:
        return None
    print(f"\n{evaluation.table()}\n")

    metrics = {
        **evaluation.to_dict(),
        "checkpoint": str(config.checkpoint),
        "fingerprint": trained.fingerprint,
        "protocol": {
            **to_dict(protocol),
            "frames": protocol.frames or data.frames,
            "height": data.height,
            "width": data.width,
        },
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "rankings.json", evaluation.rankings(TOP))
    rows = min(config.queries, len(dataset.query))
    if rows:
        shown = [index * len(dataset.query) // rows for index in range(rows)]
        top = evaluation.top(TOP)[shown]
        distances = evaluation.distances[[[query] for query in shown], top]
        draw_rankings(
            [dataset.query[query] for query in shown],
            dataset.gallery,
            top,
            folder / "rankings.png",
            distances=distances,
            person_names=dataset.person_names,
            camera_names=dataset.camera_names,
        )
    print(f"metrics.json, rankings.json{' and rankings.png' if rows else ''} are in {folder}")
    return metrics


def _folder(config: EvaluateConfig) -> Path:
    """Where the files go: beside a checkpoint, or into a model's folder, unless the options say."""
    if config.out:
        return expanded(config.out)
    source = expanded(config.checkpoint)
    return (source if source.is_dir() else source.parent) / "evaluation"


def _check(config: EvaluateConfig) -> None:
    check_evaluation(config)
    if config.out is None and config.checkpoint.startswith(hub.PREFIX):
        raise InputError(f"{config.checkpoint} is not on this machine: say with --out where the figures go")
    check_at_least(config, devices=1, queries=0)


if __name__ == "__main__":
    raise SystemExit(run(main))
