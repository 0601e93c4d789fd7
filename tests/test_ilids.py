"""iLIDS-VID: both files of splits, order whatever the file system says, and a sentence for every fault."""

import gzip
import json

import pytest

import trees
from reading import contents, refused
from strf_cuda.data import ilids, open_dataset
from strf_cuda.data.ilids import ILIDSVID
from strf_cuda.data.splits import fingerprint, json_splits, matlab_splits, parse_splits

OFFICIAL_FILE = "train-test people splits/train_test_splits_ilidsvid.mat"
# 300 people whose numbers are not their places, as in the release.
PEOPLE = [f"person{number:03d}" for number in range(1, 320) if number % 17 and number != 318]
# Few frames, so that the tests are quick; the release's frames are counted where its lists are given.
MADE_COUNTS = {
    "people": 300,
    "frames": 1_800,
    "frames in the shortest tracklet": 2,
    "frames in the longest tracklet": 12,
}
SMALL = [f"person{number:03d}" for number in (1, 2, 4, 9, 10, 319)]


@pytest.fixture(scope="module", params=["made", "real"])
def complete(request, tmp_path_factory):
    """A root without splits that holds all people with empty frames, made here or named as the release's; and its ten
    splits."""
    root = tmp_path_factory.mktemp(request.param)
    sequences = root / "i-LIDS-VID" / "sequences"
    if request.param == "made":
        trees.write_ilids(sequences, PEOPLE, trees.even_lengths(600, 1_800, 2, 12))
        return root, trees.ten_splits(PEOPLE)
    lists = request.getfixturevalue("real_lists")
    trees.write_names_of(sequences, gzip.decompress((lists / "ilidsvid_frames.txt.gz").read_bytes()).decode().split())
    return root, json.loads((lists / "ilidsvid_official_10.json").read_text())


@pytest.fixture
def root(complete, tmp_path, monkeypatch):
    """The complete data set with the official file of splits in a root of the test's own; what is made here passes for
    official."""
    (tmp_path / "i-LIDS-VID").symlink_to(complete[0] / "i-LIDS-VID")
    trees.write_split_matrix(tmp_path / OFFICIAL_FILE, complete[1], ilids_people(complete[0]))
    if complete[0].name.startswith("made"):
        mark = fingerprint(parse_splits(tmp_path, complete[1]))
        monkeypatch.setitem(ilids.LAYOUT.published, mark, "the ten official splits")
        for name, value in MADE_COUNTS.items():
            monkeypatch.setitem(ilids.LAYOUT.official_counts, name, value)
    return tmp_path


@pytest.fixture
def small(tmp_path):
    trees.write_ilids(tmp_path / "i-LIDS-VID" / "sequences", SMALL, [2, 3] * 6)
    trees.write_split_matrix(tmp_path / OFFICIAL_FILE, trees.ten_splits(SMALL), SMALL)
    return tmp_path


def ilids_people(root):
    return sorted(folder.name for folder in (root / "i-LIDS-VID" / "sequences" / "cam1").iterdir())


def rejected(root, *words, split=0):
    return refused(lambda: ILIDSVID(root, split), *words)


@pytest.mark.parametrize("split", [0, 3, 9])
def test_a_split_trains_on_its_training_people_and_tests_across_the_cameras(root, complete, split):
    data = ILIDSVID(root, split)
    train, test = ([int(person[-3:]) for person in complete[1][split][side]] for side in ("train", "test"))
    assert data.name == "iLIDS-VID" and len(train) == len(test) == 150
    assert [(t.person_id, t.camera_id) for t in data.train] == [
        (person, camera) for person in train for camera in (1, 2)
    ]
    assert [(t.person_id, t.camera_id) for t in data.query] == [(person, 1) for person in test]
    assert [(t.person_id, t.camera_id) for t in data.gallery] == [(person, 2) for person in test]
    assert data.notes == [f"split {split} of {OFFICIAL_FILE}: the ten official splits"]


