"""Tracklets cut out of videos: the right pixels of the right frames, whatever the video and the tracks are like."""

import numpy as np
import pytest
from PIL import Image

import videos
from strf_cuda.data import TrackletFolder
from strf_cuda.video import CutConfig, cut_tracklets, read_sidecar
from videos import BLUE, GREEN, RED, TOLERANCE


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Twenty frames of the three movers."""
    return videos.write_video(tmp_path_factory.mktemp("videos") / "cam1.mp4", videos.scene())


@pytest.fixture
def cut(video, tmp_path):
    """Cuts with some tracks, of the movers unless given; returns the folder."""

    def cut(text=None, *, of=video, out="people", **options):
        tracks = tmp_path / "tracks.txt"
        tracks.write_text(videos.tracks() if text is None else text)
        config = CutConfig(str(of), str(tracks), str(tmp_path / out), **options)
        return cut_tracklets(config, progress=False).folder

    return cut


def crops(folder, name):
    """The crops of a tracklet by frame number."""
    (tracklet,) = folder.glob(f"*/*/{name}")
    return {int(path.stem): np.asarray(Image.open(path)).astype(int) for path in sorted(tracklet.iterdir())}


def check_colour(crop, colour, size=(40, 20)):
    assert crop.shape == (*size, 3)
    assert np.abs(crop - colour).max() <= TOLERANCE


def test_every_crop_is_the_box_of_its_frame(cut):
    folder = cut()
    for mover, name in ((RED, "cam1-0001-000001"), (GREEN, "cam1-0002-000003"), (BLUE, "cam1-0003-000006")):
        found = crops(folder, name)
        assert list(found) == list(range(mover.first, mover.last + 1))
        for number, crop in found.items():
            left, top, width, height = mover.box(number)
            expected = videos.scene()[number - 1, top : top + height, left : left + width]
            assert np.abs(crop - expected).max() <= TOLERANCE


def test_times_are_those_of_the_video(cut):
    times = read_sidecar(cut(start="09:00:00"))
    assert times["cam1-0002-000003"] == pytest.approx((32400.08, 32400.68))


def test_the_folder_is_a_data_set(cut):
    data = TrackletFolder(cut(), test_fraction=0.0)
    assert sorted(data.person_names.values()) == ["cam1-0001", "cam1-0002", "cam1-0003"]
    assert data.camera_names == {1: "cam1"}
    assert sorted(map(len, data.train)) == [15, 16, 20]
