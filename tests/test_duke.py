"""DukeMTMC-VideoReID: both namings, frames by their numbers, the official gallery, and a sentence for every fault."""

import json
import os

import pytest

import trees
from reading import refused
from strf_cuda.data import duke, open_dataset
from strf_cuda.data.duke import DukeMTMCVideoReID
from strf_cuda.errors import InputError
from strf_cuda.metrics import evaluate_ranking

# Two people to train on, two to look for, and a distractor; one tracklet of each tested person is its query.
TRACKLETS = {
    "train/0001/0001": (1, 3),
    "train/0001/0002": (8, 2),
    "train/0007/0003": (2, 4),
    "query/0005/0004": (1, 3),
    "query/7140/0007": (4, 1),
    "gallery/0005/0004": (1, 3),
    "gallery/0005/0005": (1, 2),
    "gallery/0005/0006": (3, 4),
    "gallery/7140/0007": (4, 1),
    "gallery/7140/0008": (5, 6),
    "gallery/0009/0009": (2, 2),
}
SMALL_COUNTS = {
    "training tracklets": 3,
    "gallery tracklets": 6,
    "training frames": 9,
    "gallery frames": 18,
    "training people": 2,
    "frames in the shortest training tracklet": 2,
    "frames in the longest training tracklet": 4,
    "queries": 2,
    "people among the queries": 2,
    "query frames": 4,
    "gallery people with a query": 2,
    "gallery people without a query": 1,
    "frames in the shortest tracklet": 1,
    "frames in the longest tracklet": 6,
}


@pytest.fixture
def root(tmp_path):
    return trees.write_duke(tmp_path, TRACKLETS)


def keys(tracklets):
    return [(tracklet.person_id, tracklet.camera_id, len(tracklet)) for tracklet in tracklets]


def names(tracklet):
    return [path.rpartition("/")[2] for path in tracklet.paths]


def rejected(root, *words):
    return refused(lambda: DukeMTMCVideoReID(root), *words)


def test_lists_are_the_folders_and_the_queries_stay_in_the_gallery(root):
    data = DukeMTMCVideoReID(root)
    assert data.name == "DukeMTMC-VideoReID"
    assert keys(data.train) == [(1, 1, 3), (1, 8, 2), (7, 2, 4)]
    assert keys(data.query) == [(5, 1, 3), (7140, 4, 1)]
    assert keys(data.gallery) == [(5, 1, 3), (5, 1, 2), (5, 3, 4), (9, 2, 2), (7140, 4, 1), (7140, 5, 6)]


def test_a_query_that_stays_in_the_gallery_never_finds_itself(root):
    data = DukeMTMCVideoReID(root)
    ids = [[t.person_id for t in data.query], [t.person_id for t in data.gallery]]
    cameras = [[t.camera_id for t in data.query], [t.camera_id for t in data.gallery]]
    result = evaluate_ranking([[0.0] * 6] * 2, *ids, *cameras)
    # Ranked for person 5: its tracklet by camera 3, the distractor, and both of person 7140; and for person 7140 all of
    # person 5's and the distractor before its own other one.
    assert result.valid_queries == 2
    assert result.mAP == pytest.approx((1 + 1 / 5) / 2)


def test_a_folder_that_may_not_be_listed_is_named(root, monkeypatch):
    listdir, locked = os.listdir, root / "train" / "0001" / "0001"

    def refuse(folder):
        if os.fspath(folder) == os.fspath(locked):
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    rejected(root, f"the folder {locked} cannot be listed: Permission denied")


def test_all_people_of_a_full_copy_come_out_with_its_distractors(tmp_path, monkeypatch):
    # A tracklet of one frame each, so that the test is quick; the numbers of people are the official ones.
    tracklets = {f"train/{person:04d}/{person:04d}": (1 + person % 8, 1) for person in range(1, 703)}
    for person in range(1_000, 2_110):
        tracklets[f"gallery/{person:04d}/{person:04d}"] = (1 + person % 8, 1)
        if person < 1_702:
            tracklets[f"query/{person:04d}/{person:04d}"] = (1 + person % 8, 1)
    trees.write_duke(tmp_path, tracklets)
    made = {"training": 702, "gallery": 1_110, "query": 702}
    for name in duke.OFFICIAL_COUNTS:
        side, _, what = name.partition(" ")
        if what in ("tracklets", "frames"):
            monkeypatch.setitem(duke.OFFICIAL_COUNTS, name, made[side])
        elif name.startswith("frames in the"):
            monkeypatch.setitem(duke.OFFICIAL_COUNTS, name, 1)
    data = DukeMTMCVideoReID(tmp_path)
    people = {side: {t.person_id for t in getattr(data, side)} for side in ("train", "query", "gallery")}
    assert [len(numbers) for numbers in people.values()] == [702, 702, 1_110]
    assert people["query"] < people["gallery"] and len(people["gallery"] - people["query"]) == 408
    assert not any("partial" in note for note in data.notes)


