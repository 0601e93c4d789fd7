"""The tool that draws videos to try cutting with: its boxes hold all that moves."""

import csv

import numpy as np
import pytest

from strf_cuda.video.reading import Video
from strf_cuda.video.tracks import read_tracks
from tools import walkers_video


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A folder with a short video of one walker before one camera."""
    monkeypatch.setattr(walkers_video, "FRAMES", 60)
    monkeypatch.setattr(walkers_video, "PEOPLE", 1)
    monkeypatch.setattr(walkers_video, "CAMERAS", walkers_video.CAMERAS[:1])
    monkeypatch.setattr("sys.argv", ["walkers_video.py", str(tmp_path)])
    walkers_video.main()
    return tmp_path


def test_the_boxes_of_the_walkers_hold_all_that_moves(drawn):
    with Video(drawn / "cam1.mp4") as video:
        pictures = np.stack([frame.pixels() for frame in video]).astype(np.int16)
    moving = (np.abs(pictures - np.median(pictures, axis=0)) > 60).any(-1)
    tracks = read_tracks(drawn / "cam1.txt", height=360, width=640)
    assert len(tracks) > 20
    for frame, (left, top, width, height) in zip(tracks.frames, np.rint(tracks.boxes).astype(int), strict=True):
        seen = moving[frame - 1]
        assert seen[max(top, 0) : top + height, max(left, 0) : left + width].sum() > 0.98 * seen.sum() > 500
    (row,) = csv.DictReader((drawn / "names.csv").open())
    assert row["person"] == "cam1-0001"
