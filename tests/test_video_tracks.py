"""Files of trackers, as these write them: what is read, what is left out, and what is said of other files."""

import numpy as np
import pytest

from reading import refused
from strf_cuda.video.tracks import read_tracks, told

SIZE = {"height": 240, "width": 320}


@pytest.fixture
def tracks(tmp_path):
    def tracks(text, **options):
        path = tmp_path / "tracks.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tracks(path, **{**SIZE, **options})

    return tracks


@pytest.fixture
def labels(tmp_path):
    """A folder of label files; their texts by name."""

    def labels(texts, **options):
        folder = tmp_path / "track/labels"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        return read_tracks(folder.parent, **{**SIZE, "video": "cam1", **options})

    return labels


# A box 30 wide and 60 high at (10, 20) in frame 1, a pixel further right in frame 2.
SAMPLES = {
    "ByteTrack": "1,7,10.0,20.0,30.0,60.0,0.93,-1,-1,-1\n2,7,11.0,20.0,30.0,60.0,0.91,-1,-1,-1\n",
    "DeepSORT": "1,7,10.00,20.00,30.00,60.00,1,-1,-1,-1\n2,7,11.00,20.00,30.00,60.00,1,-1,-1,-1\n",
    "BoxMOT": "1,7,10,20,30,60,0.931244,1,0\n2,7,11,20,30,60,0.910022,1,3\n",
    "BoxMOT of 2024": "1,7,10,20,30,60,1,1,0.931244\n2,7,11,20,30,60,1,1,0.910022\n",
    "BoxMOT of 2023": "1 7 10 20 30 60 0 0 -1\n2 7 11 20 30 60 0 0 -1\n",
    "BoxMOT of 2022": "1 7 10 20 30 60 -1 -1 -1 0 \n2 7 11 20 30 60 -1 -1 -1 0 \n",
    "MOTChallenge": "1, 7, 10, 20, 30, 60, -1, -1, -1, -1\n2, 7, 11, 20, 30, 60, -1, -1, -1, -1\n",
    "MOTChallenge's ground truth": "1,7,10,20,30,60,1,1,0.86014\n2,7,11,20,30,60,1,1,0.86173\n",
    "TrackEval, by tabs": "1\t7\t10\t20\t30\t60\t1\n2\t7\t11\t20\t30\t60\t1\n",
    "six columns, of Windows": "1,7,10,20,30,60\r\n2,7,11,20,30,60\r\n\r\n",
    "six columns, of an old Mac": "1 7 10 20 30 60\r2 7 11 20 30 60\r",
    "numbers of numpy": "1.000e+00 7.000e+00 1.000e+01 2.000e+01 3.000e+01 6.000e+01\n2.0 7.0 11.0 20.0 30.0 60.0",
    "a comma at the end": "1.0, 7.0, 10.0, 20, 30, 60, 1, 1, 0.86,\n2.0, 7.0, 11.0, 20, 30, 60, 1, 1, 0.86,\n",
    "a mark of byte order": "\ufeff\n1\t7\t10\t20\t30\t60\n\n2\t7\t11\t20\t30\t60",
    "PowerShell's >": "1,7,10,20,30,60\r\n2,7,11,20,30,60\r\n".encode("utf-16"),
    "semicolons": "1;7;10;20;30;60;0.9;-1;-1;-1\n2;7;11;20;30;60;0.9;-1;-1;-1\n",
    "semicolons and decimal commas": "1;7;10,0;20,0;30;60;0,9\n2;7;11,0;20,0;30;60;0,9\n",
    "names of classes": "1,7,10,20,30,60,0.9,person\n2,7,11,20,30,60,0.9,person\n",
    "a header": "frame,id,x,y,w,h\n1,7,10,20,30,60\n2,7,11,20,30,60\n",
    "a header in each of two parts": "frame;id;x;y;w;h\n1;7;10;20;30;60\nframe;id;x;y;w;h\n2;7;11;20;30;60\n",
    "a header in quotes": '"Frame","ID","BB Left","BB Top","BB Width","BB Height"\n"1","7",10,20,30,60\n'
    "2,7,11,20,30,60\n",
    "a header in another alphabet": "Bild;Spur;x;y;Breite;Höhe\x85\n1;7;10;20;30;60\n2;7;11;20;30;60\n".encode(
        "latin-1"
    ),
    "a comment": "# made by track.py\n1 7 10 20 30 60\n2 7 11 20 30 60\n",
    "pandas with its index": ",frame_id,track_id,bbox_x,bbox_y,bbox_w,bbox_h\n0,1,7,10,20,30,60\n1,2,7,11,20,30,60\n",
    "an unknown header in the usual order": "f,who,a,b,c,d\n1,7,10,20,30,60\n2,7,11,20,30,60\n",
    "corners by name": "# frame,track_id,x1,y1,x2,y2,conf,cls\n1,7,10,20,40,80,0.9,0\n2,7,11,20,41,80,0.9,0\n",
    "corners from 0 by name": "frame,id,x0,y0,x1,y1\n1,7,10,20,40,80\n2,7,11,20,41,80\n",
    "supervision": "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index\n10,20,40,80,0,0.9,7,1\n"
    "11,20,41,80,0,0.9,7,2\n",
    "centres by name": "frame,class,conf,x_center,y_center,width,height,track_id\n1,0,.9,25,50,30,60,7\n"
    "2,0,.9,26,50,30,60,7\n",
}

