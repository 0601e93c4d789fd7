"""MARS: the official protocol, a sentence for every disagreement, and the counts of a complete copy."""

import pickle
import shutil

import pytest

import trees
from reading import contents, refused
from strf_cuda.data import mars
from strf_cuda.data.layouts import recognise
from strf_cuda.data.mars import MARS


@pytest.fixture
def root(tmp_path):
    return trees.write_mars(tmp_path / "MARS")


def keys(tracklets):
    return [(tracklet.person_id, tracklet.camera_id, len(tracklet)) for tracklet in tracklets]


def rejected(root, *words):
    return refused(lambda: MARS(root), *words)


def test_lists_follow_the_official_protocol(root):
    data = MARS(root)
    assert data.name == "MARS"
    assert keys(data.train) == [(1, 1, 5), (1, 2, 3), (3, 1, 4)]
    assert keys(data.query) == [(2, 1, 4), (2, 3, 6), (4, 5, 2), (4, 6, 1)]
    assert keys(data.gallery) == [(0, 2, 3), (2, 1, 4), (2, 1, 5), (2, 3, 6), (4, 5, 2), (4, 6, 1)]


def test_junk_is_dropped_and_queries_stay_in_the_gallery(root):
    data = MARS(root)
    assert all(tracklet.person_id >= 0 for tracklet in data.gallery)
    assert all(any(query is tracklet for tracklet in data.gallery) for query in data.query)


def test_paths_are_the_frames_of_the_row_in_order(root):
    tracklet = MARS(root).gallery[2]
    folder = root / "bbox_test" / "0002"
    assert list(tracklet.paths) == [str(folder / f"0002C1T0002F00{frame}.jpg") for frame in range(1, 6)]
    assert tracklet.paths[-1] == str(folder / "0002C1T0002F005.jpg")
    assert list(tracklet.paths[1:5:2]) == [tracklet.paths[1], tracklet.paths[3]]


def test_pickling_a_tracklet_carries_its_own_names_alone(tmp_path):
    root = trees.write_mars(tmp_path / "MARS", train=[(900, 1, 1), (2, 3, 1)])
    tracklet = MARS(root).train[1]
    pickled = pickle.dumps(tracklet)
    copy = pickle.loads(pickled)
    assert copy == tracklet and list(copy.paths) == list(tracklet.paths)
    assert len(pickled) < 1_000


def test_partial_copy_says_so_with_its_counts(root):
    note = MARS(root).notes[0]
    assert note.startswith("partial copy of MARS: 3 of 8,298 training tracklets, 7 of 12,180 test tracklets")


def test_people_with_one_camera_or_tracklet_are_stated(root):
    notes = " ".join(MARS(root).notes)
    assert "1 of 2 training people have a single tracklet" in notes
    assert "1 of 2 training people were seen by one camera only" in notes


def test_queries_without_a_match_are_stated(tmp_path):
    root = trees.write_mars(tmp_path / "MARS", test=[(2, 2, 1), (2, 2, 2), (2, 4, 1)], queries=[1, 3])
    assert any(note.startswith("1 of 2 queries have no gallery tracklet") for note in MARS(root).notes)


def test_walkers_are_named_so_and_need_no_partial_note(root):
    (root / "info" / "walkers.json").write_text("{}")
    data = MARS(root)
    assert data.name == "walkers"
    assert not any("partial" in note for note in data.notes)


# What the tree of trees.py holds, counted by hand.
SMALL_COUNTS = {
    "training frames": 12,
    "test frames": 23,
    "training tracklets": 3,
    "test tracklets": 7,
    "training people": 2,
    "frames in the shortest training tracklet": 3,
    "frames in the longest training tracklet": 5,
    "frames in the median training tracklet": 4,
    "training tracklets shorter than 32 frames": 3,
    "junk tracklets": 1,
    "distractor tracklets": 1,
    "queries": 4,
    "people among the queries": 2,
    "gallery tracklets besides the queries": 2,
    "gallery tracklets": 6,
    "gallery frames": 21,
    "gallery clips of 4 frames": 1 + 1 + 2 + 2 + 1 + 1,
    "pairs of a query and a match": 1 + 2 + 1 + 1,
    "pairs of a query and junk": 2 + 1 + 1 + 1,
    # Queries 1 (camera 1 of person 2) and the two of person 4; the other of person 2 also matches a second tracklet.
    "queries matched by other queries only": 3,
}


def test_a_copy_that_meets_all_official_counts_gets_no_note(root, monkeypatch):
    monkeypatch.setattr(mars, "OFFICIAL_COUNTS", SMALL_COUNTS)
    assert not any("partial" in note for note in MARS(root).notes)
    assert SMALL_COUNTS.keys() == mars.count(*read(root)).keys()


