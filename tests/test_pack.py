"""The packed copy of a data set: the same data set to the bit, whole or resumed, and damage is found and named."""

import hashlib
import json
import os
import pickle
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from strf_cuda import evaluate, pack
from strf_cuda.cli import run
from strf_cuda.data import open_dataset, packed, packing
from strf_cuda.data.frames import read_frame
from strf_cuda.data.loader import evaluation_loader, training_loader
from strf_cuda.data.registry import open_every_split
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.errors import InputError
from trees import ten_splits, write_folder, write_ilids, write_json, write_mars

SIZE = {"height": 32, "width": 16, "frames": 4}
SHARD = 6_000  # bytes, so that the small sets of these tests fill several


def packed_copy(root, out, name, shard_bytes=SHARD):
    plan = packing.make_plan(open_every_split(name, str(root)), root, shard_bytes)
    assert packing.pack(plan, out)
    return out


@pytest.fixture
def mars(tmp_path):
    return write_mars(tmp_path / "mars", size=(16, 32))


@pytest.fixture
def copy(mars, tmp_path):
    return packed_copy(mars, tmp_path / "packed", "mars")


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def assert_same(original, copy, root):
    """The same lists, in which the same tracklets are one object, of the same files under names relative to root."""
    assert vars(copy).keys() == vars(original).keys()
    for name in vars(original).keys() - {"train", "query", "gallery"}:
        assert getattr(copy, name) == getattr(original, name)
    originals, copies = (
        [tracklet for name in ("train", "query", "gallery") for tracklet in getattr(data, name)]
        for data in (original, copy)
    )
    assert [len(copy.train), len(copy.query)] == [len(original.train), len(original.query)]
    places = [{id(tracklet): place for place, tracklet in enumerate(some)} for some in (originals, copies)]
    for ours, theirs in zip(copies, originals, strict=True):
        assert places[1][id(ours)] == places[0][id(theirs)]
        for name in ("person_id", "camera_id", "challenge", "group"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert [os.path.join(root, path) for path in ours.paths] == list(theirs.paths)
        assert [path.read() for path in ours.paths] == [Path(path).read_bytes() for path in theirs.paths]


def test_a_packed_mars_is_the_same_data_set(mars, copy):
    assert len(list(copy.glob("*.tar"))) > 3
    assert_same(open_dataset("mars", str(mars)), open_dataset("packed", str(copy)), mars)


def test_a_packed_folder_keeps_the_names_of_people_and_cameras(tmp_path):
    names = {f"{person}/{camera}/1": 3 for person in ("änna", "ben", "cleo", "dan") for camera in ("door", "hall")}
    root = write_folder(tmp_path / "people", names, size=(8, 16))
    copy = packed_copy(root, tmp_path / "packed", "folder")
    dataset = open_dataset("packed", str(copy))
    assert dataset.person_names[4] == "änna" and dataset.camera_names == {1: "door", 2: "hall"}
    assert_same(open_dataset("folder", str(root)), dataset, root)


def test_a_packed_table_keeps_challenges_groups_and_frames_that_lie_elsewhere_or_in_two_tracklets(tmp_path):
    lines = ["path,person,camera,tracklet,split,challenge,group"]
    frames = [tmp_path / "else where" / f"{'long' * 40}.png", *(tmp_path / "table" / f"{i}.png" for i in range(5))]
    for index, path in enumerate(frames):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 8), (9 * index, 0, 0)).save(path)
    for split, person, camera, chosen in (
        ("train", "a", 1, (1, 2)),
        ("query", "b", 1, (3, 0)),
        ("gallery", "b", 2, (3, 4)),
    ):
        marks = ",occluded,-7" if split == "query" else ",,"
        lines += [f"{frames[index]},{person},{camera},1,{split}{marks}" for index in chosen]
    table = tmp_path / "table" / "list.csv"
    table.write_text("\n".join(lines))
    dataset = open_dataset("packed", str(packed_copy(table, tmp_path / "packed", "table")))
    assert (dataset.query[0].challenge, dataset.query[0].group) == ("occluded", -7)
    assert dataset.query[0].paths[1] == str(frames[0]) and dataset.query[0].paths[0] == dataset.gallery[0].paths[0]
    assert len(dataset.query[0].paths[0].archive.arrays["frame_name"]) == 5
    assert_same(open_dataset("table", str(table)), dataset, table.parent)