CORNERS = "says that boxes are left, top, right, bottom"
UNKNOWN = "does not name what is needed: columns are taken as frame,id,left,top,width,height[,confidence,...]"
NOTES = {
    "an unknown header in the usual order": UNKNOWN,
    "a header in another alphabet": UNKNOWN,
    "corners by name": CORNERS,
    "corners from 0 by name": CORNERS,
    "supervision": CORNERS,
    "centres by name": "says that boxes are centre, width, height",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_way_to_write_boxes_is_read_alike(tracks, name):
    found = tracks(SAMPLES[name])
    assert found.frames.tolist() == [1, 2]
    assert found.ids.tolist() == [7, 7]
    assert found.boxes.tolist() == [[10, 20, 30, 60], [11, 20, 30, 60]]
    assert found.left_out == {}
    assert found.notes == ([f"the header of tracks.txt {NOTES[name]}"] if name in NOTES else [])


def test_a_class_and_a_confidence_are_found_by_their_names(tracks):
    text = "track_id,class,frame,score,left,top,width,height\n7,2,1,0.9,10,20,30,60\n8,1,1,0.2,10,20,30,60\n"
    assert tracks(text, classes=[2]).ids.tolist() == [7]
    assert tracks(text, min_confidence=0.5).ids.tolist() == [7]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("12,-1,100,60,40,80,0.2", "of no track (id below 0, or none)"),
        ("12,,100,60,40,80,0.2", "of no track (id below 0, or none)"),
        ("12,None,100,60,40,80,0.2", "of no track (id below 0, or none)"),
        ("12,18446744073709551615,100,60,40,80,0.2", "of no track (id below 0, or none)"),
        ("12,9,nan,nan,nan,nan,0.2", "without a number of frame or box"),
        ("12,9,100,-inf,40,80,0.2", "without a number of frame or box"),
        ("12,9,,,,,", "of too few columns"),
        ("12,9,100", "of too few columns"),
        ("12,9,100,five,40,80", "without a number of frame or box"),
        ("12.5,9,100,60,40,80", "without a number of frame or box"),
        ("12,9,100,60,0,80,0.2", "of no width or height"),
        ("12,9,100,60,40,-80,0.2", "of no width or height"),
        ("12,9,-1,-1,-1,-1,-1,4.2,3.1,0", "of no width or height"),
        ("-1,9,100,60,40,80", "before the first frame, 1"),
        ("2,7,100,60,40,80,0.2", "of a track that has a box in that frame already"),
        ("Done in 2 s, 60 frames, 3 people, 1 lost, 0 errors, good", "without a number of frame or box"),
    ],
)
def test_a_line_that_is_no_box_of_a_track_is_left_out_and_counted(tracks, line, reason):
    found = tracks(f"1,7,10,20,30,60,0.9\n2,7,11,20,30,60,0.9\n{line}\n3,7,12,20,30,60,0.9\n")
    assert list(zip(found.frames, found.ids, strict=True)) == [(1, 7), (2, 7), (3, 7)]
    assert found.boxes[1].tolist() == [11, 20, 30, 60]
    assert found.left_out == {reason: 1}


def test_a_box_without_the_id_that_would_come_last_is_of_no_track(tracks):
    found = tracks("x1,y1,x2,y2,frame,track_id\n10,20,40,80,1,7\n10,20,40,80,2,\n")
    assert (found.frames.tolist(), found.left_out) == ([1], {"of no track (id below 0, or none)": 1})


def test_what_is_left_out_is_told():
    assert told({"outside": 1200, "before": 0, "after": 1}) == "1,200 boxes outside, 1 box after"


def test_ground_truth_is_taken_by_class_and_flag(tracks):
    text = "1,1,0,0,9,9,1,1,0.5\n1,2,0,0,9,9,0,1,0.5\n1,3,0,0,9,9,1,8,1\n2,1,0,0,9,9,1,1,0.5\n"
    found = tracks(text, classes=[1], min_confidence=1)
    assert list(zip(found.frames, found.ids, strict=True)) == [(1, 1), (2, 1)]
    assert found.left_out == {"of other classes than 1": 1, "of a confidence below 1": 1}
    (note,) = tracks(text).notes
    assert note == "tracks.txt has the classes 1, 8, and all are taken: --classes '[1]' takes class 1"


