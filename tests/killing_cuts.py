"""Cuts a video until a moment at which the process kills itself: MOMENT VIDEO TRACKS OUT."""

import os
import signal
import sys
from pathlib import Path

from strf_cuda.video import CutConfig, cut_tracklets, sidecar, store


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_instead(owner, name, times):
    """The call of that number does not happen."""
    plain, calls = getattr(owner, name), []

    def call(*arguments):
        calls.append(arguments)
        return die() if len(calls) == times else plain(*arguments)

    setattr(owner, name, call)


def die_in_a_line():
    """The second tracklet's line is on the disk in part."""
    line, lines = store._line, []

    def part(tracklet):
        lines.append(line(tracklet))
        return lines[-1][: 40 if len(lines) == 2 else None]

    store._line = part
    die_instead(store.Store, "_place", 2)


MOMENTS = {
    "in a tracklet": lambda: die_instead(Path, "write_bytes", 30),
    "in the second tracklet's line": die_in_a_line,
    "before the second tracklet's rename": lambda: die_instead(store.Store, "_place", 2),
    "before the end": lambda: die_instead(sidecar, "write_videos", 1),
    "before the hidden folder goes": lambda: die_instead(store.Store, "_clear", 1),
}

if __name__ == "__main__":
    moment, video, tracks, out = sys.argv[1:]
    MOMENTS[moment]()
    cut_tracklets(CutConfig(video, tracks, out), progress=False)
