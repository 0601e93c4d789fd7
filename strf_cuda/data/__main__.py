"""`python -m strf_cuda.data ROOT`: what a data set holds, what is wrong with it, and a contact sheet to look at."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strf_cuda.cli import load_config, run
from strf_cuda.config import DataName
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

PROG = "python -m strf_cuda.data"
SAMPLE = 500
FAULTS_OF_A_SAMPLE = 10


@dataclass(frozen=True)
class DataCommandConfig:
    """Prints what a data set holds and what may be wrong with it, and draws a contact sheet.

    The root may be given without its name: python -m strf_cuda.data ROOT

    Args:
        root: folder or CSV file of the data set; null takes the built-in walkers
        name: which reader opens it; null tells that from the layout
        split: which official split, 0 to 9, of a data set that has ten
        decode: decode every frame instead of a sample, and look for pictures that come more than once
        out: PNG file for the contact sheet; null draws none
        workers: processes that decode, where that is more than a sample; 0 takes as many as there are processor cores
    """

    root: str | None = None
    name: DataName | None = None
    split: int | None = None
    decode: bool = False
    out: str | None = None
    workers: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.data import inspection, open_dataset, summary
    from strf_cuda.data.layouts import recognise
    from strf_cuda.data.registry import built_in_walkers

    root = config.root or str(built_in_walkers())
    name = config.name or recognise(root)
    dataset = open_dataset(name, root, config.split)
    print(f"{dataset.name} in {root}, read as {name}\n")
    print(f"{summary.population(dataset)}\n\n{summary.cameras(dataset)}\n", flush=True)

    distinct = inspection.distinct(dataset)
    total = sum(map(len, distinct))
    decode_all = config.decode or total <= SAMPLE
    paths = [tracklet.paths for tracklet in distinct] if decode_all else inspection.sample(distinct, SAMPLE)
    workers = (config.workers or os.cpu_count() or 1) if total > SAMPLE and decode_all else 1
    frames = inspection.inspect(paths, workers=workers)
    for heading, sentence in [*summary.remarks(dataset), *summary.frames(frames, total)]:
        print(f"{heading:<20}{sentence}")
    found = _problems(dataset, name, frames, decode_all)
    for heading, sentences in (("notes", dataset.notes), ("problems", found)):
        if sentences:
            print(f"\n{heading}")
        for sentence in sentences:
            print(f"  {sentence}")
    if not found:
        print("\nno problems found")
    if not decode_all:
        print(f"\n{frames.count:,} frames were decoded; --decode decodes all, and looks for repeated pictures")
    if config.out is not None:
        from strf_cuda.contact_sheet import draw_contact_sheet

        draw_contact_sheet(dataset, expanded(config.out))
        print(f"\n{config.out}: the contact sheet")


def read_options(words: Sequence[str]) -> DataCommandConfig:
    """The checked configuration that a command line gives."""
    config = load_config(DataCommandConfig, words, prog=PROG, positional=["root"])
    if config.workers < 0:
        raise InputError(f"workers is {config.workers}, but it must be 0 or more")
    if config.out is not None and Path(config.out).suffix.lower() != ".png":
        raise InputError(f"out is {config.out}, but the contact sheet is a .png file")
    if config.root is None and config.name not in (None, "walkers"):
        raise InputError(f"the data set {config.name} needs its folder or file: {PROG} ROOT --name {config.name}")
    return config


def _problems(dataset, name: str, frames, decoded_all: bool) -> list[str]:
    """What the lists, the folders and the frames show, a sentence each."""
    from strf_cuda.data import problems
    from strf_cuda.data.mars import JUNK_FOLDER

    files = problems.files_by_folder(dataset)
    found = [*problems.new_cameras(dataset), *problems.listed_twice(files), *problems.holes(dataset)]
    if name != "packed":  # which has its frames' old names, and no such folders
        meant = [JUNK_FOLDER] if name in ("mars", "walkers") else []
        found += problems.left_over(files, beside=name != "table", meant=meant)
    if decoded_all:
        found += problems.repeated(dataset, frames.digests)
    if frames.plain:
        found.append(f"{frames.plain:,} of {frames.count:,} frames decoded are of one colour all over")
    wide = sum(count for (height, width, *_), count in frames.kinds.items() if width > height)
    if wide:
        found.append(
            f"{wide:,} of {frames.count:,} frames decoded are wider than high, unlike boxes of standing people"
        )
    if frames.faults:
        found.append(f"{len(frames.faults):,} of {frames.count:,} frames cannot be decoded:")
        shown = frames.faults if decoded_all else frames.faults[:FAULTS_OF_A_SAMPLE]
        found += [f"  {fault}" for fault in shown]
        if len(shown) < len(frames.faults):
            found.append(f"  and {len(frames.faults) - len(shown):,} more")
    return found


if __name__ == "__main__":
    raise SystemExit(run(main))
