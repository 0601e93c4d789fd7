"""The cached index: after any change of a data set, or of the cache, it opens as if there were no cache."""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import trees
from strf_cuda.data import cache, open_dataset, registry, witnesses
from strf_cuda.data.folder import TrackletFolder
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
READERS = {**registry._READERS, **registry._SPLIT_READERS}
SETS = trees.SMALL


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch):
    """The folder of the cached indexes, a new one; trees that are written here count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(witnesses, "SETTLED_NANOSECONDS", -(10**12))
    return tmp_path / "cache" / "strf_cuda" / "index"


@pytest.fixture
def reads(monkeypatch):
    """A list that grows with every data set that is really read."""
    reads = []
    for readers in (registry._READERS, registry._SPLIT_READERS):
        for name, reader in readers.items():

            @functools.wraps(reader)
            def counted(root, reader=reader, **options):
                reads.append(reader.__name__)
                return reader(root, **options)

            monkeypatch.setitem(readers, name, counted)
    return reads


def opened(open_it):
    """All that the data set says, or the sentence with which it is refused."""
    try:
        dataset = open_it()
    except InputError as error:
        return str(error)
    said = {field.name: getattr(dataset, field.name) for field in fields(TrackletDataset)}
    extra = vars(dataset).keys() - said.keys()
    assert not extra, f"{extra} would be lost in the cache"
    paths = [list(tracklet.paths) for name in cache.LISTS for tracklet in said[name]]
    shared = [[query is tracklet for tracklet in dataset.gallery] for query in dataset.query]
    return said, paths, shared


def same_as_read(name, root):
    """The data set is what its reader reads, when opened once and once again."""
    read = opened(lambda: READERS[name](root))
    assert opened(lambda: open_dataset(name, str(root))) == read
    assert opened(lambda: open_dataset(name, str(root))) == read
    return read


@pytest.mark.parametrize("kind", SETS)
def test_a_data_set_is_read_once_and_is_the_same_from_the_cache(kind, tmp_path, reads):
    name, write = SETS[kind]
    read = same_as_read(name, write(tmp_path))
    assert len(reads) == 1
    assert not isinstance(read, str) and read[0]["train"]


@pytest.mark.parametrize("kind", ["ilids", "prid"])
def test_every_split_is_kept_by_itself(kind, tmp_path, reads):
    name, write = SETS[kind]
    root = write(tmp_path)
    read = [opened(lambda number=number: READERS[name](root, number)) for number in range(10)]
    for _ in range(2):
        assert [opened(lambda number=number: open_dataset(name, str(root), number)) for number in range(10)] == read
    assert len(reads) == 10
    assert opened(lambda: open_dataset(name, str(root))) == read[0] != read[1]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def swap(path, make):
    """Puts another file of the same length and time in the place of `path`, as unpacking an archive may do."""
    before = path.stat()
    other = path.with_name("other")
    shutil.copyfile(path, other)
    make(other)
    assert other.stat().st_size == before.st_size
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


SPLIT_FILE = "train-test people splits/train_test_splits_ilidsvid.mat"
ILIDS = [f"person{number:03d}" for number in (1, 2, 4, 7)]


def sequences(root):
    return root / "i-LIDS-VID" / "sequences"


CHANGES = {
    "mars": {
        "a frame is removed": lambda root: (root / "bbox_test/0002/0002C1T0001F002.jpg").unlink(),
        "a frame gets another name": lambda root: (root / "bbox_test/0002/0002C1T0001F002.jpg").rename(
            root / "bbox_test/0002/0002C1T0001F009.jpg"
        ),
        "a frame is added that no list names": lambda root: (root / "bbox_test/0002/0002C1T0001F009.jpg").touch(),
        "a person's folder is removed": lambda root: shutil.rmtree(root / "bbox_train/0003"),
        "a person's folder gets another name": lambda root: (root / "bbox_train/0003").rename(root / "bbox_train/3"),
        "all of the frames are removed": lambda root: shutil.rmtree(root / "bbox_test"),
        "other queries": lambda root: trees.write_queries(root, [5]),
        "a query that is junk": lambda root: trees.write_queries(root, [1]),
        "other rows": lambda root: trees.write_rows(root, "train", [(1, 5, 1, 1), (6, 8, 1, 2)]),
        "a wrong row": lambda root: trees.write_rows(root, "train", [(1, 5, 2, 1)]),
        "a list of frames is removed": lambda root: (root / "info/test_name.txt").unlink(),
        "a list of frames is cut": lambda root: edit(root / "info/test_name.txt", "0004C6T0002F001.jpg\n", ""),
        "a list in another order": lambda root: swap(
            root / "info/train_name.txt",
            lambda other: edit(
                other,
                "0001C1T0001F001.jpg\n0001C1T0001F002.jpg\n",
                "0001C1T0001F002.jpg\n0001C1T0001F001.jpg\n",
            ),
        ),
        "a challenge is edited": lambda root: edit(root / "info/challenges.csv", "occluded", "misaligned"),
        "challenges are removed": lambda root: (root / "info/challenges.csv").unlink(),
        "challenges are damaged": lambda root: (root / "info/challenges.csv").write_text("nothing"),
        "it is marked as walkers": lambda root: (root / "info/walkers.json").write_text("{}"),
        "it is gone": lambda root: shutil.rmtree(root),
        "it is a file": lambda root: (shutil.rmtree(root), root.touch()),
    },
    "duke": {
        "a frame is removed": lambda root: (root / "train/0001/0001/0001_C1_F0002_X30024.jpg").unlink(),
        "a frame of another camera": lambda root: trees.write_frames(
            root / "query/0002/0001", trees.duke_names(2, 4, [9])
        ),
        "a person is added": lambda root: trees.write_duke(root, {"gallery/0009/0001": (1, 1)}),
        "a list is removed": lambda root: shutil.rmtree(root / "query"),
    },
    "ilids": {
        "a frame is removed": lambda root: (sequences(root) / "cam1/person001/cam1_person001_00001.png").unlink(),
        "a frame too many": lambda root: (sequences(root) / "cam1/person001/cam1_person001_00002.png").touch(),
        "a person too many": lambda root: trees.write_ilids(sequences(root), ["person009"], [1, 1]),
        "a person with another number": lambda root: [
            shutil.rmtree(sequences(root) / camera / "person007") for camera in ("cam1", "cam2")
        ],
        "other splits": lambda root: trees.write_split_matrix(root / SPLIT_FILE, trees.ten_splits(ILIDS[::-1]), ILIDS),
        "splits that are none": lambda root: (root / SPLIT_FILE).write_bytes(b"MATLAB"),
        "other splits beside the first": lambda root: trees.write_json(
            root / "other.json", trees.ten_splits(ILIDS[::-1])
        ),
        "equal splits beside the first": lambda root: trees.write_json(root / "equal.json", trees.ten_splits(ILIDS)),
        "no splits": lambda root: (root / SPLIT_FILE).unlink(),
        "it lies a folder deeper": lambda root: (
            sequences(root).rename(root / "kept"),
            (root / "i-LIDS-VID").rename(root / "none"),
            (root / "kept").rename(root / "sequences"),
        ),
    },
    "prid": {
        "a frame is removed": lambda root: (root / "multi_shot/cam_a/person_0001/0001.png").unlink(),
        "a person is removed": lambda root: shutil.rmtree(root / "multi_shot/cam_b/person_0004"),
        "splits are edited": lambda root: trees.write_json(
            root / "splits.json", trees.ten_splits([f"person_{number:04d}" for number in (7, 4, 2, 1)])
        ),
        "splits are removed": lambda root: (root / "splits.json").unlink(),
    },
    "folder": {
        "a frame is removed": lambda root: (root / "a/x/1/1.jpg").unlink(),
        "a frame is added": lambda root: (root / "a/x/1/3.jpg").touch(),
        "a frame gets another name": lambda root: (root / "a/x/1/1.jpg").rename(root / "a/x/1/8.jpg"),
        "a tracklet is emptied": lambda root: [path.unlink() for path in (root / "a/x/1").iterdir()],
        "a tracklet is added": lambda root: trees.write_folder(root, {"a/x/10": 3}),
        "a tracklet is removed": lambda root: shutil.rmtree(root / "a/x/1"),
        "a camera gets another name": lambda root: (root / "a/x").rename(root / "a/door"),
        "a person is added": lambda root: trees.write_folder(root, {"new/x/1": 3}),
        "two people change names": lambda root: [
            (root / old).rename(root / new) for old, new in (("a", "c2"), ("b", "a"), ("c2", "b"))
        ],
        "a frame lies too high": lambda root: (root / "a/1.jpg").touch(),
        "a link begins to lead to a folder": lambda root: trees.write_folder(root.parent / "later", {"z/1": 2}),
        "lists made by hand": lambda root: [
            trees.write_folder(root, {f"{split}/a/x/1": 1}) for split in ("train", "query", "gallery")
        ],
        "one of the lists": lambda root: trees.write_folder(root, {"train/a/x/1": 1}),
        "it is gone": lambda root: shutil.rmtree(root),
    },
    "table": {
        "a line is edited": lambda path: edit(path, "1/5.jpg,q", "1/6.jpg,q"),
        "a line is edited to the same length": lambda path: edit(path, ",q,c,1,query", ",q,e,1,query"),
        "another table of the same size and time": lambda path: swap(
            path, lambda other: edit(other, ",q,c,1,query", ",q,e,1,query")
        ),
        "a line is wrong": lambda path: edit(path, "query", "quer"),
        "a frame is removed": lambda path: (path.parent / "frames/1/3.jpg").unlink(),
        "a frame elsewhere is removed": lambda path: (path.parent / "elsewhere/1/1.jpg").unlink(),
        "frames lie in another folder": lambda path: (path.parent / "frames/1").rename(path.parent / "frames/2"),
        "it is gone": lambda path: path.unlink(),
        "it is a folder": lambda path: (path.unlink(), path.mkdir()),
    },
}

# Changes that are noticed, and make no difference to what is read.
UNSEEN = ("a frame is added that no list names", "two people change names")


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in CHANGES for change in CHANGES[name]])
def test_after_a_change_the_data_set_is_read_anew(name, change, tmp_path, reads):
    root = SETS[name][1](tmp_path)
    if change.startswith("a link"):
        (root / "a/link").symlink_to("../../later/z")
    before = same_as_read(name, root)
    assert len(reads) == 1
    time.sleep(0.02)  # until the file system's clock has moved on
    CHANGES[name][change](root)
    after = same_as_read(name, root)
    assert len(reads) >= 2
    assert (after != before) == (change not in UNSEEN)


def test_what_was_changed_back_opens_again(tmp_path):
    root = trees.small_mars(tmp_path)
    before = same_as_read("mars", root)
    (root / "bbox_test/0002/0002C1T0001F002.jpg").rename(root / "kept")
    assert "does not exist" in same_as_read("mars", root)
    (root / "kept").rename(root / "bbox_test/0002/0002C1T0001F002.jpg")
    assert same_as_read("mars", root) == before


@pytest.mark.parametrize("kind", SETS)
def test_a_root_that_was_moved_is_read_anew_and_its_frames_are_where_it_lies(kind, tmp_path):
    name, write = SETS[kind]
    (tmp_path / "here").mkdir()
    root = write(tmp_path / "here")
    same_as_read(name, root)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = tmp_path / "there" / root.name
    assert "does not exist" in same_as_read(name, root) or name == "table"
    _, paths, _ = same_as_read(name, moved) if name != "table" else (None, [], None)
    assert all(path.startswith(str(moved)) for frames in paths for path in frames)


def test_every_spelling_of_a_root_gives_paths_of_that_spelling(tmp_path, monkeypatch):
    root = trees.small_mars(tmp_path)
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelling in (".", "../MARS", "../link", "../link/", str(root), "~/MARS", "bbox_test/.."):
        same_as_read("mars", spelling)


def test_a_link_that_leads_to_another_data_set_is_read_anew(tmp_path, reads):
    one, two = trees.small_folder(tmp_path), trees.small_divided(tmp_path)
    link = tmp_path / "link"
    for target in (one, two, one):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        said, _, _ = same_as_read("folder", link)
        assert said["name"] == target.name
    assert len(reads) == 2


def test_a_table_and_a_link_to_it_have_their_own_names(tmp_path):
    table = trees.small_table(tmp_path)
    (tmp_path / "alias.csv").symlink_to(table)
    assert [same_as_read("table", tmp_path / name)[0]["name"] for name in ("list.csv", "alias.csv")] == [
        "list",
        "alias",
    ]


@pytest.mark.parametrize("kind", ["ilids", "duke"])
def test_a_data_set_that_appears_where_it_is_looked_for_first_is_noticed(kind, tmp_path):
    name, write = SETS[kind]
    root = write(tmp_path)
    if kind == "ilids":
        (root / "i-LIDS-VID").rename(root / "iLIDS-VID")
    else:
        root.rename(tmp_path / "kept")
        root.mkdir()
        (tmp_path / "kept").rename(root / "DukeMTMC-VideoReID")
    before = same_as_read(name, root)
    time.sleep(0.02)
    if kind == "ilids":
        trees.write_ilids(sequences(root), ILIDS, [4, 5] * 4)
    else:
        trees.write_duke(root, {f"{split}/0005/0001": (1, 1) for split in cache.LISTS})
    assert same_as_read(name, root) != before


def test_readers_of_one_folder_are_kept_apart(tmp_path):
    root = trees.small_mars(tmp_path)
    same_as_read("mars", root)
    assert "frames must lie in" in same_as_read("folder", root)
    same_as_read("mars", root)


@pytest.mark.parametrize("kind", ["mars", "folder"])
def test_a_damaged_cache_is_made_anew_without_a_word(kind, tmp_path, index, recwarn):
    name, write = SETS[kind]
    root = write(tmp_path)
    read = same_as_read(name, root)
    (path,) = index.iterdir()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
    for position in rng.integers(0, len(whole), 40).tolist():
        damaged.append(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert opened(lambda: open_dataset(name, str(root))) == read
    path.unlink()
    path.mkdir()
    assert opened(lambda: open_dataset(name, str(root))) == read
    assert [str(warning.message) for warning in recwarn.list] == []


def test_a_cache_with_objects_of_python_is_not_unpickled(tmp_path, index):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    root = trees.small_folder(tmp_path)
    same_as_read("folder", root)
    (path,) = index.iterdir()
    np.savez(path, header=np.array([Bomb()], dtype=object), allow_pickle=True)
    same_as_read("folder", root)
    assert not (tmp_path / "exploded").exists()


def test_without_a_place_for_the_cache_everything_works(tmp_path, index, monkeypatch, reads):
    root = trees.small_folder(tmp_path)
    (tmp_path / "cache").touch()
    same_as_read("folder", root)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    same_as_read("folder", root)
    assert len(reads) == 4


def test_a_data_set_that_is_refused_is_not_kept(tmp_path, index):
    root = trees.small_mars(tmp_path)
    trees.write_queries(root, [1])
    same_as_read("mars", root)
    assert not index.exists()


def test_what_has_just_changed_is_not_kept(tmp_path, index, monkeypatch):
    monkeypatch.setattr(witnesses, "SETTLED_NANOSECONDS", 2_000_000_000)
    root = trees.small_folder(tmp_path)
    long_ago = time.time() - 1_000
    for path in [root, *root.rglob("*")]:
        os.utime(path, (long_ago, long_ago))  # their own time; that of the change of it is now
    same_as_read("folder", root)
    assert not index.exists()
    monkeypatch.setattr(witnesses, "SETTLED_NANOSECONDS", 0)
    time.sleep(0.02)
    same_as_read("folder", root)
    assert index.exists()


def test_a_change_during_the_reading_shows_later(tmp_path, monkeypatch):
    root = trees.small_folder(tmp_path)

    def slow(root):
        dataset = TrackletFolder(root)
        (Path(root) / "a/x/1/9.jpg").touch()
        return dataset

    slow.__name__ = "TrackletFolder"
    monkeypatch.setitem(registry._READERS, "folder", slow)
    time.sleep(0.02)
    before = opened(lambda: open_dataset("folder", str(root)))
    monkeypatch.setitem(registry._READERS, "folder", TrackletFolder)
    assert same_as_read("folder", root) != before


def test_the_state_before_the_first_look_is_what_counts(tmp_path):
    path = tmp_path / "file"
    path.write_text("as it was first read")
    with witnesses.gather() as gathered:
        witnesses.witness(path)
        path.write_text("as it was read again")
        os.truncate(path, 3)
        witnesses.witness(path)
    assert gathered.states[str(path)][0] == len("as it was first read")


def test_another_version_of_the_software_reads_anew(tmp_path, monkeypatch, reads):
    root = trees.small_folder(tmp_path)
    same_as_read("folder", root)
    monkeypatch.setattr(cache, "_code", lambda: "of another version")
    same_as_read("folder", root)
    assert len(reads) == 2


def test_two_processes_that_write_at_once_leave_a_whole_file(tmp_path, index, monkeypatch, reads):
    root, savez = trees.small_folder(tmp_path), np.savez

    def meanwhile(*arguments, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        open_dataset("folder", str(root))
        savez(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", meanwhile)
    open_dataset("folder", str(root))
    assert len(reads) == 2 and len(list(index.iterdir())) == 1
    same_as_read("folder", root)
    assert len(reads) == 2


AUDITED = """
import json, os, sys
from strf_cuda.data import registry, witnesses
import scipy.io
base, looked = os.fsencode(sys.argv[1]), set()
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsencode(arguments[0]))
        if path.startswith(base + b"/"):
            looked.add(os.fsdecode(path))
sys.addaudithook(hook)
for name, root in json.loads(sys.argv[2]):
    looked.clear()
    with witnesses.gather() as gathered:
        {**registry._READERS, **registry._SPLIT_READERS}[name](root)
    assert looked, name
    print(json.dumps([name, sorted(looked - {os.path.abspath(path) for path in gathered.states})]))
"""


def test_readers_report_all_that_they_read(tmp_path):
    roots = [(name, str(write(tmp_path))) for name, write in SETS.values()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", AUDITED, str(tmp_path), json.dumps(roots)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[name, []] for name, _ in roots]