def test_every_use_says_that_the_data_set_was_withdrawn(root, monkeypatch):
    note = DukeMTMCVideoReID(root).notes[0]
    assert "withdrawn by its authors in 2019" in note
    monkeypatch.setattr(duke, "OFFICIAL_COUNTS", SMALL_COUNTS)
    assert DukeMTMCVideoReID(root).notes[0] == note


def test_a_partial_copy_says_so_with_its_counts(root):
    note = DukeMTMCVideoReID(root).notes[1]
    assert note.startswith("partial copy of DukeMTMC-VideoReID: 3 of 2,196 training tracklets, 2 of 702 queries, 6 of")


@pytest.mark.parametrize("name", SMALL_COUNTS)
def test_a_copy_that_claims_to_be_complete_is_held_to_each_count(root, monkeypatch, name):
    assert SMALL_COUNTS.keys() == duke.OFFICIAL_COUNTS.keys()
    monkeypatch.setattr(duke, "OFFICIAL_COUNTS", SMALL_COUNTS)
    assert not any("partial" in note for note in DukeMTMCVideoReID(root).notes)
    monkeypatch.setattr(duke, "OFFICIAL_COUNTS", SMALL_COUNTS | {name: SMALL_COUNTS[name] + 1})
    rejected(root, "complete", f"number of {name} is {SMALL_COUNTS[name]}", f"instead of {SMALL_COUNTS[name] + 1}")


@pytest.mark.parametrize("claim", ["training tracklets", "gallery tracklets", "training frames", "gallery frames"])
def test_one_official_total_is_a_claim_to_be_complete(root, monkeypatch, claim):
    official = {name: value + 100 for name, value in SMALL_COUNTS.items()}
    monkeypatch.setattr(duke, "OFFICIAL_COUNTS", official)
    assert "partial" in DukeMTMCVideoReID(root).notes[1]
    monkeypatch.setattr(duke, "OFFICIAL_COUNTS", official | {claim: SMALL_COUNTS[claim]})
    rejected(root, "complete", "12 more")


def test_frames_follow_their_numbers_through_holes_and_both_namings(tmp_path):
    trees.write_duke(tmp_path, {path: of for path, of in TRACKLETS.items() if path != "train/0001/0001"})
    folder = tmp_path / "train" / "0001" / "0001"
    old, new = trees.duke_names(1, 6, [2, 9_324, 11], joint=""), trees.duke_names(1, 6, [4, 10, 1_000])
    trees.write_frames(folder, old + new)
    tracklet = DukeMTMCVideoReID(tmp_path).train[0]
    assert names(tracklet) == [old[0], new[0], new[1], old[2], new[2], old[1]]
    assert tracklet.camera_id == 6 and tracklet.person_id == 1


def test_nothing_depends_on_the_order_in_which_folders_are_listed(root, request):
    before = DukeMTMCVideoReID(root)
    listed = request.getfixturevalue("shuffled_folders")
    after = DukeMTMCVideoReID(root)
    assert (after.train, after.query, after.gallery) == (before.train, before.query, before.gallery)
    assert len(listed) >= len(TRACKLETS)


def test_the_folder_that_holds_the_release_is_a_root_too(root, tmp_path_factory):
    outer = tmp_path_factory.mktemp("outer")
    (outer / "DukeMTMC-VideoReID").symlink_to(root)
    assert keys(DukeMTMCVideoReID(outer).gallery) == keys(DukeMTMCVideoReID(root).gallery)


def test_lists_that_other_software_left_there_are_not_read(root):
    before = keys(DukeMTMCVideoReID(root).train)
    (root / "split_train.json").write_text(json.dumps({"tracklets": [[["/elsewhere/1.jpg"], 0, 0]]}))
    for name in ("Thumbs.db", "._0001_C1_F0009_X30108.jpg"):
        (root / "train" / "0001" / "0001" / name).touch()
    (root / "train" / ".DS_Store").touch()
    assert keys(DukeMTMCVideoReID(root).train) == before


