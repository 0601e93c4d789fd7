"""TrackletTable: how rows become tracklets, and a sentence with the line number for whatever is wrong."""

import os

import pytest

import trees
from reading import refused
from strf_cuda.data.table import TrackletTable

HEADER = "path,person,camera,tracklet,split"


@pytest.fixture
def write(tmp_path):
    trees.write_frames(tmp_path / "frames", [f"{index}.jpg" for index in range(12)])

    def write_table(*lines, header=HEADER, name="list.csv", encoding="utf-8", errors=None):
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding, errors=errors)
        return path

    return write_table


def rejected(path, *words):
    refused(lambda: TrackletTable(path), *words)


def files(tracklet):
    return [path.rpartition("/")[2] for path in tracklet.paths]


def test_rows_become_tracklets_in_natural_order(write, tmp_path):
    data = TrackletTable(
        write(
            "frames/3.jpg,Eve,yard,1,gallery",
            "frames/0.jpg,p10,door,1,train",
            "frames/1.jpg,p9,door,1,train",
            "frames/2.jpg,p10,door,1,train",
            f"{tmp_path}/frames/4.jpg,Eve,door,1,query",
        )
    )
    assert data.name == "list"
    assert data.person_names == {1: "Eve", 2: "p9", 3: "p10"}
    assert data.camera_names == {1: "door", 2: "yard"}
    assert [(t.person_id, t.camera_id, files(t)) for t in data.train] == [
        (2, 1, ["1.jpg"]),
        (3, 1, ["0.jpg", "2.jpg"]),
    ]
    assert list(data.query[0].paths) == [str(tmp_path / "frames/4.jpg")]
    assert list(data.gallery[0].paths) == [str(tmp_path / "frames/3.jpg")]


def test_frame_column_orders_by_number_not_by_text(write):
    rows = [f"frames/{index}.jpg,a,1,t,train,{frame}" for index, frame in enumerate(("10", "9", "1.5"))]
    data = TrackletTable(write(*rows, header=HEADER + ",frame"))
    assert files(data.train[0]) == ["2.jpg", "1.jpg", "0.jpg"]


def test_challenge_and_group_are_read(write):
    data = TrackletTable(
        write(
            "frames/0.jpg,a,1,t,query,look-alike,3",
            "frames/1.jpg,a,2,t,gallery,,",
            header=HEADER + ",challenge,group",
        )
    )
    assert (data.query[0].challenge, data.query[0].group) == ("look-alike", 3)
    assert (data.gallery[0].challenge, data.gallery[0].group) == (None, None)


def test_notes_name_unread_columns_empty_lists_and_unmatched_queries(write):
    data = TrackletTable(write("frames/0.jpg,a,1,t,query,x", "frames/1.jpg,a,1,t,gallery,y", header=HEADER + ",colour"))
    notes = " ".join(data.notes)
    assert "not read: colour" in notes
    assert "lists no train tracklet" in notes
    assert "1 of 1 queries have no gallery tracklet" in notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_spaces_and_blank_lines_are_harmless(write, encoding):
    path = write("frames/0.jpg, a , 1 ,t, train", "", header="path, person, camera, tracklet, split", encoding=encoding)
    data = TrackletTable(path)
    assert data.person_names == {1: "a"} and len(data.train) == 1


@pytest.mark.parametrize("name", [" a .jpg ", "a\nb.jpg", 'a"b,c.jpg', "10:30.jpg", "-a.jpg", os.fsdecode(b"\xff.jpg")])
def test_a_frame_may_have_any_name(write, tmp_path, name):
    (tmp_path / name).touch()
    path = write(",".join(['"' + name.replace('"', '""') + '"', "a", "1", "t", "train"]), errors="surrogateescape")
    assert list(TrackletTable(path).train[0].paths) == [str(tmp_path / name)]


@pytest.mark.parametrize("person", ["-1", "0"])
def test_what_is_nobody_in_other_data_sets_is_told(write, person):
    data = TrackletTable(write(f"frames/0.jpg,{person},1,t,train"))
    assert any(note.startswith(f"{person}: read as the name of one person") for note in data.notes)


def test_missing_table_is_named(tmp_path):
    rejected(tmp_path / "no.csv", "no.csv", "cannot be read")


def test_missing_columns_are_named(write):
    rejected(write("frames/0.jpg,a,1", header="path,person,camera"), "no column tracklet or split")


def test_repeated_column_is_named(write):
    rejected(write(header=HEADER + ",person"), "column person twice")


def test_table_without_rows_is_refused(write):
    rejected(write(), "lists no frames")


def test_table_in_another_encoding_is_refused(write):
    rejected(write("frames/0.jpg,Zoé,1,t,train", encoding="latin-1"), "not UTF-8")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("frames/1.jpg,a,1,t", ["line 3", "4 values for 5 columns"]),
        ("frames/1.jpg,a,1,t,train,x", ["line 3", "6 values for 5 columns"]),
        ("frames/1.jpg,,1,t,train", ["line 3", "no person"]),
        (",a,1,t,train", ["line 3", "no path"]),
        ("frames/1.jpg,a,1,t,galery", ["line 3", "'galery'", "did you mean gallery?"]),
        ("frames/none.jpg,a,1,t,train", ["line 3", "frames/none.jpg", "does not exist"]),
        ('"frames/1.jpg,a,1,t,train', ["not valid CSV"]),
    ],
)
def test_wrong_line_is_named(write, line, words):
    rejected(write("frames/0.jpg,a,1,t,train", line), "list.csv", *words)


@pytest.mark.parametrize("frame", ["first", "", "nan"])
def test_frame_must_be_a_number(write, frame):
    rejected(write(f"frames/0.jpg,a,1,t,train,{frame}", header=HEADER + ",frame"), "line 2", f"frame {frame!r}")


def test_two_frames_of_one_number_are_named(write):
    rows = ["frames/0.jpg,a,1,t,train,4", "frames/1.jpg,a,1,t,train,4"]
    rejected(write(*rows, header=HEADER + ",frame"), "lines 2 and 3", "same number 4")


def test_group_must_be_a_whole_number(write):
    rejected(write("frames/0.jpg,a,1,t,train,1.5", header=HEADER + ",group"), "line 2", "group '1.5'", "whole")


def test_tracklet_of_two_challenges_is_refused(write):
    rows = ["frames/0.jpg,a,1,t,train,none", "frames/1.jpg,a,1,t,train,occluded"]
    rejected(write(*rows, header=HEADER + ",challenge"), "lines 2 and 3", "differ in challenge", "occluded")


def test_missing_frames_are_counted(write):
    rows = [f"gone/{index}.jpg,a,1,t,train" for index in range(5)]
    rejected(write(*rows), "line 2", "gone/0.jpg", "4 more")