def test_frames_count_from_0_where_a_box_says_so(tracks):
    found = tracks("0,1,5,5,9,9\n1,1,5,5,9,9\n")
    assert (found.frames.tolist(), found.first_frame, found.notes) == ([0, 1], 0, ["tracks.txt counts frames from 0"])
    assert tracks("3,1,5,5,9,9\n").first_frame == 1
    assert tracks("3,1,5,5,9,9\n", first_frame=0).first_frame == 0
    found = tracks("0,1,5,5,9,9\n1,1,5,5,9,9\n", first_frame=1)
    assert (found.frames.tolist(), found.left_out) == ([1], {"before the first frame, 1": 1})


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("", {}, "is empty: it must hold a line frame,id,left"),
        ("\n \n", {}, "is empty"),
        ("frame,id,x,y,w,h\n", {}, "is empty"),
        (b"\x93NUMPY\x01\x00", {}, "is no text: give the tracker's text file"),
        ('[{"frame": 1}]', {}, "looks like JSON"),
        ('\n {"frames": []}', {}, "looks like JSON"),
        ("no tracks\n", {}, "holds no box: it begins with 'no tracks', but frame,id,left,top,width,height[,"),
        ("1,1,5,5,9\n2,1,5,5,9\n", {}, "holds no box: it begins with '1,1,5,5,9', but"),
        ("0 0 Car 0 0 -10 5 5 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n", {}, "holds no box: it begins with '0 0 Car 0"),
        ("0 0.434902 0.609438 0.20036 0.321719 1\n", {}, "looks like labels of Ultralytics, which name no frame: give"),
        ("1,-1,5,5,9,9,1\n2,-1,5,5,9,9,1\n", {}, ": 2 boxes of no track (id below 0, or none); give what the t"),
        (
            "1,-1,5,5,9,9,1,1\n",
            {"classes": [1], "min_confidence": 0.5},
            ": 1 box of no track (id below 0, or none); give",
        ),
        ("1,1,5,5,9,9,1\n", {"classes": [1]}, "names no classes by number: they stand in column 8"),
        ("1,1,5,5,9,9,1,man\n", {"classes": [1]}, "names no classes by number: they stand in column 8"),
        ("1,1,5,5,9,9,1,3,1\n", {"classes": [1, 2]}, "tracks.txt is of class 1, 2: it has 3"),
        ("1,1,5,5,9,9\n", {"min_confidence": 0.5}, "has no confidence: column 7 is missing or -1 throughout"),
        ("1,1,5,5,9,9,-1\n", {"min_confidence": 0.5}, "has no confidence: column 7 is missing or -1 throughout"),
        ("1,1,5,5,9,9,0.2\n", {"min_confidence": 0.5}, ": 1 box of a confidence below 0.5"),
        ("1,1,0.2,0.3,0.1,0.4\n", {}, "are shares of the frame, at most 0.4: give --boxes centers to strf_cuda.t"),
    ],
)
def test_what_is_no_tracks_file_is_refused(tracks, text, options, sentence):
    refused(lambda: tracks(text, **options), "tracks.txt", sentence)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    refused(lambda: read_tracks(tmp_path / "none.txt", **SIZE), "cannot read the tracks", "No such file or directory")


WALK = np.array([[20 + 5 * step, 60, 40, 80] for step in range(30)], float)


def corners(boxes):
    return boxes + np.concatenate([np.zeros_like(boxes[:, :2]), boxes[:, :2]], axis=1)


def lines(boxes):
    return "".join(f"{frame},1,{','.join(map(str, box))}\n" for frame, box in enumerate(boxes.tolist(), start=1))


def test_corners_are_recognised_and_said_and_read_when_asked(tracks):
    sentence = "look like corners (left, top, right, bottom), for as sizes (left, top, width, height) they grow wider"
    refused(lambda: tracks(lines(corners(WALK))), "tracks.txt", sentence, "give --boxes corners to strf_cuda.tracklets")
    assert tracks(lines(corners(WALK)), boxes="corners").boxes.tolist() == WALK.tolist()
    assert tracks(lines(corners(WALK)), boxes="sizes").boxes.tolist() == corners(WALK).tolist()


def test_an_empty_corner_box_is_left_out(tracks):
    found = tracks(lines(corners(WALK)) + "31,1,50,60,50,60\n31,2,9,9,8,8\n", boxes="corners")
    assert (len(found), found.left_out) == (30, {"of no width or height": 2})


def test_centres_are_read_when_asked(tracks):
    centers = WALK + WALK[:, [2, 3, 2, 3]] * [0.5, 0.5, 0, 0]
    assert tracks(lines(centers), boxes="centers").boxes.tolist() == WALK.tolist()


