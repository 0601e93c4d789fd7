"""Files of ten splits: what they must hold, and one sentence for each way in which they do not."""

import numpy as np
import pytest
from scipy.io import savemat

import trees
from reading import refused
from strf_cuda.data.splits import fingerprint, json_splits, matlab_splits

PEOPLE = [f"person{number:03d}" for number in (3, 8, 20, 101)]
SPLITS = trees.ten_splits(PEOPLE)


@pytest.fixture
def read_json(tmp_path):
    def read(content):
        trees.write_json(tmp_path / "splits.json", content)
        return json_splits([tmp_path])[tmp_path / "splits.json"]

    return read


@pytest.fixture
def read_matrix(tmp_path):
    def read(matrix, people=PEOPLE):
        savemat(tmp_path / "splits.mat", {"ls_set": np.array(matrix)})
        return matlab_splits(tmp_path / "splits.mat", "ls_set", people)

    return read


def test_the_first_half_of_a_row_is_tested_and_places_count_from_1_in_the_sorted_people(read_matrix):
    splits = read_matrix([[4, 1, 3, 2]] * 9 + [[1, 2, 3, 4]])
    assert (splits[0].test, splits[0].train) == (("person003", "person101"), ("person008", "person020"))
    assert (splits[9].test, splits[9].train) == (("person003", "person008"), ("person020", "person101"))


def test_files_of_both_kinds_give_the_same_splits(read_json, tmp_path):
    trees.write_split_matrix(tmp_path / "splits.mat", SPLITS, PEOPLE)
    assert matlab_splits(tmp_path / "splits.mat", "ls_set", PEOPLE) == read_json(SPLITS)


def test_the_fingerprint_is_of_the_splits_and_their_order(read_json):
    mark = fingerprint(read_json(SPLITS))
    assert fingerprint(read_json([{"test": s["test"][::-1], "train": s["train"]} for s in SPLITS])) == mark
    assert fingerprint(read_json(SPLITS[::-1])) != mark
    assert fingerprint(read_json([{"test": s["train"], "train": s["test"]} for s in SPLITS])) != mark


@pytest.mark.parametrize("count", [1, 9, 11])
def test_other_than_ten_splits_are_refused(read_json, read_matrix, count):
    refused(lambda: read_json((SPLITS * 2)[:count]), "splits.json", f"holds {count} splits instead of 10")
    refused(lambda: read_matrix([[4, 1, 3, 2]] * count), "ls_set", f"[{count}, 4]", "10 rows")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"train": PEOPLE[:3], "test": PEOPLE[2:]}, ["split 4", "person020 in train and in test"]),
        ({"train": PEOPLE, "test": PEOPLE}, ["split 4", "person003 in train and in test (and 3 more)"]),
        ({"train": PEOPLE[:2] + PEOPLE[:1], "test": PEOPLE[2:]}, ["split 4", "person003 twice in train"]),
        ({"train": PEOPLE[:2], "test": PEOPLE[3:] * 3}, ["split 4", "person101 twice in test"]),
        ({"train": PEOPLE[:2]}, ["split 4", '{"train": [...], "test": [...]}']),
        ({"train": PEOPLE[:2], "test": []}, ["split 4", '{"train": [...], "test": [...]}']),
        ({"train": PEOPLE[:2], "test": [3, 4]}, ["split 4", '{"train": [...], "test": [...]}']),
        ({"train": "person003", "test": PEOPLE[2:]}, ["split 4", '{"train": [...], "test": [...]}']),
        ([PEOPLE[:2], PEOPLE[2:]], ["split 4", '{"train": [...], "test": [...]}']),
    ],
)
def test_a_faulty_split_is_named_by_its_number(read_json, fault, words):
    refused(lambda: read_json(SPLITS[:4] + [fault] + SPLITS[5:]), "splits.json", *words)


@pytest.mark.parametrize("row", [[1, 2, 3, 3], [0, 1, 2, 3], [2, 3, 4, 5]])
def test_a_row_that_does_not_hold_every_place_once_is_refused(read_matrix, row):
    refused(lambda: read_matrix([[4, 1, 3, 2]] * 9 + [row]), "ls_set", "numbers 1 to 4 once")


def test_a_matrix_of_another_number_of_people_is_refused(read_matrix):
    refused(lambda: read_matrix([[4, 1, 3, 2]] * 10, PEOPLE[:3]), "ls_set", "4 people", "3 person folders")
    refused(lambda: read_matrix([[1, 3, 2]] * 10, PEOPLE[:3]), "ls_set", "even number", "[10, 3]")


@pytest.mark.parametrize("content", [b"", b"no MATLAB", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_a_damaged_matlab_file_is_named(tmp_path, content):
    path = tmp_path / "splits.mat"
    path.write_bytes(content)
    refused(lambda: matlab_splits(path, "ls_set", PEOPLE), str(path), "MATLAB")


def test_a_matlab_file_cut_short_is_named(tmp_path):
    path = tmp_path / "splits.mat"
    trees.write_split_matrix(path, SPLITS, PEOPLE)
    path.write_bytes(path.read_bytes()[:-9])
    refused(lambda: matlab_splits(path, "ls_set", PEOPLE), str(path), "cannot be read as a MATLAB file")


def test_a_matlab_file_without_the_splits_is_named_with_what_it_holds(tmp_path):
    savemat(tmp_path / "splits.mat", {"ls": [[1]]})
    refused(lambda: matlab_splits(tmp_path / "splits.mat", "ls_set", PEOPLE), "ls_set", "holds ls")


def test_a_damaged_json_file_is_named(tmp_path):
    trees.write_json(tmp_path / "splits.json", SPLITS)
    path = tmp_path / "splits.json"
    path.write_bytes(path.read_bytes()[:-9])
    refused(lambda: json_splits([tmp_path]), str(path), "cannot be read as JSON", "download it again")
    for content in (b"", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        refused(lambda: json_splits([tmp_path]), str(path), "cannot be read as JSON")


def test_other_json_files_are_passed_over(tmp_path):
    trees.write_json(tmp_path / "a.json", {"train": PEOPLE, "test": PEOPLE})
    trees.write_json(tmp_path / "b.json", [])
    trees.write_json(tmp_path / "c.json", [{"trainval": [1, 2], "query": [3]}])
    assert json_splits([tmp_path, tmp_path / "nowhere"]) == {}