def test_every_official_split_is_packed_and_its_frames_once(tmp_path):
    people = [f"person{number:03d}" for number in range(1, 7)]
    root = tmp_path / "ilids"
    write_ilids(root / "i-LIDS-VID" / "sequences", people, [2, 3] * 6, size=(8, 16))
    write_json(root / "splits.json", ten_splits(people))
    copy = packed_copy(root, tmp_path / "packed", "ilids")
    for split in (None, 0, 9):
        assert_same(open_dataset("ilids", str(root), split), open_dataset("packed", str(copy), split), root)
    assert len(open_dataset("packed", str(copy)).train[0].paths.archive.arrays["frame_name"]) == 30
    with pytest.raises(InputError, match=r"^split is 10, but the packed data set .* has the splits 0 to 9$"):
        open_dataset("packed", str(copy), 10)


def test_a_split_of_a_packed_set_that_has_one_is_refused(copy):
    with pytest.raises(InputError, match=r"^split is 0, but the packed data set .* has one split only"):
        open_dataset("packed", str(copy), 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_a_packed_copy_are_those_of_the_original(mars, copy, workers):
    original, dataset = open_dataset("mars", str(mars)), open_dataset("packed", str(copy))
    options = {"people": 2, "clips": 2, "stride": 1, "seed": 0, "epoch": 1, "workers": workers, **SIZE}
    for ours, theirs in zip(
        training_loader(dataset.train, **options), training_loader(original.train, **options), strict=True
    ):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    options = {"batch_frames": 12, "workers": workers, **SIZE}
    for ours, theirs in zip(
        evaluation_loader(dataset.gallery, **options), evaluation_loader(original.gallery, **options), strict=True
    ):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_a_tracklet_sent_to_another_process_is_small_and_reads_the_same(copy):
    tracklet = open_dataset("packed", str(copy)).train[0]
    sent = pickle.dumps(tracklet)
    assert len(sent) < 1_000
    received = pickle.loads(sent)
    assert received == tracklet and hash(received.paths) == hash(tracklet.paths)
    assert received.paths[1:][0].read() == tracklet.paths[1].read()
    assert pickle.loads(pickle.dumps(tracklet.paths[1])).read() == tracklet.paths[1].read()


def test_few_files_are_open_however_many_shards_there_are(mars, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_OPEN_FILES", 2)
    dataset = open_dataset("packed", str(packed_copy(mars, tmp_path / "packed", "mars", shard_bytes=1)))
    before = len(os.listdir("/proc/self/fd"))
    for tracklet in dataset.gallery:
        for path in tracklet.paths:
            path.read()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    del dataset, tracklet, path
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_shard_is_a_plain_tar_file_of_the_original_files(mars, copy, tmp_path):
    for shard in copy.glob("*.tar"):
        with tarfile.open(shard) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    originals = [path for path in mars.rglob("*.jpg") if not path.name.startswith("00-1")]
    assert len(originals) == len(list((tmp_path / "unpacked").rglob("*.jpg")))
    for path in originals:
        assert (tmp_path / "unpacked" / path.relative_to(mars)).read_bytes() == path.read_bytes()


MOMENTS = {
    "the plan is half written": ("numpy.savez", 1),
    "nothing is packed": ("strf_cuda.data.packing._write_shard", 1),
    "a shard is half written": ("tarfile.TarFile.addfile", 8),
    "a shard is not in its place": ("strf_cuda.data.packing.read_shard", 2),
    "the index is half written": ("numpy.savez", 2),
    "the plan is still there": ("pathlib.Path.unlink", None),
}


def killed(plan, out, function, call):
    """Packs in a child process that is killed in the given call of a function, or in the last unlinking of the plan."""
    child = os.fork()
    if child == 0:
        owner, _, name = function.rpartition(".")
        owner = packing.__dict__.get(owner) or __import__("pkgutil").resolve_name(owner)
        original, calls = getattr(owner, name), []

        def die_in_time(*arguments, **options):
            calls.append(1)
            if len(calls) == call or (call is None and arguments[0].name == packed.UNFINISHED):
                if name == "savez":
                    Path(arguments[0]).write_bytes(b"PK")
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, die_in_time)
        packing.pack(plan, out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("moment", MOMENTS)
def test_packing_that_was_killed_goes_on_and_ends_in_the_same_bytes(mars, copy, tmp_path, moment):
    plan = packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD)
    out = tmp_path / "killed"
    assert killed(plan, out, *MOMENTS[moment]) == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    if moment != "the plan is still there":
        with pytest.raises(InputError, match=r"is an unfinished packed copy|has no index.npz"):
            open_dataset("packed", str(out))
    assert packing.pack(plan, out) == (moment != "the plan is still there")
    assert contents(out) == contents(copy)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert packing.verify(out) == []
    assert not packing.pack(plan, out)


def test_a_source_that_changed_while_packing_was_interrupted_is_noticed(mars, tmp_path):
    plan = packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD)
    out = tmp_path / "killed"
    killed(plan, out, *MOMENTS["a shard is not in its place"])
    path = Path(plan.paths[0])
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    changed = packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD)
    with pytest.raises(InputError, match=rf"^frame {path} has changed since the packing into {out} began: "):
        packing.pack(changed, out)