@pytest.mark.parametrize("name", SMALL_COUNTS)
def test_a_copy_that_claims_to_be_complete_is_held_to_each_count(root, monkeypatch, name):
    monkeypatch.setattr(mars, "OFFICIAL_COUNTS", SMALL_COUNTS | {name: SMALL_COUNTS[name] + 1})
    rejected(root, "complete", f"number of {name} is {SMALL_COUNTS[name]}", f"instead of {SMALL_COUNTS[name] + 1}")


@pytest.mark.parametrize("claim", ["training frames", "test frames", "training tracklets", "test tracklets"])
def test_one_official_total_is_a_claim_to_be_complete(root, monkeypatch, claim):
    official = {name: value + 100 for name, value in SMALL_COUNTS.items()}
    monkeypatch.setattr(mars, "OFFICIAL_COUNTS", official)
    assert "partial" in MARS(root).notes[0]
    monkeypatch.setattr(mars, "OFFICIAL_COUNTS", official | {claim: SMALL_COUNTS[claim]})
    rejected(root, "complete", "18 more")


def test_a_query_without_any_match_is_not_matched_by_other_queries(tmp_path):
    root = trees.write_mars(tmp_path / "MARS", test=[(2, 2, 1), (2, 2, 1)], queries=[1])
    assert mars.count(*read(root))["queries matched by other queries only"] == 0


def read(root):
    train, test = mars.read_split(root, "train"), mars.read_split(root, "test")
    return train, test, mars.read_queries(root, test)


@pytest.mark.parametrize("place", ["..", "bbox_train", "bbox_test", "info", "."])
def test_it_is_found_one_level_up_or_down(root, place):
    assert contents(MARS(root / place)) == contents(MARS(root))
    assert recognise(root / place) == "mars"


def test_of_several_below_one_must_be_given(root):
    shutil.copytree(root, root.parent / "other")
    rejected(root.parent, "holds several folders in the layout of MARS", f"{root} or {root.parent / 'other'}")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(root, encoding):
    expected = contents(MARS(root))
    for name in ("train_name.txt", "test_name.txt"):
        path = root / "info" / name
        path.write_text(path.read_text(), encoding=encoding)
    (root / "info" / "challenges.csv").write_text("split,row,challenge,group\ntest,2,dark,\n", encoding=encoding)
    assert contents(MARS(root)) == expected and {each.challenge for each in MARS(root).gallery} == {None, "dark"}


def test_missing_root_is_named(tmp_path):
    rejected(tmp_path / "nowhere", str(tmp_path / "nowhere"), "does not exist")


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "mars.zip").touch()
    rejected(tmp_path / "mars.zip", "mars.zip is a file")


@pytest.mark.parametrize(
    "file", ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
)
def test_missing_info_file_is_named(root, file):
    (root / "info" / file).unlink()
    rejected(root, file, "does not exist")


def test_missing_frame_folder_is_named(root):
    (root / "bbox_train").rename(root / "train")
    rejected(root, "no folder bbox_train")


def test_damaged_matlab_file_is_named(root):
    (root / "info" / "tracks_train_info.mat").write_bytes(b"no MATLAB")
    rejected(root, "tracks_train_info.mat", "is no MATLAB file but text")
    (root / "info" / "tracks_train_info.mat").write_bytes(bytes(200))
    rejected(root, "tracks_train_info.mat", "cannot be read")


def test_absent_variable_is_named_with_what_is_there(root):
    (root / "info" / "tracks_test_info.mat").write_bytes((root / "info" / "query_IDX.mat").read_bytes())
    rejected(root, "tracks_test_info.mat", "track_test_info", "holds query_IDX")


def test_rows_need_four_columns(root):
    trees.write_rows(root, "train", [[1, 5, 1], [6, 8, 1]])
    rejected(root, "tracks_train_info.mat", "[2, 3]")


def test_rows_must_be_whole_numbers(root):
    trees.write_rows(root, "train", [[1, 5.5, 1, 1]])
    rejected(root, "track_train_info", "5.5")


def test_empty_tracklet_is_named(root):
    trees.write_rows(root, "train", [[1, 5, 1, 1], [6, 5, 1, 2]])
    rejected(root, "row 2", "tracks_train_info.mat", "empty tracklet")


@pytest.mark.parametrize("row", [[9, 13, 3, 1], [0, 2, 1, 1]])
def test_row_outside_the_list_is_named(root, row):
    trees.write_rows(root, "train", [[1, 5, 1, 1], row])
    rejected(root, "row 2", f"{row[0]} to {row[1]}", "1 to 12")