def test_the_complete_copy_has_every_frame_in_order(root):
    data = ILIDSVID(root, 5)
    frames = []
    for tracklet in data.train + data.query + data.gallery:
        names = [path.rpartition("/")[2] for path in tracklet.paths]
        numbers = [int(name[15:20]) for name in names]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(name.startswith(f"cam{tracklet.camera_id}_person{tracklet.person_id:03d}_") for name in names)
        frames += names
    assert len(frames) == len(set(frames)) == ilids.LAYOUT.official_counts["frames"]


def test_the_official_file_and_a_list_of_names_give_the_same_ten_splits(root, complete, tmp_path_factory):
    named = tmp_path_factory.mktemp("named")
    (named / "i-LIDS-VID").symlink_to(complete[0] / "i-LIDS-VID")
    trees.write_json(named / "splits.json", complete[1])
    assert (
        matlab_splits(root / OFFICIAL_FILE, "ls_set", ilids_people(root)) == json_splits([named])[named / "splits.json"]
    )
    lists = [contents(ILIDSVID(root, split)) for split in (0, 4, 9)]
    assert lists == [contents(ILIDSVID(named, split)) for split in (0, 4, 9)]
    assert lists[0] != lists[1] != lists[2] != lists[0]
    assert ILIDSVID(named).notes == ["split 0 of splits.json: the ten official splits"]
    trees.write_json(root / "splits.json", complete[1])
    assert ILIDSVID(root).notes == [f"split 0 of {OFFICIAL_FILE} and splits.json: the ten official splits"]


def test_nothing_depends_on_the_order_in_which_folders_are_listed(root, request):
    before = contents(ILIDSVID(root, 1))
    listed = request.getfixturevalue("shuffled_folders")
    assert contents(ILIDSVID(root, 1)) == before
    assert len(listed) > 600


@pytest.mark.parametrize("name", MADE_COUNTS)
def test_a_copy_that_claims_to_be_complete_is_held_to_each_count(root, monkeypatch, name):
    value = ilids.LAYOUT.official_counts[name]
    monkeypatch.setitem(ilids.LAYOUT.official_counts, name, value + 1)
    rejected(root, "looks like the complete iLIDS-VID", f"number of {name} is {value:,} instead of {value + 1:,}")


@pytest.mark.parametrize("nesting", ["sequences", "iLIDS-VID/i-LIDS-VID/sequences", "iLIDS-VID/sequences"])
def test_other_nestings_are_found(tmp_path, nesting):
    trees.write_ilids(tmp_path / nesting, SMALL, [2, 3] * 6)
    folder = (tmp_path / nesting).parent
    trees.write_json(folder / "mine.json", trees.ten_splits(SMALL))
    assert [len(tracklets) for tracklets in contents(ILIDSVID(tmp_path))] == [6, 3, 3]


def test_a_partial_copy_says_so_and_that_its_splits_are_its_own(small):
    own, partial = ILIDSVID(small, 2).notes
    assert own == f"split 2 of {OFFICIAL_FILE}: not the ten official splits"
    assert partial.startswith("partial copy of iLIDS-VID: 6 of 300 people, 30 of 42,459 frames")


def test_other_things_that_lie_around_are_passed_over(small):
    before = contents(ILIDSVID(small))
    cam1 = small / "i-LIDS-VID" / "sequences" / "cam1"
    for path in (cam1 / ".DS_Store", cam1 / "Thumbs.db", cam1 / "person001" / "Thumbs.db", small / ".splits.json"):
        path.write_bytes(b"x")
    trees.write_ilids(small / "i-LIDS-VID" / "images", SMALL, [1] * 12)
    trees.write_json(small / "pose.json", {"person001": [1, 2]})
    trees.write_json(small / "meta.json", [{"name": "iLIDS-VID"}])
    (small / "huge.json").write_bytes(b" " * (1 << 20) + b"{")
    assert contents(ILIDSVID(small)) == before


def test_the_command_line_name_takes_a_split_and_begins_at_0(small):
    assert (
        contents(open_dataset("ilids", str(small), 4)) == contents(ILIDSVID(small, 4)) != contents(ILIDSVID(small, 0))
    )
    assert contents(open_dataset("ilids", str(small))) == contents(ILIDSVID(small, 0))


