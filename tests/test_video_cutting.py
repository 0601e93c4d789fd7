"""Tracklets cut out of videos: the right pixels of the right frames, whatever the video and the tracks are like."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import videos
from strf_cuda.data import TrackletFolder
from strf_cuda.errors import InputError
from strf_cuda.video import CutConfig, cut_tracklets, read_sidecar, reading
from test_contents import POINTER
from videos import BLUE, GREEN, GROUND, HEIGHT, RED, TOLERANCE, WIDTH, Mover


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Twenty frames of the three movers."""
    return videos.write_video(tmp_path_factory.mktemp("videos") / "cam1.mp4", videos.scene())


@pytest.fixture
def cut(video, tmp_path):
    """Cuts with some tracks, of the movers unless given; returns what it gave."""

    def cut(text=None, *, of=video, out="people", **options):
        tracks = tmp_path / "tracks.txt"
        tracks.write_text(videos.tracks() if text is None else text)
        config = CutConfig(str(of), str(tracks), str(tmp_path / out), **options)
        return cut_tracklets(config, progress=False)

    return cut


def crops(cut, name):
    """The crops of a tracklet by frame number."""
    (tracklet,) = cut.folder.glob(f"*/*/{name}")
    return {int(path.stem): np.asarray(Image.open(path)).astype(int) for path in sorted(tracklet.iterdir())}


def check_colour(crop, colour, height=40, width=20):
    assert crop.shape == (height, width, 3)
    assert np.abs(crop - colour).max() <= TOLERANCE


def check_movers(found, pictures=None):
    """All crops of the three movers hold what the pictures have in their boxes."""
    pictures = videos.scene() if pictures is None else pictures
    for mover, name in ((RED, "000001"), (GREEN, "000003"), (BLUE, "000006")):
        numbers = range(mover.first, mover.last + 1)
        tracklet = crops(found, f"{found.content['prefix']}-{mover.track:04d}-{name}")
        assert list(tracklet) == list(numbers)
        for number in numbers:
            left, top, width, height = mover.box(number)
            expected = pictures[number - 1, top : top + height, left : left + width]
            assert np.abs(tracklet[number] - expected).max() <= TOLERANCE


def names(cut):
    return [tracklet["name"] for tracklet in cut.tracklets]


