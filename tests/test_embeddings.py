"""The file of embeddings: what is written is read again, and what is no such file is refused in words."""

import dataclasses
import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from galleries import make_embeddings
from reading import refused
from strf_cuda.embeddings import encode_paths, join_embeddings, read_embeddings, write_embeddings

NAMES = ("vectors", "persons", "cameras", "frames", "start", "end", "lists", "paths", "path_ends")


@pytest.fixture
def path(tmp_path):
    write_embeddings(tmp_path / "all.safetensors", make_embeddings(11))
    return tmp_path / "all.safetensors"


def test_what_is_written_is_read_again_and_by_safetensors_too(path):
    written, read, plain = make_embeddings(11), read_embeddings(path), load_file(path)
    for name in NAMES:
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
        assert np.array_equal(plain[name], getattr(written, name)), name
    assert read.fingerprint == written.fingerprint and len(read) == 11
    assert read.paths_of(0) == ["0/0.jpg"] and read.paths_of(5) == ["5/0.jpg", "5/1.jpg", "5/2.jpg"]


def test_parts_are_joined_in_their_order(tmp_path, path):
    parts = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for part, rows in zip(parts, (3, 0, 4), strict=True):
        write_embeddings(part, make_embeddings(rows, seed=rows))
    join_embeddings(path, parts, {"fingerprint": "1"})
    joined, first, last = read_embeddings(path), make_embeddings(3, seed=3), make_embeddings(4, seed=4)
    for name in NAMES[:-1]:
        expected = np.concatenate([getattr(first, name), getattr(last, name)])
        assert np.array_equal(getattr(joined, name), expected), name
    assert [joined.paths_of(row) for row in range(3, 7)] == [last.paths_of(row) for row in range(4)]
    assert joined.fingerprint == "1"


def test_names_of_files_may_be_any_bytes(tmp_path):
    names = [["a\n b.jpg", "ü.jpg"], [os.fsdecode(b"\xff.jpg")]]
    paths, ends = encode_paths(names)
    embeddings = dataclasses.replace(make_embeddings(2), paths=paths, path_ends=ends)
    write_embeddings(tmp_path / "x.safetensors", embeddings)
    read = read_embeddings(tmp_path / "x.safetensors")
    assert [read.paths_of(0), read.paths_of(1)] == names


def test_other_files_are_refused_in_words(tmp_path, path):
    read = lambda: read_embeddings(path)  # noqa: E731
    os.truncate(path, path.stat().st_size - 5)
    refused(read, f"{path} is no embeddings file, or damaged")
    path.write_bytes(b"")
    refused(read, f"{path} is no embeddings file, or damaged")
    save_file({"vectors": np.zeros((2, 3), np.float32)}, path)
    refused(read, f"{path} is no embeddings file of strf_cuda.extract")
    path.unlink()
    refused(read, f"there is no embeddings file {path}")
    refused(lambda: read_embeddings(tmp_path), f"{tmp_path} is no embeddings file, or damaged")


def test_arrays_that_do_not_fit_together_are_refused(path):
    arrays = load_file(path)
    key = {"strf_cuda": json.dumps({"format": 1, "fingerprint": "0"})}
    for name, value, words in (
        ("persons", arrays["persons"][:-1], "its arrays do not fit together"),
        ("paths", arrays["paths"][:-1], "its arrays do not fit together"),
        ("vectors", arrays["vectors"].astype(np.float64), "its vectors are F64, not F32"),
    ):
        save_file({**arrays, name: value}, path, key)
        refused(lambda: read_embeddings(path), f"{path} is damaged", words)
    save_file(arrays, path, {"strf_cuda": json.dumps({"format": 2})})
    refused(lambda: read_embeddings(path), "has format 2, but this version reads format 1")
