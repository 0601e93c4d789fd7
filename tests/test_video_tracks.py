"""Tracks files of any tracker: what is read, what is left out, and what is said of files that hold something else."""

import pytest

from strf_cuda.errors import InputError
from strf_cuda.video.tracks import read_tracks


@pytest.fixture
def tracks(tmp_path):
    def tracks(text, **options):
        path = tmp_path / "tracks.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tracks(path, **options)

    return tracks


@pytest.mark.parametrize(
    "text",
    [
        "1,7,10.5,20,30,60,0.9,-1,-1,-1\n2,7,11.5,20,30,60,0.8,-1,-1,-1\n",  # ByteTrack, BoT-SORT
        "1 7 10.5 20 30 60 -1 -1 -1 0\n2 7 11.5 20 30 60 -1 -1 -1 0\n",  # by spaces
        "1,7,10.5,20,30,60\r\n2,7,11.5,20,30,60\r\n\r\n",
        "1.0, 7.0, 10.5, 20, 30, 60, 1, 1, 0.86,\n2.0, 7.0, 11.5, 20, 30, 60, 1, 1, 0.86,\n",
        "\ufeff\n1\t7\t1.05e1\t20\t30\t60\n\n2\t7\t11.5\t20\t30\t60",
    ],
)
def test_every_way_to_write_boxes_is_read_alike(tracks, text):
    found = tracks(text)
    assert found.frames.tolist() == [1, 2]
    assert found.ids.tolist() == [7, 7]
    assert found.boxes.tolist() == [[10.5, 20, 30, 60], [11.5, 20, 30, 60]]
    assert found.notes == []


def test_ground_truth_is_taken_by_class_and_flag(tracks):
    text = "1,1,0,0,9,9,1,1,0.5\n1,2,0,0,9,9,0,1,0.5\n1,3,0,0,9,9,1,8,1\n2,1,0,0,9,9,1,1,0.5\n"
    found = tracks(text, classes=[1], min_confidence=1)
    assert list(zip(found.frames, found.ids, found.lines, strict=True)) == [(1, 1, 1), (2, 1, 4)]
    assert found.left_out == {"of other classes than 1": 1, "of a confidence below 1": 1}
    (note,) = tracks(text).notes
    assert note.startswith("tracks.txt has the classes 1, 8 in column 8")


def test_frames_may_count_from_0(tracks):
    assert tracks("0,1,5,5,9,9\n1,1,5,5,9,9\n", first_frame=0).frames.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("", {}, "is empty: it must hold a line frame,id,left"),
        ("\n \n", {}, "is empty"),
        (b"\xff\xfe\x00\x01", {}, "is no text: give the tracker's text file"),
        ('[{"frame": 1}]', {}, "looks like JSON"),
        ('\n {"frames": []}', {}, "looks like JSON"),
        (
            "frame,id,x,y,w,h\n1,1,5,5,9,9\n",
            {},
            "line 1 of .*'frame,id,x,y,w,h', but .* is expected; remove the header",
        ),
        ("1,1,5,5,9,9\n\n2,1,5,5,9\n", {}, "line 3 of .*'2,1,5,5,9', but frame,id,left"),
        ("1,1,5,5,9,9\n2,1,5,five,9,9\n", {}, "line 2 of .*'2,1,5,five,9,9', but frame,id,left.*expected$"),
        ("1,1,5,5,9,9,,1\n", {}, "line 1 of .* is '1,1,5,5,9,9,,1'"),
        ("1,1,5,5,9,9, ,1\n", {}, "line 1 of .* is '1,1,5,5,9,9, ,1'"),
        ("1,1,5,5,9,9\n2,1,5,5,9,9,1\n", {}, "line 2 of .*, has 7 columns, those before it 6"),
        ("1,1,5,5,nan,9\n", {}, "line 1 of .* has the width nan: it must be a number"),
        ("1,1,5,-inf,9,9\n", {}, "line 1 of .* has the top -inf: it must be a number"),
        ("1.5,1,5,5,9,9\n", {}, "has the frame 1.5: it must be a whole number"),
        ("1,1e12,5,5,9,9\n", {}, "has the id 1000000000000: it must be a whole number below 2"),
        (
            "1,1,5,5,9,9\n0,1,5,5,9,9\n",
            {},
            "line 2 of .* has the frame 0: the first frame has the number 1; .*_frame 0",
        ),
        ("-1,1,5,5,9,9\n", {"first_frame": 0}, "has the frame -1: the first frame has the number 0$"),
        ("1,-1,5,5,9,9,1\n2,-1,5,5,9,9,1\n", {}, r"line 1 of .* has the id -1 \(and 1 more\): these are detections"),
        ("1,1,5,5,-9,9\n", {}, "line 1 of .* has the width -9: a box has at least a pixel"),
        ("1,1,5,5,9,0\n", {}, "line 1 of .* has the height 0"),
        ("1,1,5,5,9,9\n2,1,5,5,9,9\n\n1,1,6,5,9,9\n", {}, "lines 1 and 4 of .* are both track 1 in frame 1: a track"),
        ("1,1,5,5,9,9,1\n", {"classes": [1]}, "names no classes: it has 7 columns"),
        ("1,1,5,5,9,9,1,3,1\n", {"classes": [1, 2]}, "no line of .* is of class 1, 2: column 8 holds 3"),
        ("1,1,5,5,9,9\n", {"min_confidence": 0.5}, "has no confidence: it has 6 columns"),
        ("1,1,5,5,9,9,-1\n", {"min_confidence": 0.5}, "has no confidence: column 7 is -1 throughout"),
        (
            "1,1,5,5,9,9,0.2\n",
            {"min_confidence": 0.5},
            "nothing is left of the 1 boxes .*: 1 of a confidence below 0.5",
        ),
    ],
)
def test_what_is_no_tracks_file_is_refused_with_its_line(tracks, text, options, sentence):
    with pytest.raises(InputError, match=sentence):
        tracks(text, **options)
