"""`python -m strf_cuda.visualize report`: one HTML page with a run's curves, its figures, and its queries to browse.

The page needs no server and no network; it holds pictures of the people in the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strf_cuda import hub
from strf_cuda.cli import load_config
from strf_cuda.config import EvaluationOptions
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.settings import check_evaluation, evaluation_settings, other_split_notes

PROG = "python -m strf_cuda.visualize report"


@dataclass
class ReportConfig(EvaluationOptions):
    """Writes one HTML page about a trained model: curves, figures, and every query with what it finds, as short loops.

    Data set, frame size and protocol are those of the training run unless given here. The page holds pictures of
    people: share it only with those who may see them.

    Args:
        out: the page, an .html file; null takes report.html beside the checkpoint
        top: nearest tracklets shown for each query
        loop_frames: frames of each tracklet that are shown in turn
        thumb_height: height of their pictures in pixels; null takes the largest that fits
        megabytes: room for the pictures; their height and quality are chosen for it
    """

    out: str | None = None
    top: int = 10
    loop_frames: int = 6
    thumb_height: int | None = None
    megabytes: int = 60


def read_options(words: Sequence[str]) -> ReportConfig:
    """The checked configuration that a command line gives."""
    config = load_config(ReportConfig, words, prog=PROG)
    check_evaluation(config)
    ranges = {"top": (1, 100), "loop_frames": (1, 32), "thumb_height": (16, 512), "megabytes": (1, 1000)}
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            raise InputError(f"{name} is {value}, but it must be between {least} and {most}")
    if config.out is None and config.checkpoint.startswith(hub.PREFIX):
        raise InputError(f"{config.checkpoint} is not on this machine: say with --out where the page goes")
    if config.out is not None and Path(config.out).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"out is {config.out}, but the page is an .html file")
    return config


def draw(config: ReportConfig) -> Path:
    """Evaluates the model and writes the page; returns its path.

    Raises:
        InputError: a checkpoint, data set or option that cannot be used, or a page that cannot be written.
    """
    folder = _folder(config.checkpoint)
    path = expanded(config.out) if config.out else folder / "report.html"

    # After the checks, since these take seconds to import.
    from tqdm import tqdm

    from strf_cuda.files import writable_folder
    from strf_cuda.visualization.page.content import page_content, rankings
    from strf_cuda.visualization.page.history import run_history
    from strf_cuda.visualization.page.loops import fitting_loop, strips
    from strf_cuda.visualization.page.writing import write_page

    writable_folder(path.parent)
    trained, data, protocol, evaluation = _evaluated(config)
    print(f"\n{evaluation.table()}\n", flush=True)
    shown = rankings(evaluation, config.top)
    loop = fitting_loop(
        shown.tracklets,
        config.loop_frames,
        trained.config.data.stride,
        (data.height, data.width),
        config.thumb_height,
        config.megabytes * 750_000,  # in the page a byte takes four thirds of one
    )
    history = run_history(folder, trained.record.get("epochs"), _evaluations_until(config.checkpoint))
    content = page_content(trained, data, protocol, evaluation, shown, loop, history)
    with tqdm(total=len(shown.tracklets), desc="pictures", unit="tracklet", disable=None, leave=False) as bar:
        write_page(path, content, _counted(strips(shown.tracklets, loop), bar))
    print(
        f"{path}, {path.stat().st_size / 1e6:,.1f} MB: {len(shown.queries):,} queries, {len(shown.tracklets):,} "
        f"tracklets as loops of {loop.frames} frames, {loop.height}x{loop.width} pixels, quality {loop.quality}\n"
        "It holds pictures of people: share it only with those who may see them."
    )
    return path


def _evaluated(config: ReportConfig) -> tuple:
    """The trained model, the settings of its evaluation, and its figures."""
    from strf_cuda.data import open_dataset
    from strf_cuda.devices import autocast_type, keep_freed_memory, resolve_device
    from strf_cuda.evaluation import evaluate
    from strf_cuda.faults import evaluation_needs, faults_told
    from strf_cuda.trained import open_model

    device = resolve_device(config.device)
    keep_freed_memory(device)
    trained = open_model(config.checkpoint)
    data, protocol = evaluation_settings(config, trained.config)
    dataset = open_dataset(data.name, data.root, data.split)
    dataset.notes.extend(other_split_notes(data, trained.config.data))
    for note in dataset.notes:
        print(f"note: {note}")
    print(
        f"{dataset.name}: {len(dataset.query):,} queries, {len(dataset.gallery):,} gallery tracklets; "
        f"{trained.config.model.kind}, unit {trained.config.model.unit}, from {config.checkpoint}",
        flush=True,
    )
    with faults_told(*evaluation_needs(protocol, during_training=False)):
        autocast = autocast_type(config.precision, config.device)
        evaluation = evaluate(trained.model.to(device), dataset, data, protocol, autocast=autocast)
    return trained, data, protocol, evaluation


def _folder(checkpoint: str) -> Path | None:
    """A model's folder, or that of a checkpoint; None for a model of the hub."""
    if checkpoint.startswith(hub.PREFIX):
        return None
    source = expanded(checkpoint)
    return source if source.is_dir() else source.parent


def _evaluations_until(checkpoint: str) -> list[dict[str, Any]]:
    """The run's evaluations up to a checkpoint, which holds them; models of other forms have none."""
    from strf_cuda.checkpoints import read_checkpoint

    path = expanded(checkpoint)
    if not path.is_file():
        return []
    return read_checkpoint(path).get("callbacks", {}).get("EvaluateAndSave", {}).get("history", [])


def _counted(things, bar):
    for thing in things:
        yield thing
        bar.update()