@pytest.mark.parametrize("split", [-1, 10])
def test_a_split_that_is_none_of_the_ten_is_refused(small, split):
    rejected(small, f"split is {split}", "0 to 9", split=split)


def test_a_root_of_another_layout_is_named(tmp_path):
    rejected(tmp_path / "nowhere", "does not exist")
    rejected(tmp_path, str(tmp_path), "i-LIDS-VID/sequences/cam1 and cam2")


def test_a_copy_without_splits_says_where_they_belong(small):
    (small / OFFICIAL_FILE).unlink()
    rejected(small, str(small), "no file of splits", OFFICIAL_FILE, '{"train": [...], "test": [...]}')


def test_two_files_that_disagree_are_no_choice(small):
    splits = trees.ten_splits(SMALL)
    trees.write_json(small / "splits.json", splits[:8] + [splits[9], splits[8]])
    rejected(small, OFFICIAL_FILE, "splits.json", "disagree on split 8 (and 1 more)")


def test_a_person_folder_less_shifts_no_places(small):
    for camera in ("cam1", "cam2"):
        folder = small / "i-LIDS-VID" / "sequences" / camera / "person004"
        folder.rename(small / camera)
    rejected(small, "ls_set", "numbers 6 people", "5 person folders")


def test_a_folder_that_is_nobodys_is_named(small):
    (small / "i-LIDS-VID" / "sequences" / "cam1" / "person1").mkdir()
    rejected(small, "cam1/person1 is not named like person001")


def test_a_person_of_one_camera_is_named(small):
    (small / "i-LIDS-VID" / "sequences" / "cam2" / "person009").rename(small / "person009")
    rejected(small, "cam1/person009 has no counterpart in cam2")


def test_people_who_are_not_there_are_named_and_counted(small):
    (small / OFFICIAL_FILE).unlink()
    trees.write_json(small / "splits.json", trees.ten_splits([*SMALL, "person011", "person012"]))
    rejected(small, "splits.json", "person011 (and 1 more)", "no folder in cam1")


def test_a_missing_frame_is_named(small):
    folder = small / "i-LIDS-VID" / "sequences" / "cam2" / "person002"
    sorted(folder.iterdir())[1].unlink()
    rejected(small, "frame 301 of", "cam2/person002 is missing")


def test_an_empty_tracklet_is_named(small):
    folder = small / "i-LIDS-VID" / "sequences" / "cam2" / "person002"
    for path in folder.iterdir():
        path.unlink()
    rejected(small, f"tracklet {folder} is empty")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cam2_person001_00000.png", "mixes two cameras"),
        ("cam1_person002_00000.png", "mixes two persons"),
        ("cam1_person001_0000.png", "is not named like cam1_person001_00317.png"),
        ("cam3_person001_00000.png", "is not named like"),
        ("cam1_person001_00000.jpg", "is not named like"),
    ],
)
def test_a_frame_of_another_name_is_named(small, name, words):
    (small / "i-LIDS-VID" / "sequences" / "cam1" / "person001" / name).touch()
    rejected(small, words, name)


def test_folders_that_disagree_with_their_frames_are_named(small):
    sequences = small / "i-LIDS-VID" / "sequences"
    (sequences / "cam1").rename(sequences / "cam")
    (sequences / "cam2").rename(sequences / "cam1")
    (sequences / "cam").rename(sequences / "cam2")
    rejected(small, "cam1/person001 is of camera cam1, but its frame cam2_person001_00100.png is of camera cam2")


def test_swapped_person_folders_are_named(small):
    cam1 = small / "i-LIDS-VID" / "sequences" / "cam1"
    (cam1 / "person001").rename(cam1 / "x")
    (cam1 / "person002").rename(cam1 / "person001")
    (cam1 / "x").rename(cam1 / "person002")
    rejected(small, "cam1/person001 is of person person001", "is of person person002")
