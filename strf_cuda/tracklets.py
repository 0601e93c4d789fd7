"""`python -m strf_cuda.tracklets VIDEO TRACKS --out DIR`: cuts tracklets out of a video, along a tracker's boxes."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strf_cuda.cli import load_config, run
from strf_cuda.video.config import CutConfig, check_cut

if TYPE_CHECKING:
    from strf_cuda.video.cutting import Cut

PROG = "python -m strf_cuda.tracklets"


def main(argv: Sequence[str] | None = None) -> None:
    """Cuts, and says what was found.

    Raises:
        InputError: options, a video, tracks or a folder that cannot be used, or that do not belong together.
    """
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.video.cutting import cut_tracklets

    cut = cut_tracklets(config)
    print("\n".join(_summary(cut)))
    if cut.found == len(cut.tracklets):
        print(f"{config.out} was complete already")
    elif cut.found:
        print(f"{_counted(cut.found, 'tracklet')} of them from before")
    sheet = f"{Path(config.out).name}.png"
    print(f"look at them: python -m strf_cuda.data {shlex.quote(config.out)} --out {shlex.quote(sheet)}")


def _summary(cut: "Cut") -> Iterator[str]:
    """Lines on the video, on what was cut, on what was left out, and notes."""
    content, tracklets = cut.content, cut.tracklets
    rate = f", {content['frames_a_second']:.6g} frames a second" if content["frames_a_second"] else ""
    yield f"{Path(content['video']).name}: {content['height']}x{content['width']} (height x width){rate}"
    tracks = len({tracklet["track"] for tracklet in tracklets})
    lengths = [tracklet["frames"] for tracklet in tracklets]
    span = f"{min(lengths):,} to {max(lengths):,}" if min(lengths) < max(lengths) else f"{lengths[0]:,}"
    yield (
        f"{_counted(len(tracklets), 'tracklet')} of {_counted(tracks, 'track')}, {span} frames; "
        f"{_counted(sum(lengths), 'crop')}, of which {sum(each['bridged'] for each in tracklets):,} bridge gaps"
    )
    if cut.left_out:
        yield f"left out: {cut.left_out}"
    for note in cut.notes:
        yield f"note: {note}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def read_options(words: Sequence[str]) -> CutConfig:
    """The configuration from a command line.

    Raises:
        InputError: options that no cut can use.
    """
    config = load_config(CutConfig, words, prog=PROG, positional=["video", "tracks"])
    check_cut(config)
    return config


if __name__ == "__main__":
    raise SystemExit(run(main))
