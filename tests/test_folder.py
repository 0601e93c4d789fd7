"""TrackletFolder: natural order, both layouts, the split by person, and a sentence for every other layout."""

from pathlib import Path

import pytest

import trees
from reading import refused
from strf_cuda.data.folder import TrackletFolder, read_tracklet
from strf_cuda.data.tracklets import JUNK_PERSON

PEOPLE = {
    f"person {person}/{camera}/{tracklet}": 2
    for person in range(1, 13)
    for camera in ("door", "hall")
    for tracklet in ("t1", "t2")
}


def rejected(folder, *words, **options):
    return refused(lambda: TrackletFolder(folder, **options), *words)


def test_split_folders_are_the_lists_as_they_are(tmp_path):
    trees.write_folder(
        tmp_path,
        {"train/ann/1/a": 3, "train/bob/2/a": 2, "query/cid/1/a": 4, "gallery/cid/2/a": 1, "gallery/ann/1/x": 1},
    )
    data = TrackletFolder(tmp_path)
    assert data.person_names == {1: "ann", 2: "bob", 3: "cid"}
    assert data.camera_names == {1: "1", 2: "2"}
    assert [(t.person_id, t.camera_id, len(t)) for t in data.train] == [(1, 1, 3), (2, 2, 2)]
    assert [(t.person_id, t.camera_id, len(t)) for t in data.query] == [(3, 1, 4)]
    assert [(t.person_id, t.camera_id, len(t)) for t in data.gallery] == [(1, 1, 1), (3, 2, 1)]
    assert any("1 people are in the training list and in the test lists" in note for note in data.notes)


def test_frames_people_and_cameras_are_in_natural_order(tmp_path):
    trees.write_folder(tmp_path, {"p10/c2/t": 1, "p9/c10/t": 11})
    data = TrackletFolder(tmp_path, test_fraction=0)
    assert data.person_names == {1: "p9", 2: "p10"}
    assert data.camera_names == {1: "c2", 2: "c10"}
    assert [t.person_id for t in data.train] == [1, 2]
    assert list(data.train[0].paths) == [str(tmp_path / f"p9/c10/t/{frame}.jpg") for frame in range(1, 12)]


def test_other_files_are_passed_over_with_a_note_and_hidden_ones_without(tmp_path):
    trees.write_folder(tmp_path, {"a/c/t": 1, "b/c/t": 1})
    trees.write_frames(tmp_path / "a/c/t", ["2.PNG", "3.jpeg", "4.bmp", "5.WebP", "notes.txt", ".6.jpg"])
    trees.write_frames(tmp_path / "b/c/t", ["2.tif", "3.tif", "4"])
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").touch()
    data = TrackletFolder(tmp_path, test_fraction=0)
    assert [path.rpartition("/")[2] for path in data.train[0].paths] == ["1.jpg", "2.PNG", "3.jpeg", "4.bmp", "5.WebP"]
    passed_over = "files among the frames that are passed over: 2 .tif, 1 .txt, 1 without an ending; frames are .jpg, "
    assert data.notes[0].startswith(passed_over) and len(data.train[1].paths) == 1
    (tmp_path / "b/c/t/1.jpg").unlink()
    rejected(tmp_path, str(tmp_path / "b/c/t"), "holds no picture but 2 .tif, 1 without an ending: it must hold .jpg")


def test_people_whose_names_mean_nobody_in_other_data_sets_are_told(tmp_path):
    trees.write_folder(tmp_path, {f"{person}/c/t": 1 for person in ("-1", "0", "0000", "1", "10")})
    assert any(note.startswith("-1 and 0 and 0000: read as") for note in TrackletFolder(tmp_path).notes)


def test_one_person_alone_may_be_a_folder_of_people(tmp_path):
    trees.write_folder(tmp_path / "data", {"tracklet_train/0001/a": 1, "tracklet_train/0002/a": 1})
    assert any(f"give {tmp_path}/data/tracklet_train" in note for note in TrackletFolder(tmp_path / "data").notes)


def test_plain_root_is_split_by_person_as_mars_is(tmp_path):
    data = TrackletFolder(trees.write_folder(tmp_path, PEOPLE))
    trained = {t.person_id for t in data.train}
    tested = {t.person_id for t in data.gallery}
    assert len(trained) == len(tested) == 6 and not trained & tested
    assert len(data.train) == len(data.gallery) == 24
    assert [(t.person_id, t.camera_id) for t in data.query] == [(p, c) for p in sorted(tested) for c in (1, 2)]
    assert all(t.paths[0].endswith("t1/1.jpg") for t in data.query)
    assert all(any(query is t for t in data.gallery) for query in data.query)
    assert "6 of 12 people were drawn for testing (test_fraction 0.5, seed 0)" in data.notes[0]


