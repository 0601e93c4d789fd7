"""The building of compressed galleries: stopped anywhere it goes on, and nothing else than what was begun."""

import dataclasses
import json
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from compressed_galleries import ROWS, SIZE, build, clustered, write_files
from reading import refused
from strf_cuda import index
from strf_cuda.cli import run
from strf_cuda.embeddings import write_embeddings
from strf_cuda.retrieval import building, open_gallery, streams
from strf_cuda.retrieval.coding import choose_settings
from strf_cuda.retrieval.compressed import CompressedGallery
from strf_cuda.retrieval.streams import Block, FileStream, VectorStream

TOTAL = sum(ROWS)
VARYING = "index.json"  # holds times


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("embeddings"))


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The gallery built in one go."""
    return contents(build(files[0], tmp_path_factory.mktemp("whole") / "gallery").path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != VARYING}


def test_the_same_gallery_comes_of_the_same_files(files, whole, tmp_path):
    assert contents(build(files[0], tmp_path / "again").path) == whole
    assert sorted(whole) == sorted(
        f"{name}" for name in ("trained.faiss", "lists.bin", "sizes.npy", "persons.npy", "cameras.npy", "frames.npy",
                               "start.npy", "end.npy")
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 700, 1100, TOTAL])
def test_stopped_between_blocks_it_goes_on_and_ends_with_the_same_gallery(files, whole, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(streams, "BLOCK_ROWS", 100)
    monkeypatch.setattr(building, "KEPT_EVERY", 300)
    done = []

    def stop(count):
        done.append(count)
        if sum(done) >= rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(files[0], tmp_path / "gallery", progress=stop)
    assert not (tmp_path / "gallery").exists()
    monkeypatch.setattr(building, "train", None)  # is not done again
    counted = []
    folder = build(files[0], tmp_path / "gallery", progress=counted.append)
    assert counted[0] == max(300 * ((rows - 1) // 300), 0) and sum(counted) == TOTAL
    assert contents(folder.path) == whole and [path.name for path in tmp_path.iterdir()] == ["gallery"]
    assert folder.content["seconds"].keys() == {"training", "rows", "order"}


@pytest.mark.parametrize("step", ["projection", "rows", "order"])
def test_stopped_between_steps_it_goes_on(files, whole, tmp_path, step):
    def stop(begun):
        if begun == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(files[0], tmp_path / "gallery", tell=stop)
    assert contents(build(files[0], tmp_path / "gallery").path) == whole


def test_stopped_before_the_very_last_step_it_goes_on(files, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(building.Path, "rename", lambda self, target: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(files[0], tmp_path / "gallery")
    assert contents(build(files[0], tmp_path / "gallery").path) == whole


@pytest.fixture
def begun(files, tmp_path):
    """Where a gallery was begun and stopped after its training."""

    def stop(step):
        if step == "rows":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(files[0], tmp_path / "gallery", tell=stop)
    return tmp_path / "gallery"


def test_what_was_begun_with_something_else_is_refused(files, begun):
    refused(lambda: build(files[0], begun, codes="sq8"), "begun with other settings", ".gallery-begun")
    refused(lambda: build(files[0][::-1], begun), "begun with other embeddings", ".gallery-begun")


def test_a_folder_that_exists_is_not_overwritten(files, tmp_path):
    (tmp_path / "gallery").mkdir()
    refused(lambda: build(files[0], tmp_path / "gallery"), "exists already")


def test_a_disk_without_room_is_refused_before_anything_is_written(files, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 10))
    refused(lambda: build(files[0], tmp_path / "gallery"), "0.0 GB free", "are needed")


def test_files_that_do_not_go_together_are_refused(files, tmp_path):
    def other(**changes):
        made = dataclasses.replace(clustered(50, seed=3), **changes)
        write_embeddings(tmp_path / "other.safetensors", made)
        return lambda: FileStream([files[0][0], tmp_path / "other.safetensors"])

    refused(other(description={"fingerprint": "1"}), "other.safetensors is of another model")
    refused(other(vectors=np.eye(50, SIZE + 1, dtype=np.float32)), f"have {SIZE + 1} numbers")
    refused(lambda: FileStream([]), "give one embeddings file")
    named = {name: {"fingerprint": "0" * 64, "camera_names": {"1": name}} for name in ("door", "hall")}
    for name, description in named.items():
        made = dataclasses.replace(clustered(50, seed=3), description=description)
        write_embeddings(tmp_path / f"{name}.safetensors", made)
    paths = [tmp_path / f"{name}.safetensors" for name in named]
    refused(lambda: FileStream(paths), "camera 1 is hall in", "but door in")


def test_people_and_cameras_of_several_data_sets_are_different_ones(tmp_path):
    def write(name, dataset, **names):
        description = {"fingerprint": "0", "dataset": dataset, **names}
        write_embeddings(tmp_path / name, dataclasses.replace(clustered(60, seed=1, people=9), description=description))
        return tmp_path / name

    plain = clustered(60, seed=1, people=9)
    named = {"person_names": {"1": "Ann", "8": "Bob"}, "camera_names": {"5": "hall"}}
    first, again, other = write("a", "lobby", **named), write("b", "lobby", **named), write("c", "MARS")
    same = FileStream([first, again])
    assert same.description["person_names"] == named["person_names"] and same.description["dataset"] == "lobby"
    assert all(np.array_equal(one.persons, plain.persons) for one in same.embeddings)
    both = FileStream([first, other, again])
    shifted = both.embeddings[1]
    known, seen = plain.persons > 0, plain.cameras > 0
    assert np.array_equal(shifted.persons[known], plain.persons[known] + 8)
    assert np.array_equal(shifted.persons[~known], plain.persons[~known])
    assert np.array_equal(shifted.cameras, plain.cameras + 5) and seen.all()
    assert np.array_equal(both.embeddings[2].persons, plain.persons)
    assert both.description["dataset"] == "lobby + MARS"
    names = both.description["person_names"]
    assert (names["1"], names["8"], names["9"]) == ("lobby/Ann", "lobby/Bob", "MARS/1")
    assert both.description["camera_names"] == {"5": "lobby/hall", "6": "MARS/1", "7": "MARS/2", "10": "MARS/5"}


def test_a_vector_that_is_no_embedding_is_named(files, tmp_path):
    for value in (np.nan, 3.0):
        made = clustered(1200, seed=4)
        made.vectors[1111, 5] = value
        write_embeddings(tmp_path / "bad.safetensors", made)
        refused(
            lambda: list(FileStream([tmp_path / "bad.safetensors"]).blocks()),
            "row 1111 of",
            "bad.safetensors",
            "extract anew",
        )


class Passing(VectorStream):
    """Rows that are nowhere kept."""

    def __init__(self, announced=TOTAL, given=TOTAL):
        self.size, self.description = SIZE, {"fingerprint": "passing"}
        self.announced, self.given = announced, given

    def __len__(self):
        return self.announced

    def identity(self):
        return {"seed": 1}

    def blocks(self, begin=0):
        made = clustered(self.given, seed=1)
        for first in range(begin, self.given, 200):
            rows = slice(first, first + 200)
            labels = labels_of(made, rows)
            yield Block(made.vectors[rows], labels, made.frames[rows])

    def sample(self, rows, seed):
        yield clustered(self.given, seed=1).vectors[:rows]


def labels_of(made, rows):
    return streams.Labels(made.persons[rows], made.cameras[rows], made.start[rows], made.end[rows])


def test_rows_that_are_kept_nowhere_are_searched_by_their_codes(tmp_path):
    settings = choose_settings(TOTAL, SIZE, lists=16)
    folder = building.build_index(Passing(), tmp_path / "gallery", settings)
    gallery = CompressedGallery(folder)
    (note,) = gallery.notes
    assert "not kept" in note and not gallery.refines
    rows = np.arange(0, TOTAL, 100)
    found = gallery.search(clustered(TOTAL, seed=1).vectors[rows], 5).rows
    assert np.mean(found[:, 0] == rows) > 0.9
    assert gallery.paths_of(0) == []


@pytest.mark.parametrize("given", [TOTAL - 100, TOTAL + 300])
def test_a_stream_with_other_rows_than_announced_is_refused(tmp_path, given):
    settings = choose_settings(TOTAL, SIZE, lists=16)
    refused(lambda: building.build_index(Passing(given=given), tmp_path / "gallery", settings), f"{TOTAL:,} ", "rows")


def test_settings_follow_from_rows_and_length():
    chosen = {rows: choose_settings(rows, 2048) for rows in (20_000, 1_000_000, 10_000_000)}
    assert [one.lists for one in chosen.values()] == [256, 1024, 4096]
    assert [one.probes for one in chosen.values()] == [210, 128, 512]
    assert choose_settings(5_000, 64).probes == choose_settings(5_000, 64).lists
    assert {(one.dimensions, one.bytes) for one in chosen.values()} == {(256, 64)}
    assert choose_settings(20_000, 2048, codes="sq8").bytes == 512
    assert (choose_settings(20_000, 100).dimensions, choose_settings(20_000, 100).bytes) == (100, 25)


def test_settings_that_cannot_be_are_refused():
    refused(lambda: choose_settings(999, 32), "999 embeddings", "exactly")
    refused(lambda: choose_settings(5000, 32, dimensions=33), "dimensions is 33")
    refused(lambda: choose_settings(5000, 32, code_bytes=5), "bytes is 5", "divide")
    refused(lambda: choose_settings(5000, 32, codes="sq8", code_bytes=8), "a byte a dimension")
    refused(lambda: choose_settings(5000, 32, lists=501), "lists is 501")


def command(*words):
    return run(lambda: index.main([str(word) for word in words]))


def test_the_command_builds_measures_and_says_what_was_bought(files, tmp_path, capsys):
    out = tmp_path / os.fsdecode(b"a\xff\n")
    assert command(*files[0], "--out", out, "--lists=16", "--queries=50") == 0
    printed = capsys.readouterr().out
    assert "1,600 embeddings of 32 numbers: 32 dimensions, codes pq of 8 bytes, 16 lists" in printed
    assert "note: exact search of 1,600 embeddings" in printed and "bytes a tracklet" in printed
    assert "50 of the tracklets as queries, their own person by their own camera left out" in printed
    checked = json.loads((out / "index.json").read_text())["checked"]
    refined, codes = checked["exact vectors of the best"], checked["codes alone"]
    assert refined["queries"] == 50 and 0.9 < refined["nearest_10"] <= 1 and 0.3 < codes["nearest_10"] < 1
    assert refined["right_exactly"] == codes["right_exactly"] > 0.5
    assert open_gallery(out).folder.settings.lists == 16


def test_where_nobody_is_known_the_tracklet_itself_is_left_out(tmp_path, capsys):
    made = clustered(1200, seed=5)
    path = tmp_path / "unknown.safetensors"
    write_embeddings(path, dataclasses.replace(made, persons=np.full(1200, -1)))
    assert command(path, "--out", tmp_path / "gallery", "--queries=40", "--codes=sq8", "--lists=8") == 0
    assert "queries, themselves left out" in capsys.readouterr().out
    recall = json.loads((tmp_path / "gallery/index.json").read_text())["checked"]["exact vectors of the best"]
    assert recall["right"] is None and 0.9 < recall["rank_1"] <= 1


def test_the_command_refuses_in_one_sentence(files, tmp_path, capsys):
    def fails(*words):
        assert command(*words) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        return sentence

    assert "both embeddings files and a folder" in fails(files[0][0])
    assert "both embeddings files and a folder" in fails("--out=x")
    assert "queries is -1" in fails(files[0][0], "--out=x", "--queries=-1")
    assert "there is no embeddings file" in fails(tmp_path / "none.safetensors", "--out=x")
    assert "900 embeddings" in fails(files[0][0], "--out=x")