def test_every_crop_is_the_box_of_its_frame(cut):
    check_movers(cut())


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "mpeg4", "pixels": "yuv420p"},
        {"pixels": "yuv420p"},
        {"pixels": "yuvj444p"},
        {"space": 5, "full": False},
        {"space": 1, "full": False},
        {"space": 1, "full": True},
        {"codec": "mjpeg", "pixels": "yuvj444p"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_colours_follow_the_matrix_and_range_that_the_video_names(cut, tmp_path, options):
    container = "mkv" if options.get("codec") == "mjpeg" else "mp4"
    found = cut(of=videos.write_video(tmp_path / f"cam1.{container}", videos.scene(), **options))
    for mover, name in ((RED, "cam1-0001-000001"), (GREEN, "cam1-0002-000003"), (BLUE, "cam1-0003-000006")):
        for crop in crops(found, name).values():
            inner = crop[4:-4, 4:-4]  # with half the colour resolution the edges take on their neighbours' colour
            assert np.abs(inner - mover.colour).max() <= TOLERANCE


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_a_phones_video_is_turned_upright_as_trackers_see_it(cut, tmp_path, rotation, turns):
    stored = np.rot90(videos.scene(), -turns, axes=(1, 2))
    video = videos.write_video(tmp_path / "cam1.mp4", np.ascontiguousarray(stored), rotation=rotation)
    found = cut(of=video)
    assert (found.content["height"], found.content["width"]) == (HEIGHT, WIDTH)
    check_movers(found)


def test_frames_can_be_taken_as_they_are_stored(cut, tmp_path):
    check_movers(cut(of=videos.write_video(tmp_path / "cam1.mp4", videos.scene(), rotation=90), as_stored=True))


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv444p"), ("mpeg4", "yuv420p")])
def test_frames_of_odd_size(cut, tmp_path, codec, pixels):
    pictures = videos.scene(height=97, width=161)
    found = cut(of=videos.write_video(tmp_path / "cam1.mp4", pictures, codec=codec, pixels=pixels))
    assert (found.content["height"], found.content["width"]) == (97, 161)
    check_colour(crops(found, "cam1-0003-000006")[20][4:-4, 4:-4], BLUE.colour, 32, 12)


def test_interlaced_frames_are_taken_whole(cut, tmp_path):
    found = cut(of=videos.write_video(tmp_path / "cam1.mp4", videos.scene(), interlaced=True))
    check_movers(found)


def test_frames_of_changing_duration_are_counted_and_their_own_times_told(cut, tmp_path):
    times = np.cumsum([5, 3, 9, 1, 4] * 4).tolist()
    found = cut(of=videos.write_video(tmp_path / "cam1.mp4", videos.scene(), times=times))
    check_movers(found)
    first, last = read_sidecar(found.folder)["cam1-0002-000003"]
    assert (first, last) == pytest.approx(((times[2] - 5) / 100, (times[17] - 5) / 100))


@pytest.mark.parametrize(
    ("start", "seconds"),
    [
        ("0", 0),
        ("12.5", 12.5),
        ("09:00:00", 32400),
        ("2026-11-23T09:30:00", 1795426200),
        ("2026-11-23T10:30:00+01:00", 1795426200),
    ],
)
def test_times_are_those_of_the_cameras_clock(cut, start, seconds):
    times = read_sidecar(cut(start=start).folder)
    assert times["cam1-0002-000003"] == pytest.approx((seconds + 0.08, seconds + 0.68))


def test_short_gaps_are_bridged_in_a_straight_line(cut):
    gap = {(1, frame) for frame in (8, 9, 10)}
    found = cut(videos.tracks(without=gap), gap=3)
    check_movers(found)
    assert {tracklet["name"]: tracklet["bridged"] for tracklet in found.tracklets} == {
        "cam1-0001-000001": 3,
        "cam1-0002-000003": 0,
        "cam1-0003-000006": 0,
    }


def test_a_longer_gap_begins_another_tracklet_of_the_same_person(cut):
    gap = {(1, frame) for frame in (9, 10, 11)}
    found = cut(videos.tracks(without=gap), gap=2)
    assert [(tracklet["name"], tracklet["frames"]) for tracklet in found.tracklets][:2] == [
        ("cam1-0001-000001", 8),
        ("cam1-0001-000012", 9),
    ]
    assert {tracklet["person"] for tracklet in found.tracklets[:2]} == {"cam1-0001"}


def test_tracklets_that_are_too_short_are_left_out(cut):
    found = cut(min_length=16)
    assert names(found) == ["cam1-0001-000001", "cam1-0002-000003"]
    assert found.content["left_out"] == {"in tracklets of fewer than 16 frames": 15}
    assert not list(found.folder.glob("cam1-0003"))


def test_boxes_partly_outside_are_clipped_and_those_hardly_within_left_out(cut, tmp_path):
    walker = Mover(4, (220, 200, 40), 116, 10, right=2, last=30)
    video = videos.write_video(tmp_path / "cam1.mp4", videos.scene([walker], 30))
    found = cut(videos.tracks([walker]), of=video, visible=0.5, min_width=8)
    seen = crops(found, "cam1-0004-000001")
    assert {number: crop.shape[1] for number, crop in seen.items() if number > 12} == {
        13: 20, 14: 18, 15: 16, 16: 14, 17: 12, 18: 10,
    }  # fmt: skip
    for crop in seen.values():
        check_colour(crop, walker.colour, 40, crop.shape[1])
    assert found.content["left_out"] == {"outside the frame": 8, "less than 0.5 within the frame": 4}


def test_boxes_that_are_too_small_are_left_out(cut):
    found = cut(videos.tracks([RED, Mover(9, GROUND, 100, 10, width=15)]))
    assert names(found) == ["cam1-0001-000001"]
    assert found.content["left_out"] == {"smaller than 32x16 (height x width)": 20}


def test_a_margin_is_added_on_every_side_and_ends_at_the_frame(cut):
    found = crops(cut(margin=0.25), "cam1-0001-000001")
    assert found[1].shape == (40 + 8 + 10, 20 + 4 + 5, 3)  # the box begins 4 from the left and 8 from the top
    assert found[2].shape == (40 + 8 + 10, 20 + 5 + 5, 3)
    assert np.abs(found[2][8:48, 5:25] - RED.colour).max() <= TOLERANCE
    assert np.abs(found[2][:, :5] - GROUND).max() <= TOLERANCE


def test_crops_of_one_size_are_resized(cut):
    for crop in crops(cut(height=64, width=24), "cam1-0003-000006").values():
        check_colour(crop, BLUE.colour, 64, 24)


def test_boxes_between_pixels_are_rounded(cut):
    row = "{frame},{track},{left}.2,{top}.3,{width}.2,{height}.1"
    check_movers(cut(videos.tracks(row=row)))


def test_every_third_frame(cut):
    found = cut(every=3, min_length=5)
    assert list(crops(found, "cam1-0002-000004")) == [4, 7, 10, 13, 16]
    assert found.tracklets[1]["last_frame"] == 16


def test_tracks_that_count_from_0(cut):
    text = "".join(
        f"{int(line.split(',')[0]) - 1},{line.split(',', 1)[1]}" for line in videos.tracks().splitlines(keepends=True)
    )
    found = cut(text)
    assert found.notes == ["tracks.txt counts frames from 0"]
    red = crops(found, "cam1-0001-000000")
    assert list(red) == list(range(20))
    for crop in red.values():
        check_colour(crop, RED.colour)
    assert cut(text, first_frame=0).found == 3


def test_corners_and_labels_of_ultralytics_give_the_same_crops(cut, tmp_path, video):
    rows = [line.split(",") for line in videos.tracks().splitlines()]
    boxes = np.array(rows, float)
    right, bottom = boxes[:, 2] + boxes[:, 4], boxes[:, 3] + boxes[:, 5]
    corners = np.column_stack([boxes[:, :4], right, bottom])
    check_movers(cut("\n".join(",".join(map(str, row)) for row in corners), boxes="corners", out="corners"))
    (tmp_path / "labels").mkdir()
    for frame, track, left, top, width, height, *_ in boxes:
        center = (left + width / 2) / WIDTH, (top + height / 2) / HEIGHT
        with (tmp_path / f"labels/cam1_{frame:.0f}.txt").open("a") as file:
            print(0, *center, width / WIDTH, height / HEIGHT, f"{track:.0f}", file=file)
    config = CutConfig(str(video), str(tmp_path / "labels"), str(tmp_path / "labelled"))
    check_movers(cut_tracklets(config, progress=False))
    assert cut_tracklets(config, progress=False).found == 3
    (tmp_path / "labels/cam1_20.txt").unlink()
    with pytest.raises(InputError, match="now .*labels with other content"):
        cut_tracklets(config, progress=False)


def test_boxes_predicted_beyond_the_video_are_left_out(cut):
    found = cut(videos.tracks([RED, Mover(2, GROUND, 0, 0, first=16, last=23)]), min_length=5)
    assert [(tracklet["name"], tracklet["frames"]) for tracklet in found.tracklets] == [
        ("cam1-0001-000001", 20),
        ("cam1-0002-000016", 5),
    ]
    assert found.left_out == "3 boxes after the last frame"


def test_frames_without_a_box_are_not_converted_and_those_after_the_last_not_decoded(cut, monkeypatch):
    converted, decoded = [], []
    pixels, frames = reading.VideoFrame.pixels, reading.Video.__iter__
    monkeypatch.setattr(reading.VideoFrame, "pixels", lambda frame: converted.append(frame.index + 1) or pixels(frame))
    monkeypatch.setattr(
        reading.Video, "__iter__", lambda video: (decoded.append(frame.index + 1) or frame for frame in frames(video))
    )
    cut(videos.tracks([Mover(1, RED.colour, 4, 8, right=4, first=5, last=12)]))
    assert converted == list(range(5, 13))
    assert decoded == list(range(1, 13))


def test_videos_of_one_camera_and_of_others_share_a_folder(cut, tmp_path, video):
    other = videos.write_video(tmp_path / "noon.mp4", videos.scene([GREEN]))
    third = videos.write_video(tmp_path / "cam2.mp4", videos.scene([BLUE]))
    cut()
    cut(of=other, camera="cam1", text=videos.tracks([GREEN]))
    found = cut(of=third, text=videos.tracks([BLUE]))
    data = TrackletFolder(found.folder, test_fraction=0.0)
    assert sorted(data.person_names.values()) == [
        "cam1-0001", "cam1-0002", "cam1-0003", "cam1-noon-0002", "cam2-0003",
    ]  # fmt: skip
    assert data.camera_names == {1: "cam1", 2: "cam2"}
    assert len(read_sidecar(found.folder)) == len(data.train) == 5


def test_a_tracklet_is_known_by_its_name_wherever_it_is_moved(cut):
    folder = cut().folder
    (folder / "cam1-0002").rename(folder / "anna")
    (folder / "cam1-0003/cam1/cam1-0003-000006").rename(folder / "anna/cam1/cam1-0003-000006")
    (folder / "cam1-0003/cam1").rmdir()
    (folder / "cam1-0003").rmdir()
    data = TrackletFolder(folder, test_fraction=0.0)
    times = read_sidecar(folder)
    moved = [tracklet for tracklet in data.train if data.person_names[tracklet.person_id] == "anna"]
    assert [times[tracklet.paths[0].split("/")[-2]] for tracklet in moved] == [(0.08, 0.68), (0.2, 0.76)]


def test_of_a_truncated_video_what_is_there_is_kept(cut, tmp_path):
    whole = videos.write_video(
        tmp_path / "whole.mp4", videos.scene(frames=60), codec="mjpeg", pixels="yuvj444p", movflags="faststart"
    )
    video = tmp_path / "cam1.mp4"
    video.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    late = Mover(5, GROUND, 10, 40, first=50, last=60)
    lasting = Mover(6, GROUND, 10, 40, first=1, last=60)
    found = cut(videos.tracks([RED, lasting, late]), of=video)
    assert names(found) == ["cam1-0001-000001", "cam1-0006-000001"]
    last = found.tracklets[1]["last_frame"]
    assert 20 < last < 50
    assert list(crops(found, "cam1-0006-000001")) == list(range(1, last + 1))
    note = found.notes[-1]
    assert note.startswith(f"cam1.mp4 ends after {last} frames, its header promises 60, and the tracks go on to frame")
    assert note.endswith("tracklets that end early: 1, that are missing: 1")


def test_tracks_of_another_video_are_refused(cut, tmp_path):
    with pytest.raises(InputError, match=r"goes on to frame 41, .*cam1.mp4 has 20 frames; 21 of 41 boxes lie after"):
        cut(videos.tracks([Mover(1, GROUND, 0, 0, last=41)]))
    elsewhere = Mover(2, GROUND, 500, 300)
    with pytest.raises(
        InputError, match=r"outside the frame: 21 of 41 .* 96x160 .*track 2 has left 500, top 300, .* in frame 1"
    ):
        cut(videos.tracks([RED, elsewhere]) + "1,3,300,300,20,40,1,-1,-1,-1\n")
    assert not list((tmp_path / "people").glob("*"))


def test_a_header_that_promises_too_little_is_not_believed(cut, tmp_path, monkeypatch, video):
    with reading.Video(video) as found:
        promised = found.promised
    assert promised == 20
    init = reading.Video.__init__

    def lying(self, *args, **options):
        init(self, *args, **options)
        self.promised = 7

    monkeypatch.setattr(reading.Video, "__init__", lying)
    check_movers(cut())


@pytest.mark.parametrize(
    "name", ["10:30:00.mp4", "a\nb %03d [x]*.mp4", "-i.mp4", os.fsdecode(b"\xff.mp4"), ".hidden.mp4"]
)
def test_a_video_may_have_any_name(cut, video, tmp_path, monkeypatch, name):
    shutil.copy(video, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = cut(of=name)
    assert len(found.tracklets) == 3 and len(TrackletFolder(found.folder).person_names) == 3
    assert cut(of=name).found == 3  # known by that name


def test_what_came_in_place_of_a_video_is_named(cut, tmp_path):
    (tmp_path / "cam1.mp4").write_bytes(POINTER)
    with pytest.raises(InputError, match=r"cam1.mp4 is no video but a Git LFS pointer in place of the file"):
        cut(of=tmp_path / "cam1.mp4")