def test_shares_of_the_frame_are_read_when_it_is_said_where_they_begin(tracks):
    shares = WALK / [320, 240, 320, 240]
    assert np.allclose(tracks(lines(shares), boxes="sizes").boxes, WALK)


def people(*, of_one=False, close=False):
    """Boxes of people who cross a street of 320x240, or of somebody before a camera."""
    random = np.random.default_rng(0)
    boxes = []
    for _ in range(1 if of_one else 6):
        steps = np.linspace(0, 1, 60)
        feet = np.outer(1 - steps, random.uniform(60, 220, 2)) + np.outer(steps, random.uniform(60, 220, 2))
        height = 0.5 * feet[:, 1] + 20 if not close else 170 + 20 * np.sin(9 * steps)
        width = height * (0.4 + 0.05 * np.sin(40 * steps)) * (2 if close else 1)
        left = feet[:, 0] - width / 2 if not close else 90 + 30 * np.sin(5 * steps)
        boxes.append(np.stack([left, feet[:, 1] - height if not close else 40 + 0 * height, width, height], 1))
    return np.concatenate(boxes)


@pytest.mark.parametrize("boxes", [WALK, people(), people(of_one=True), people(of_one=True, close=True)])
def test_sizes_are_not_taken_for_corners(tracks, boxes):
    found = tracks(lines(boxes))
    assert (len(found), found.notes) == (len(boxes), [])


def test_one_sign_of_corners_is_a_note(tracks):
    still = np.tile([150.0, 60, 40, 140], (30, 1))
    (note,) = tracks(lines(corners(still))).notes
    assert note.startswith("the boxes of tracks.txt may be corners (left, top, right, bottom), for as sizes (left, top")
    assert note.endswith("100% end beyond the frame: look at the crops, and give --boxes corners if so")
    assert len(refused(lambda: tracks(lines(corners(people()))), "look like corners")) < 400


TRACKED = "0 0.125 0.5 0.25 0.5 0.9 7\n0 0.5 0.5 0.25 0.5 0.3\n"  # the second in no track


def test_labels_of_ultralytics_are_read(labels):
    texts = {"cam1_1.txt": "0 0.125 0.5 0.25 0.5 7\n", "cam1_10.txt": "2 0.5 0.5 0.25 0.5\n2 0.25 0.5 0.25 0.5 7\n"}
    found = labels(texts)
    assert list(zip(found.frames, found.ids, strict=True)) == [(1, 7), (10, 7)]
    assert found.boxes.tolist() == [[0, 60, 80, 120], [40, 60, 80, 120]]
    assert found.left_out == {"of no track (id below 0, or none)": 1}
    assert found.notes == ["track has the classes 0, 2, and all are taken: --classes '[0]' takes class 0"]
    assert labels(texts, classes=[2]).frames.tolist() == [10]
    refused(lambda: labels(texts, min_confidence=0.5), "has no confidence")


def test_labels_with_confidence_are_read(labels):
    found = labels({"cam1_1.txt": TRACKED, "cam1_2.txt": TRACKED.replace("0.9", "0.4")}, min_confidence=0.5)
    assert list(zip(found.frames, found.ids, strict=True)) == [(1, 7)]
    assert found.left_out == {"of no track (id below 0, or none)": 2, "of a confidence below 0.5": 1}


def test_labels_of_the_frames_of_a_folder_are_read(labels):
    assert labels({"000000.txt": TRACKED, "000001.txt": TRACKED}).frames.tolist() == [0, 1]


def test_labels_of_one_of_several_videos_are_read(labels):
    names = ["cam1_1.txt", "cam1_3.txt", "cam2_1.txt", "cam2_2.txt"]
    assert labels({**dict.fromkeys(names, TRACKED), "classes.txt": "person"}).frames.tolist() == [1, 3]
    assert labels({}, video="cam2").frames.tolist() == [1, 2]
    refused(lambda: labels({}, video="cam3"), "labels holds labels of cam1, cam2, and none of cam3")


def test_labels_without_boxes_or_tracks_are_refused(labels, tmp_path):
    for line, reason in {
        "0 0.5 0.5 0.25 0.5 0.3\n": "of no track (id below 0, or none); give what the tracker writes",
        "0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3 7\n": "given as outlines or points",
    }.items():
        refused(lambda line=line: labels({"cam1_1.txt": line, "cam1_2.txt": line}), f": 2 boxes {reason}")
    refused(lambda: labels({"image0.txt": TRACKED * 30}, video="image"), "image0.txt looks like labels of Ultralytics")
    (tmp_path / "empty").mkdir()
    refused(lambda: read_tracks(tmp_path / "empty", **SIZE), "is a folder without labels such as cam1_1.txt: give the")
