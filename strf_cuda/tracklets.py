"""`python -m strf_cuda.tracklets VIDEO TRACKS --out DIR`: cuts tracklets out of a video, along a tracker's boxes."""

import sys
from collections.abc import Sequence
from pathlib import Path

from strf_cuda.cli import load_config, run
from strf_cuda.video.config import CutConfig, check_cut

PROG = "python -m strf_cuda.tracklets"


def main(argv: Sequence[str] | None = None) -> None:
    """Cuts, and says what was found.

    Raises:
        InputError: options, a video, tracks or a folder that cannot be used, or that do not belong together.
    """
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.video.cutting import cut_tracklets

    cut = cut_tracklets(config)
    content, tracklets = cut.content, cut.tracklets
    crops, bridged = (sum(tracklet[name] for tracklet in tracklets) for name in ("frames", "bridged"))
    lengths = [tracklet["frames"] for tracklet in tracklets]
    rate = f", {content['frames_a_second']:.6g} frames a second" if content["frames_a_second"] else ""
    print(f"{Path(content['video']).name}: {content['height']}x{content['width']} (height x width){rate}")
    print(
        f"{len(tracklets):,} tracklets of {len({tracklet['track'] for tracklet in tracklets}):,} tracks, "
        f"{min(lengths):,} to {max(lengths):,} frames; {crops:,} crops, {bridged:,} of them bridge a gap"
    )
    for reason, count in content["left_out"].items():
        print(f"left out: {count:,} boxes {reason}")
    for note in cut.notes:
        print(f"note: {note}")
    if cut.found == len(tracklets):
        print(f"{config.out} was complete already")
    elif cut.found:
        print(f"{cut.found:,} tracklets were there from before")
    print(f"look at them: python -m strf_cuda.data {config.out} --out {Path(config.out).name}.png")


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
