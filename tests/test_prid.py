"""PRID2011: which of two published sets of splits is in use, the 178 people, and a sentence for every fault."""

import gzip
import json

import pytest

import trees
from reading import contents, refused
from strf_cuda.data import open_dataset, prid
from strf_cuda.data.prid import PRID2011
from strf_cuda.data.splits import fingerprint, parse_splits

# 178 of the 200 people whom both cameras saw.
PEOPLE = [f"person_{number:04d}" for number in range(1, 201) if number % 9]
# Few frames, so that the tests are quick; the release's frames are counted where its lists are given.
MADE_COUNTS = {
    "people": 178,
    "frames": 1_200,
    "frames in the shortest tracklet": 2,
    "frames in the longest tracklet": 12,
}
SMALL = [f"person_{number:04d}" for number in (1, 2, 4, 9, 10, 200)]
TORCHREID, OTHER, NEITHER = (*prid.LAYOUT.published.values(), prid.LAYOUT.unpublished)


@pytest.fixture(scope="module", params=["made", "real"])
def complete(request, tmp_path_factory):
    """A root without splits that holds all people with empty frames, made here or named as the release's; and two sets
    of ten splits, torchreid's first."""
    root = tmp_path_factory.mktemp(request.param)
    multi_shot = root / "prid_2011" / "multi_shot"
    if request.param == "made":
        trees.write_prid(multi_shot, PEOPLE, trees.even_lengths(356, 1_200, 2, 12))
        sets = [trees.ten_splits(PEOPLE), trees.ten_splits(PEOPLE[::-1])]
    else:
        lists = request.getfixturevalue("real_lists")
        names = gzip.decompress((lists / "prid2011_frames.txt.gz").read_bytes()).decode()
        trees.write_names_of(multi_shot, names.replace("cam1/", "cam_a/").replace("cam2/", "cam_b/").split())
        sets = [json.loads((lists / f"prid2011_{name}_10.json").read_text()) for name in ("torchreid", "other")]
    # Whom one camera saw alone, as 734 people of the release.
    trees.write_frames(multi_shot / "cam_a" / "person_0385", ["0001.png"])
    trees.write_frames(multi_shot / "cam_b" / "person_0749", ["0002.png", "0005.png"])
    return root, sets


@pytest.fixture
def root(complete, tmp_path, monkeypatch):
    """The complete data set without splits in a root of the test's own; what is made here passes for published."""
    (tmp_path / "prid_2011").symlink_to(complete[0] / "prid_2011")
    if complete[0].name.startswith("made"):
        marks = [fingerprint(parse_splits(tmp_path, splits)) for splits in complete[1]]
        for mark, name in zip(marks, (TORCHREID, OTHER), strict=True):
            monkeypatch.setitem(prid.LAYOUT.published, mark, name)
        for name, value in MADE_COUNTS.items():
            monkeypatch.setitem(prid.LAYOUT.official_counts, name, value)
    return tmp_path


@pytest.fixture
def small(tmp_path):
    trees.write_prid(tmp_path / "multi_shot", SMALL, [2, 3] * 6)
    trees.write_json(tmp_path / "splits_prid2011.json", trees.ten_splits(SMALL))
    return tmp_path


def rejected(root, *words, split=0):
    return refused(lambda: PRID2011(root, split), *words)


@pytest.mark.parametrize("split", [0, 9])
@pytest.mark.parametrize(("which", "name"), [(0, TORCHREID), (1, OTHER)])
def test_a_split_trains_on_its_training_people_and_its_set_is_named(root, complete, split, which, name):
    splits = complete[1][which]
    trees.write_json(root / "splits_prid2011.json", splits)
    data = PRID2011(root, split)
    train, test = ([int(person[-4:]) for person in splits[split][side]] for side in ("train", "test"))
    assert data.name == "PRID2011" and len(train) == len(test) == 89
    assert data.camera_names == {1: "cam_a", 2: "cam_b"}
    assert [(t.person_id, t.camera_id) for t in data.train] == [
        (person, camera) for person in train for camera in (1, 2)
    ]
    assert [(t.person_id, t.camera_id) for t in data.query] == [(person, 1) for person in test]
    assert [(t.person_id, t.camera_id) for t in data.gallery] == [(person, 2) for person in test]
    assert data.notes == [f"split {split} of splits_prid2011.json: {name}"]