def test_queries_that_the_gallery_lacks_are_stated(root):
    assert not any("not in the gallery" in note for note in DukeMTMCVideoReID(root).notes)
    for tracklet in ("0005/0004", "7140/0007"):
        (root / "gallery" / tracklet).rename(root / tracklet.replace("/", "-"))
    data = DukeMTMCVideoReID(root)
    assert len(data.gallery) == 4
    assert any(note.startswith("2 of 2 queries are not in the gallery") for note in data.notes)


def test_people_on_both_sides_are_stated(root):
    trees.write_duke(root, {"train/0009/0010": (3, 1)})
    assert any(
        "1 people are in the training list and in the test lists" in note for note in DukeMTMCVideoReID(root).notes
    )


def test_the_command_line_name_takes_no_split(root):
    assert keys(open_dataset("duke", str(root)).train) == keys(DukeMTMCVideoReID(root).train)
    with pytest.raises(InputError, match="split is 0, but the data set duke has one split only: leave it out"):
        open_dataset("duke", str(root), 0)


def test_a_root_of_another_layout_is_named(tmp_path):
    rejected(tmp_path / "nowhere", "does not exist")
    trees.write_duke(tmp_path, {"train/0001/0001": (1, 1), "query/0002/0002": (1, 1)})
    rejected(tmp_path, str(tmp_path), "no folders train, query and gallery")
    (tmp_path / "gallery").mkdir()
    rejected(tmp_path, str(tmp_path / "gallery"), "no person folder", "{train,query,gallery}/person/tracklet/*.jpg")


def test_an_empty_tracklet_is_named(root):
    (root / "gallery" / "0005" / "0099").mkdir()
    rejected(root, f"tracklet {root / 'gallery' / '0005' / '0099'} is empty", "0001C6F0099X30823.jpg", "removed")


@pytest.mark.parametrize(
    "name",
    [
        "0001_C0_F0009_X30108.jpg",
        "0001_C9_F0009_X30108.jpg",
        "0001C1_F0009_X30108.jpg",
        "0001_C1_F009_X30108.jpg",
        "0001_C1_F0009.jpg",
        "0001C1T0001F001.jpg",
        "0001_C1_F0009_X30108.png",
    ],
)
def test_a_frame_of_another_name_or_camera_is_named(root, name):
    (root / "train" / "0001" / "0001" / name).touch()
    rejected(root, f"0001/0001/{name} is not named like", "a camera from 1 to 8")


def test_a_tracklet_of_two_cameras_is_named(root):
    trees.write_frames(root / "train" / "0001" / "0001", trees.duke_names(1, 2, [9]))
    rejected(root, "train/0001/0001 mixes two cameras", "is of camera 1", "0001_C2_F0009_X30108.jpg of camera 2")


def test_a_tracklet_of_two_people_is_named(root):
    trees.write_frames(root / "train" / "0001" / "0001", trees.duke_names(2, 1, [9]))
    rejected(root, "train/0001/0001 mixes two persons", "0002_C1_F0009_X30108.jpg of person 0002")


def test_a_folder_of_another_person_than_its_frames_is_named(root):
    (root / "train" / "0007").rename(root / "train" / "0008")
    rejected(root, "0008/0003 lies in the folder of person 0008", "0007_C2_F0001_X30012.jpg is of person 0007")


@pytest.mark.parametrize(
    ("name", "words"), [("7", "four digits"), ("anna", "four digits"), ("0000", "numbered from 1")]
)
def test_a_folder_that_is_nobodys_is_named(root, name, words):
    (root / "train" / "0007").rename(root / "train" / name)
    rejected(root, str(root / "train" / name), words)


def test_a_frame_under_both_namings_is_not_taken_twice(root):
    trees.write_frames(root / "train" / "0001" / "0001", trees.duke_names(1, 1, [2], joint=""))
    rejected(root, "0001C1F0002X30024.jpg and 0001_C1_F0002_X30024.jpg", "both frame 2", "remove one of them")


def test_images_above_the_tracklets_are_named(root):
    trees.write_frames(root / "train" / "0001", trees.duke_names(1, 1, [1]))
    rejected(root, "train/0001/0001_C1_F0001_X30012.jpg lies among the tracklet folders")
