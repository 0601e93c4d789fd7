"""`python -m strf_cuda.tracklets`: what it says of what it cut, and one sentence for what cannot be cut."""

import os
import sys

import av
import numpy as np
import pytest

import videos
from reading import one_sentence
from strf_cuda import tracklets
from strf_cuda.cli import run
from videos import RED, Mover


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder in which the command runs, with cam1.mp4 and cam1.txt of the three movers."""
    monkeypatch.chdir(tmp_path)
    videos.write_video("cam1.mp4", videos.scene())
    (tmp_path / "cam1.txt").write_text(videos.tracks(without={(1, 4)}))
    return tmp_path


@pytest.fixture
def said(capsys):
    """Runs the command; gives what it printed."""

    def said(*words, status=0):
        assert run(lambda: tracklets.main(words)) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    return said


@pytest.fixture
def refused(said):
    """Runs the command, which must end with one sentence; gives that."""

    def refused(*words):
        return one_sentence(said(*words, status=2))

    return refused


def test_it_says_what_it_cut_and_when_there_was_nothing_left_to_do(place, said):
    first = [
        "cam1.mp4: 96x160 (height x width), 25 frames a second",
        "2 tracklets of 2 tracks, 16 to 20 frames; 36 crops, of which 1 bridge gaps",
        "left out: 15 boxes in tracklets of fewer than 16 frames",
    ]
    last = "look at them: python -m strf_cuda.data people --out people.png"
    words = ("cam1.mp4", "cam1.txt", "--out", "people", "--min_length", "16")
    assert said(*words).splitlines() == [*first, last]
    assert said(*words).splitlines() == [*first, "people was complete already", last]


def test_notes_are_told(place, said):
    truth = videos.tracks(row="{frame},{track},{left},{top},{width},{height},1,{track},1")
    (place / "cam1.txt").write_text(truth)
    assert "note: cam1.txt has the classes 1, 2, 3, and all are taken" in said("cam1.mp4", "cam1.txt", "--out=all")
    assert "1 tracklet of 1 track, 16 frames; 16 crops" in said("cam1.mp4", "cam1.txt", "--out=one", "--classes=[2]")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--gap=-1"], "gap is -1, but it must be 0 or more"),
        (["--every=0"], "every is 0, but it must be 1 or more"),
        (["--quality=101"], "quality is 101, but it must be at most 100"),
        (["--visible=1.5"], "visible is 1.5, but a share is between 0 and 1"),
        (["--margin=-0.1"], "margin is -0.1, but it must be 0 or more"),
        (["--height=256"], "height is 256 and width is None: give both, or neither"),
        (["--classes=[]"], "classes is empty: name those to take, or leave it out"),
        (["--camera=hall/left"], "camera is 'hall/left', but it names a folder: it has no slash and no dot at its"),
        (["--prefix=.x"], "prefix is '.x', but it names a folder"),
        (["--start=noon"], "start is 'noon', but it must be seconds, a time such as 09:30:00 or a date and time such"),
        (["--start=inf"], "start is 'inf', but it must be seconds"),
    ],
)
def test_options_are_checked(refused, options, sentence):
    assert refused("cam1.mp4", "cam1.txt", "--out=people", *options).startswith(sentence)


def test_all_three_are_needed(refused):
    usage = "not given: python -m strf_cuda.tracklets VIDEO TRACKS --out DIR"
    assert refused("cam1.mp4", "cam1.txt") == f"out {usage}"
    assert refused() == f"video and tracks and out {usage}"


def music(path):
    """A file with sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def test_a_video_that_cannot_be_read_is_told(place, refused):
    (place / "text.mp4").write_text("hello\n" * 100)
    (place / "empty.mp4").touch()
    (place / "img1").mkdir()
    (place / "img1/000001.jpg").touch()
    music(place / "music.wav")
    whole = (place / "cam1.mp4").read_bytes()
    (place / "half.mp4").write_bytes(whole[: len(whole) // 2])
    for name, sentence in {
        "nothing.mp4": "there is no video nothing.mp4",
        "img1/%06d.jpg": "there is no video img1/%06d.jpg",
        "img1": "img1 is a folder: make a video of its frames first, as with ffmpeg -framerate 25 -i img1/%06d.jpg -c",
        "text.mp4": "text.mp4 is no video but text, which begins with 'hello\\nhello",
        "empty.mp4": "empty.mp4 is no video that FFmpeg can read, or its beginning or index is missing (0 bytes): ",
        "half.mp4": "half.mp4 is no video that FFmpeg can read, or its beginning or index is missing (",
        "music.wav": "music.wav has no video stream: it holds audio",
    }.items():
        assert refused(name, "cam1.txt", "--out=people").startswith(sentence)
    assert not (place / "people").exists()


def test_a_stream_without_a_single_frame_is_told(place, refused):
    whole = bytearray((place / "cam1.mp4").read_bytes())
    start = whole.index(b"mdat") + 4
    whole[start : whole.index(b"moov") - 4] = bytes(len(whole[start : whole.index(b"moov") - 4]))
    (place / "zeros.mp4").write_bytes(whole)
    assert refused("zeros.mp4", "cam1.txt", "--out=people") == "no frame of zeros.mp4 can be decoded"


def test_a_change_of_size_within_a_video_is_told(place, refused):
    parts = [
        videos.write_video(place / f"{height}.h264", videos.scene(frames=10, height=height)) for height in (96, 64)
    ]
    (place / "cam1.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert refused("cam1.h264", "cam1.txt", "--out=people") == (
        "frame 11 of cam1.h264 is 64x160 (height x width), those before it 96x160: divide the video there"
    )


def test_tracks_that_cannot_be_read_are_told(place, refused):
    assert (
        refused("cam1.mp4", "none.txt", "--out=people") == "cannot read the tracks none.txt: No such file or directory"
    )
    assert refused("cam1.mp4", "cam1.mp4", "--out=people").startswith("cam1.mp4 is no text: give the tracker's text")
    (place / "late.txt").write_text(videos.tracks([Mover(1, RED.colour, 4, 8, last=50)]))
    assert refused("cam1.mp4", "late.txt", "--out=people") == (
        "tracks outside the video: late.txt goes on to frame 50, cam1.mp4 has 20 frames; 30 of 50 boxes lie after its "
        "end; are these the tracks of this video?"
    )


def test_what_a_tracker_adds_is_left_out_and_counted_in_one_line(place, said):
    stray = "20,-1,9,9,20,40,1\n20,9,nan,nan,nan,nan,1\n20,9,9,9,0,40,1\n21,1,84,8,20,40,1\n"
    (place / "cam1.txt").write_text(videos.tracks() + stray)
    assert said("cam1.mp4", "cam1.txt", "--out", "people").splitlines()[2] == (
        "left out: 1 box without a number of frame or box, 1 box of no track (id below 0, or none), 1 box of no width "
        "or height, 1 box after the last frame"
    )


def test_corners_are_told_and_read_when_asked(place, said, refused):
    row = "{frame},{track},{left},{top},{right},{bottom}\n"
    boxes = ((frame, *RED.box(frame)) for frame in range(1, 21))
    (place / "cam1.txt").write_text(
        "".join(
            row.format(frame=frame, track=1, left=left, top=top, right=left + width, bottom=top + height)
            for frame, left, top, width, height in boxes
        )
    )
    assert refused("cam1.mp4", "cam1.txt", "--out=people").startswith("the boxes of cam1.txt look like corners (left,")
    assert not (place / "people").exists()
    assert "20 crops" in said("cam1.mp4", "cam1.txt", "--out=people", "--boxes=corners")
    assert "boxes" in refused("cam1.mp4", "cam1.txt", "--out=people", "--boxes=xyxy")


def test_a_file_in_place_of_the_folder_is_told(place, refused):
    (place / "people").touch()
    assert refused("cam1.mp4", "cam1.txt", "--out=people") == "cannot make the folder people: File exists"


def test_a_folder_that_cannot_be_written_to_is_told(refused, place, monkeypatch):
    (place / "people").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refused("cam1.mp4", "cam1.txt", "--out=people") == "cannot write to the folder people: permission denied"


def test_without_pyav_the_extra_is_named(place, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    sentence = refused("cam1.mp4", "cam1.txt", "--out=people")
    assert sentence.startswith("reading videos needs PyAV (")
    assert sentence.endswith('): pip install "strf_cuda[video]"')


def test_nothing_left_to_cut_is_told_with_the_reasons(place, refused):
    assert refused("cam1.mp4", "cam1.txt", "--out=people", "--min_length=21") == (
        "no tracklet is left: 50 boxes in tracklets of fewer than 21 frames"
    )
    assert not (place / "people/tracklets.json").exists()