def test_the_complete_copy_has_every_frame_in_order_and_nobody_else(root, complete):
    trees.write_json(root / "mine.json", complete[1][0])
    data = PRID2011(root, 5)
    total = 0
    for tracklet in data.train + data.query + data.gallery:
        folder = root / "prid_2011" / "multi_shot" / f"cam_{' ab'[tracklet.camera_id]}"
        folder /= f"person_{tracklet.person_id:04d}"
        frames = range(1, len(tracklet) + 1)
        assert list(tracklet.paths) == [str(folder / f"{frame:04d}.png") for frame in frames]
        total += len(frames)
    assert total == prid.LAYOUT.official_counts["frames"]


def test_the_two_published_sets_differ_in_every_split(complete):
    assert all(one["test"] != other["test"] for one, other in zip(*complete[1], strict=True))


def test_a_reordered_or_rewritten_list_is_the_same_set_only_where_its_splits_are(root, complete):
    splits = complete[1][0]
    shuffled = [{"test": split["test"][::-1], "train": split["train"][::-1]} for split in splits]
    (root / "splits.json").write_text(json.dumps(shuffled, indent=7))
    assert PRID2011(root).notes == [f"split 0 of splits.json: {TORCHREID}"]
    trees.write_json(root / "splits.json", splits[1:] + splits[:1])
    assert PRID2011(root).notes == [f"split 0 of splits.json: {NEITHER}"]


def test_nothing_depends_on_the_order_in_which_folders_are_listed(root, complete, request):
    trees.write_json(root / "splits.json", complete[1][0])
    before = contents(PRID2011(root, 1))
    listed = request.getfixturevalue("shuffled_folders")
    assert contents(PRID2011(root, 1)) == before
    assert len(listed) > 356


@pytest.mark.parametrize("name", MADE_COUNTS)
def test_a_copy_that_claims_to_be_complete_is_held_to_each_count(root, complete, monkeypatch, name):
    trees.write_json(root / "splits.json", complete[1][0])
    value = prid.LAYOUT.official_counts[name]
    monkeypatch.setitem(prid.LAYOUT.official_counts, name, value + 1)
    rejected(root, "looks like the complete PRID2011", f"number of {name} is {value:,} instead of {value + 1:,}")


def test_two_published_sets_side_by_side_are_no_choice(root, complete):
    trees.write_json(root / "splits_prid2011.json", complete[1][0])
    trees.write_json(root / "other.json", complete[1][1])
    rejected(root, "other.json", "splits_prid2011.json", "disagree on split 0 (and 9 more)", "keep the one")


def test_a_partial_copy_says_so_and_that_its_splits_are_its_own(small):
    own, partial = PRID2011(small, 2).notes
    assert own == f"split 2 of splits_prid2011.json: {NEITHER}"
    assert partial.startswith("partial copy of PRID2011: 6 of 178 people, 30 of 38,466 frames")


def test_the_same_splits_in_two_files_are_one_choice(small):
    (small / "multi_shot" / "copy.json").write_bytes((small / "splits_prid2011.json").read_bytes())
    assert PRID2011(small).notes[0].startswith("split 0 of splits_prid2011.json and multi_shot/copy.json: ")


def test_the_command_line_name_takes_a_split_and_begins_at_0(small):
    assert contents(open_dataset("prid", str(small), 4)) == contents(PRID2011(small, 4)) != contents(PRID2011(small, 0))
    assert contents(open_dataset("prid", str(small))) == contents(PRID2011(small, 0))


@pytest.mark.parametrize("split", [-1, 10])
def test_a_split_that_is_none_of_the_ten_is_refused(small, split):
    rejected(small, f"split is {split}", "0 to 9", split=split)


def test_a_root_of_another_layout_is_named(tmp_path):
    rejected(tmp_path / "nowhere", "does not exist")
    (tmp_path / "multi_shot" / "cam_a").mkdir(parents=True)
    rejected(tmp_path, str(tmp_path), "prid_2011/multi_shot/cam_a and cam_b")


def test_a_copy_without_splits_says_which_file_to_get(small):
    (small / "splits_prid2011.json").unlink()
    rejected(small, str(small), "no file of splits", "splits_prid2011.json")


def test_people_who_are_not_there_are_named_and_counted(small):
    (small / "multi_shot" / "cam_b" / "person_0004").rename(small / "person_0004")
    rejected(small, "splits_prid2011.json", "person_0004", "no folder in cam_b")


def test_a_missing_frame_is_named(small):
    (small / "multi_shot" / "cam_b" / "person_0002" / "0002.png").unlink()
    rejected(small, "frame 2 of", "cam_b/person_0002 is missing")


@pytest.mark.parametrize("name", ["person_2", "person_0000", "person0002"])
def test_a_folder_that_is_nobodys_is_named(small, name):
    (small / "multi_shot" / "cam_a" / name).mkdir()
    rejected(small, f"cam_a/{name} is not named like person_0001")