def test_a_source_that_changes_while_it_is_packed_is_noticed(mars, tmp_path):
    plan = packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD)
    path = Path(plan.paths[-1])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match=rf"^frame {path} has changed since the packing began"):
        packing.pack(plan, tmp_path / "packed")


def test_another_data_set_is_not_mixed_into_a_packed_copy(mars, copy):
    path = next((mars / "bbox_train" / "0001").iterdir())
    path.write_bytes(path.read_bytes() + b"more")
    before = contents(copy)
    with pytest.raises(InputError, match=rf"^frame {path} has changed since it was packed into {copy}: give another"):
        packing.pack(packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD), copy)
    path.write_bytes(path.read_bytes()[:-4])
    dataset = open_dataset("mars", str(mars))
    smaller = packing.make_plan(
        [TrackletDataset("MARS", dataset.train[:-1], dataset.query, dataset.gallery)], mars, SHARD
    )
    with pytest.raises(InputError, match=rf"^the data set is not as it was when it was packed into {copy}"):
        packing.pack(smaller, copy)
    assert contents(copy) == before


def test_a_folder_that_holds_something_else_is_refused(mars, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"out holds notes.txt: give a new or empty folder$"):
        packing.pack(packing.make_plan(open_every_split("mars", str(mars)), mars), tmp_path / "out")


def test_too_little_space_is_told_before_it_begins(mars, tmp_path, monkeypatch):
    plan = packing.make_plan(open_every_split("mars", str(mars)), mars, SHARD)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: type("", (), {"free": 40_000}))
    with pytest.raises(InputError, match=r"^the packed copy needs 0\.\d MB more, but the disk of .* has 0.0 MB left$"):
        packing.pack(plan, tmp_path / "packed")
    assert not list((tmp_path / "packed").glob("shard*"))


def test_the_space_asked_for_is_what_is_used(mars, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(packing, "_check_space", lambda out, needed: asked.append(needed))
    copy = packed_copy(mars, tmp_path / "packed", "mars")
    used = sum(path.stat().st_size for path in copy.iterdir())
    assert abs(asked[0] - used) < 8_000  # the index has heads of arrays


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_a_shard_is_found_on_reading_and_names_shard_and_frame(copy):
    frame = open_dataset("packed", str(copy)).train[1].paths[0]
    arrays = frame.archive.arrays
    shard = copy / packing.shard_name(arrays["frame_shard"][frame.number])
    flip(shard, arrays["frame_offset"][frame.number] + arrays["frame_length"][frame.number] - 1)
    with pytest.raises(InputError, match=rf"^frame {frame} in {shard} is damaged \(its checksum differs"):
        read_frame(open_dataset("packed", str(copy)).train[1].paths[0], 32, 16)
    frames = (arrays["frame_shard"] == arrays["frame_shard"][frame.number]).sum()
    assert packing.verify(copy) == [f"{shard} is damaged: frame {frame} of its {frames} frames"]


def test_damage_between_frames_is_found_by_verifying(copy):
    flip(copy / "shard-00001.tar", 100)
    assert packing.verify(copy) == [
        f"{copy}/shard-00001.tar differs from what was packed between its frames, which are all as they were"
    ]


def test_a_flipped_bit_in_the_index_never_gives_another_data_set(mars, copy):
    data = (copy / "index.npz").read_bytes()
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(data), 80).tolist():
        (copy / "index.npz").write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            dataset = open_dataset("packed", str(copy))
        except InputError as fault:
            assert "index.npz" in str(fault) and "\n" not in str(fault)
            refused += 1
        else:
            assert_same(open_dataset("mars", str(mars)), dataset, mars)
    assert refused > 40


def test_missing_and_cut_shards_are_told_when_the_copy_is_opened(copy):
    shard = copy / "shard-00001.tar"
    os.truncate(shard, 1024)
    with pytest.raises(InputError, match=r"shard-00001.tar has 1,024 bytes instead of [\d,]+: copy it again"):
        open_dataset("packed", str(copy))
    shard.unlink()
    with pytest.raises(InputError, match=r"shard-00001.tar does not exist: copy it again"):
        open_dataset("packed", str(copy))
    assert packing.verify(copy) == [f"{shard} cannot be read: No such file or directory"]


def test_frames_that_cannot_be_decoded_are_packed_and_named_when_read(tmp_path):
    mars = write_mars(tmp_path / "mars", size=(16, 32))
    empty, cut = sorted((mars / "bbox_train" / "0001").iterdir())[:2]
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-2])
    paths = open_dataset("packed", str(packed_copy(mars, tmp_path / "packed", "mars"))).train[0].paths
    with pytest.raises(InputError, match=rf"^frame bbox_train/0001/{empty.name} is empty \(0 bytes\)"):
        read_frame(paths[0], 32, 16)
    with pytest.raises(InputError, match=rf"^frame bbox_train/0001/{cut.name} is damaged \(Premature end"):
        read_frame(paths[1], 32, 16)