def test_junk_and_distractors_cannot_be_trained_on(root):
    trees.write_rows(root, "train", [[1, 5, 0, 1]])
    rejected(root, "row 1", "person 0", "numbered from 1")


@pytest.mark.parametrize("query", [0, 8])
def test_query_outside_the_rows_is_named(root, query):
    trees.write_queries(root, [3, query])
    rejected(root, "query_IDX.mat", f"row {query}", "1 to 7")


def test_repeated_query_is_named(root):
    trees.write_queries(root, [3, 5, 3])
    rejected(root, "query_IDX.mat", "row 3 twice")


@pytest.mark.parametrize(("query", "person"), [(1, -1), (2, 0)])
def test_junk_and_distractors_cannot_be_queries(root, query, person):
    trees.write_queries(root, [3, query])
    rejected(root, f"row {query}", f"person {person}")


@pytest.mark.parametrize(
    "name",
    ["0001C1T001F001.jpg", "0001C7T0001F001.jpg", "0001C0T0001F001.jpg", "0001c1T0001F001.jpg", "0001C1T0001F001.jpeg"]
    + ["00-2C1T0001F001.jpg", "0001C1T0001F0001.jpg", "0001C2T0002F001.jpg.part", "x"],
)
def test_name_of_another_pattern_is_named_with_its_line(root, name):
    names = trees.read_names(root, "train")
    trees.write_names(root, "train", [*names[:3], name, *names[4:]])
    rejected(root, "line 4", "train_name.txt", repr(name), "0001C1T0001F001.jpg")


def test_row_of_another_person_than_its_names_is_named(root):
    trees.write_rows(root, "train", [[1, 5, 1, 1], [6, 8, 5, 2]])
    rejected(root, "row 2", "person 5", "0001C2T0002F001.jpg is of person 1", "2 more")


def test_row_of_another_camera_than_its_names_is_named(root):
    trees.write_rows(root, "train", [[1, 5, 1, 1], [6, 8, 1, 3]])
    rejected(root, "row 2", "camera 3", "0001C2T0002F001.jpg is of camera 2")


def test_no_person_hides_in_a_junk_row(root):
    trees.write_rows(root, "test", [[1, 9, -1, 1], [10, 14, 2, 1], [15, 20, 2, 3]])
    rejected(root, "row 1", "person -1", "0000C2T0001F001.jpg is of person 0")


def test_junk_is_dropped_whatever_camera_its_row_says(root):
    trees.write_rows(root, "test", [[1, 2, -1, 5], [6, 9, 2, 1], [15, 20, 2, 3]])
    trees.write_queries(root, [2])
    assert keys(MARS(root).gallery) == [(2, 1, 4), (2, 3, 6)]


def test_missing_frames_are_named_and_counted(root):
    (root / "bbox_test" / "0002" / "0002C1T0002F003.jpg").unlink()
    (root / "bbox_test" / "0002" / "0002C3T0003F001.jpg").unlink()
    rejected(root, "bbox_test/0002/0002C1T0002F003.jpg", "does not exist", "1 more")


def test_missing_person_folder_counts_all_its_frames(root):
    for file in (root / "bbox_train" / "0001").iterdir():
        file.unlink()
    (root / "bbox_train" / "0001").rmdir()
    rejected(root, "bbox_train/0001/0001C1T0001F001.jpg", "7 more")


def write_challenges(root, text):
    (root / "info" / "challenges.csv").write_text("split,row,challenge,group\n" + text)


def test_challenges_and_groups_reach_the_tracklets(root):
    write_challenges(root, "train,1,none,\ntest,3,occluded,\ntest,5,look-alike,7\n")
    data = MARS(root)
    assert [tracklet.challenge for tracklet in data.train] == ["none", None, None]
    assert [(tracklet.challenge, tracklet.group) for tracklet in data.query] == [
        ("occluded", None),
        ("look-alike", 7),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("test,8,none,", ["row 8", "1 to 7"]),
        ("test,0,none,", ["row 0", "1 to 7"]),
        ("query,1,none,", ["'query'", "train or test"]),
        ("test,one,none,", ["test,one,none,"]),
        ("test,1,none", ["test,1,none"]),
        ("test,1,none,x", ["test,1,none,x"]),
        ("test,4,none,\ntest,4,none,", ["line 3", "row 4", "second time"]),
    ],
)
def test_wrong_line_of_the_challenges_is_named(root, line, words):
    write_challenges(root, line + "\n")
    rejected(root, "challenges.csv", *words)


def test_challenges_need_their_header(root):
    (root / "info" / "challenges.csv").write_text("row,challenge\n1,none\n")
    rejected(root, "split,row,challenge,group", "row,challenge")
