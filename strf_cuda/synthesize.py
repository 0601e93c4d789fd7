"""Command that makes the built-in data set: python -m strf_cuda.synthesize --out DIR."""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from strf_cuda.cli import load_config, run
from strf_cuda.data.walkers.config import SIZES, SPLITS, SizeName, WalkersConfig

PROG = "python -m strf_cuda.synthesize"


@dataclass(frozen=True)
class SynthesizeConfig:
    """Draws walking people in the layout of MARS, with a contact sheet to look at.

    Every parameter of the set that is not given comes from its named size.

    Args:
        out: folder for the set; one that holds the same set already is left as it is, any other must be new or empty
        size: demo is the small built-in set, full has 600 people at 256x128
        train_people: identities for training
        test_people: identities for the test
        gait_groups: groups of four look-alikes that differ in gait, on each side
        pace_groups: groups of four look-alikes that differ in the pace of their gait alone, on each side
        cameras_per_person: how many of the six cameras see each person
        tracklets_per_person: tracklets of each person
        distractors: further test tracklets of people who match no query
        junk: further test tracklets of boxes that missed their person
        height: of a frame in pixels
        width: of a frame in pixels
        frames: fewest frames of a tracklet
        occluded: share of occluded tracklets among those of people without look-alikes
        misaligned: share of tracklets with misplaced boxes among those of people without look-alikes
        seed: of every random draw
        workers: processes that draw; 0 takes as many as there are processor cores
    """

    out: str
    size: SizeName = "demo"
    train_people: int | None = None
    test_people: int | None = None
    gait_groups: int | None = None
    pace_groups: int | None = None
    cameras_per_person: int | None = None
    tracklets_per_person: int | None = None
    distractors: int | None = None
    junk: int | None = None
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    occluded: float | None = None
    misaligned: float | None = None
    seed: int | None = None
    workers: int = 0

    def walkers(self) -> WalkersConfig:
        """The set's parameters: those given, the rest from the named size."""
        given = {field.name: getattr(self, field.name) for field in fields(WalkersConfig)}
        return replace(SIZES[self.size], **{name: value for name, value in given.items() if value is not None})


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the set and its contact sheet and prints what it holds."""
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.data.walkers.sheet import caption, contact_sheet
    from strf_cuda.data.walkers.write import make_walkers
    from strf_cuda.files import replacing

    start = time.perf_counter()
    root = make_walkers(config.out, config.walkers(), workers=config.workers or os.cpu_count() or 1)
    seconds = time.perf_counter() - start
    picture = root / "contact_sheet.png"
    if not picture.exists():
        with replacing(picture) as temporary:
            contact_sheet(root, config.walkers()).save(temporary)
    print(_table(config.walkers()))
    print(f"{root}: {seconds:.1f} s; {picture.name}: {caption()}")


def read_options(words: Sequence[str]) -> SynthesizeConfig:
    """The configuration that a command line gives; the set's parameters are checked when it is drawn."""
    return load_config(SynthesizeConfig, words, prog=PROG)


def _table(config: WalkersConfig) -> str:
    """Tracklets by challenge on each side, with people and frames."""
    from strf_cuda.data.tracklets import DISTRACTOR_PERSON
    from strf_cuda.data.walkers.plan import CHALLENGES, plan_queries, plan_split

    lines = [["", "people", "tracklets", "queries", *CHALLENGES, "frames"]]
    for split in SPLITS:
        plans = plan_split(config, split)
        counts = Counter(plan.challenge for plan in plans)
        people = {plan.person_id for plan in plans if plan.person_id > DISTRACTOR_PERSON}
        queries = len(plan_queries(config, plans)) if split == "test" else 0
        numbers = [len(people), len(plans), queries, *(counts[challenge] for challenge in CHALLENGES)]
        lines.append([split, *map(str, numbers), str(sum(plan.num_frames for plan in plans))])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    raise SystemExit(run(main))