def test_training_and_evaluation_give_the_same_bits(tiny_walkers, tiny_run, tmp_path):
    from running import command

    copy = packed_copy(tiny_walkers, tmp_path / "packed", "walkers", 200_000)
    found = []
    for name, root in (("mars", tiny_walkers), ("packed", copy)):
        out = tmp_path / name
        options = [f"--data.name={name}", f"--data.root={root}", f"--out={out}", "--epochs=1"]
        assert command(*tiny_run, *options) == 0
        assert run(lambda out=out: evaluate.main([f"--checkpoint={out}/last.ckpt", "--queries=2"])) == 0
        weights = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
        metrics = json.loads((out / "metrics.json").read_text())
        rankings = json.loads((out / "evaluation" / "rankings.json").read_text())
        found.append((weights, metrics, rankings, (out / "evaluation" / "rankings.png").read_bytes()))
    (weights, metrics, rankings, picture), (ours, our_metrics, our_rankings, our_picture) = found
    assert weights.keys() == ours.keys() and all(torch.equal(weights[name], ours[name]) for name in weights)
    assert metrics | {"seconds": 0} == our_metrics | {"seconds": 0} and picture == our_picture
    for row, our_row in zip(rankings, our_rankings, strict=True):
        row["query"]["first_frame"] = os.path.relpath(row["query"]["first_frame"], tiny_walkers)
        for result in row["ranking"]:
            result["first_frame"] = os.path.relpath(result["first_frame"], tiny_walkers)
        assert row == our_row


def test_a_run_continues_on_the_packed_copy_as_on_the_original(tiny_walkers, tiny_run, tmp_path):
    from running import command, same_weights

    copy = packed_copy(tiny_walkers, tmp_path / "packed", "walkers", 200_000)
    on_original = [*tiny_run, "--data.name=mars", f"--data.root={tiny_walkers}"]
    assert command(*on_original, f"--out={tmp_path}/whole", "--epochs=2") == 0
    assert command(*on_original, f"--out={tmp_path}/parts", "--epochs=1") == 0
    elsewhere = ["--data.name=packed", f"--data.root={copy}"]
    assert command("--resume", f"--out={tmp_path}/parts", "--epochs=2", *elsewhere) == 0
    whole = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)["state_dict"]
    assert same_weights(tmp_path / "parts", whole)


def test_the_command_packs_says_what_it_does_and_verifies(mars, tmp_path, capsys):
    out = tmp_path / "packed"
    for line in (
        f"MARS in {mars}, read as mars: 33 frames, 0.0 MB, shards: 1\nread it with",
        f"{out} is complete already",
    ):
        assert run(lambda: pack.main([str(mars), str(out)])) == 0
        assert line in capsys.readouterr().out
    assert run(lambda: pack.main(["--verify", str(out)])) == 0
    assert "is sound: 33 frames, 0.1 MB, shards: 1\n" in capsys.readouterr().out
    flip(out / "shard-00000.tar", 600)
    assert run(lambda: pack.main(["--verify", str(out)])) == 2
    assert capsys.readouterr().err.startswith(f"error: {out}/shard-00000.tar is damaged: frame bbox_train/0001/")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["here"], "both a data set and a folder for its copy are needed: python -m strf_cuda.pack ROOT OUT"),
        (["here", "there", "everywhere"], "'everywhere' belongs to no option: give one root and one out"),
        (["here", "there", "--nme=mars"], "unknown option --nme; did you mean name?"),
        (["nowhere", "there"], "nowhere does not exist: give a data set's folder or table"),
        (["packed", "there"], "packed is a packed copy already: give the data set that it was made from"),
        (["here", "--verify", "there"], "--verify takes a packed copy, and neither root, out nor name"),
        (["nowhere", "there", "--name", "mars"], "the MARS folder nowhere does not exist"),
        (["--verify", "nowhere"], "the packed folder nowhere does not exist"),
    ],
)
def test_the_command_refuses_in_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("packed").mkdir()
    Path("packed", packed.INDEX).touch()
    assert run(lambda: pack.main(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and sentence in line


def test_the_index_is_read_without_pickle_and_names_the_shards_bytes(copy):
    with np.load(copy / "index.npz", allow_pickle=False) as index:
        description = json.loads(index["description"].tobytes())
        assert all(index[name].dtype.kind in "iubS" for name in index.files)
    for shard in description["shards"]:
        assert hashlib.sha256((copy / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