def test_split_depends_on_the_seed_and_on_nothing_else(tmp_path):
    root = trees.write_folder(tmp_path, PEOPLE)
    assert TrackletFolder(root).train == TrackletFolder(root).train
    splits = {tuple(sorted({t.person_id for t in TrackletFolder(root, seed=seed).train})) for seed in range(5)}
    assert len(splits) > 1


@pytest.mark.parametrize(("fraction", "tested"), [(0, 0), (0.25, 3), (1, 12)])
def test_test_fraction_is_a_share_of_the_people(tmp_path, fraction, tested):
    data = TrackletFolder(trees.write_folder(tmp_path, PEOPLE), test_fraction=fraction)
    assert len({t.person_id for t in data.gallery}) == tested
    assert len({t.person_id for t in data.train}) == 12 - tested


def test_people_with_one_tracklet_and_queries_without_match_are_stated(tmp_path):
    trees.write_folder(tmp_path, {"train/a/1/t": 1, "train/b/1/t": 1, "train/b/1/u": 1})
    trees.write_folder(tmp_path, {"query/c/1/t": 1, "gallery/c/1/t": 1})
    notes = " ".join(TrackletFolder(tmp_path).notes)
    assert "1 of 2 training people have a single tracklet" in notes
    assert "2 of 2 training people were seen by one camera only" in notes
    assert "1 of 1 queries have no gallery tracklet" in notes


def test_missing_root_is_named(tmp_path):
    rejected(tmp_path / "nowhere", str(tmp_path / "nowhere"), "does not exist")


def test_root_without_folders_is_named(tmp_path):
    rejected(tmp_path, str(tmp_path), "no person folder", "person/camera/tracklet")


def test_half_split_root_names_what_is_missing(tmp_path):
    trees.write_folder(tmp_path, {"train/a/1/t": 1, "query/b/1/t": 1})
    rejected(tmp_path, "train and query", "gallery")


def test_empty_split_is_named(tmp_path):
    trees.write_folder(tmp_path, {"train/a/1/t": 1, "query/b/1/t": 1})
    (tmp_path / "gallery").mkdir()
    rejected(tmp_path, str(tmp_path / "gallery"), "no person folder")


def test_empty_tracklet_is_named(tmp_path):
    trees.write_folder(tmp_path, {"a/1/t": 1, "a/1/u": 0})
    rejected(tmp_path, str(tmp_path / "a/1/u"), "empty")


def test_missing_level_is_named(tmp_path):
    trees.write_folder(tmp_path, {"a/1": 2})
    rejected(tmp_path, str(tmp_path / "a/1"), "no tracklet folder")


def test_image_above_the_tracklets_is_named(tmp_path):
    trees.write_folder(tmp_path, {"a/1/t": 1})
    trees.write_frames(tmp_path / "a/1", ["stray.jpg"])
    rejected(tmp_path, str(tmp_path / "a/1/stray.jpg"))


def test_fraction_of_a_root_that_is_already_split_is_refused(tmp_path):
    trees.write_folder(tmp_path, {"train/a/1/t": 1, "query/b/1/t": 1, "gallery/b/2/t": 1})
    rejected(tmp_path, "already split", test_fraction=0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_fraction_outside_0_and_1_is_refused(tmp_path, fraction):
    trees.write_folder(tmp_path, {"a/1/t": 1})
    rejected(tmp_path, f"test_fraction is {fraction}", test_fraction=fraction)


def test_a_single_folder_of_frames_is_a_tracklet_of_somebody_unknown(tmp_path):
    for name in ("10.jpg", "9.PNG", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    tracklet = read_tracklet(tmp_path)
    assert [Path(path).name for path in tracklet.paths] == ["9.PNG", "10.jpg"]
    assert tracklet.person_id == JUNK_PERSON


def test_a_picture_is_a_tracklet_of_one_frame(tmp_path):
    for name in ("1.JPG", "2.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert list(read_tracklet(tmp_path / "1.JPG").paths) == [str(tmp_path / "1.JPG")]
    refused(lambda: read_tracklet(tmp_path / "notes.txt"), "notes.txt is a file, and no picture by its name")
