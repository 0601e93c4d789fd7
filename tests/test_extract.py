"""`python -m strf_cuda.extract`: every tracklet once, with its labels, in one file, however often it is stopped."""

import json
import math
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import videos
from joint import carry_out
from reading import one_sentence
from strf_cuda import evaluate, extract
from strf_cuda.cli import run
from strf_cuda.data import MARS
from strf_cuda.data.packed import PackedDataset
from strf_cuda.data.packing import make_plan, pack
from strf_cuda.data.tracklets import JUNK_PERSON
from strf_cuda.embedding import embed_tracklets
from strf_cuda.embeddings import LIST_BITS, read_embeddings
from strf_cuda.extraction.parts import cut_into_parts
from strf_cuda.extraction.sources import dataset_source, folder_source
from strf_cuda.retrieval import ExactGallery, Selection
from strf_cuda.trained import open_model
from strf_cuda.video.sidecar import write_videos

PART_FRAMES = 50  # of the parts in processes of their own


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: extract.main([str(word) for word in argv]))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "all.safetensors"


@pytest.fixture
def options(tiny_checkpoint, out):
    return [f"--checkpoint={tiny_checkpoint}", f"--out={out}", "--device=cpu"]


@pytest.fixture
def fails(options, capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""

    def fails(*argv):
        assert command(*options, *argv) == 2
        return one_sentence(capsys.readouterr().err)

    return fails


def test_every_tracklet_of_a_data_set_is_there_once_with_its_labels(
    options, out, tiny_checkpoint, tiny_walkers, capsys
):
    assert command(*options) == 0
    found, data, trained = read_embeddings(out), MARS(tiny_walkers), open_model(tiny_checkpoint)
    assert len(found) == len(data.train) + len(data.gallery)  # which holds the queries
    assert f"walkers: {len(found)} tracklets" in capsys.readouterr().out
    tracklets = {tracklet.paths[0]: tracklet for tracklet in [*data.train, *data.gallery]}
    queries = {tracklet.paths[0] for tracklet in data.query}
    in_order = [tracklets[found.paths_of(row)[0]] for row in range(len(found))]
    assert len({tracklet.paths[0] for tracklet in in_order}) == len(found)
    for row, tracklet in enumerate(in_order):
        assert found.paths_of(row) == list(tracklet.paths)
        assert (found.persons[row], found.cameras[row], found.frames[row]) == (
            tracklet.person_id,
            tracklet.camera_id,
            len(tracklet),
        )
        lists = LIST_BITS["train"] if tracklet in data.train else LIST_BITS["gallery"]
        assert found.lists[row] == lists + (LIST_BITS["query"] if tracklet.paths[0] in queries else 0)
    assert np.isnan(found.start).all() and np.isnan(found.end).all()
    config = trained.config
    expected = embed_tracklets(trained.model, in_order, config.data, config.evaluation, progress=False)
    torch.testing.assert_close(torch.tensor(found.vectors), expected, atol=1e-6, rtol=0)
    assert found.fingerprint == trained.fingerprint
    assert found.description["clips"] == {"height": 32, "width": 16, "frames": 4, "stride": 2, "flip": False}
    assert (found.description["dataset"], found.description["precision"]) == ("walkers", "float32")
    assert found.description["data"]["root"] == str(tiny_walkers)
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("lists", ["train", "query", "gallery", "test"])
def test_lists_can_be_chosen(tiny_walkers, lists):
    data = MARS(tiny_walkers)
    chosen = {"test": data.gallery}.get(lists) or getattr(data, lists)
    source = dataset_source(data, lists, tiny_walkers)
    assert {tracklet.paths[0] for tracklet in source.tracklets} == {tracklet.paths[0] for tracklet in chosen}
    assert len(source) == len(chosen)


def test_exact_search_ranks_as_evaluation_does(options, out, tmp_path, tiny_checkpoint):
    assert command(*options, "--lists=test") == 0
    assert run(lambda: evaluate.main([f"--checkpoint={tiny_checkpoint}", f"--out={tmp_path}/e", "--device=cpu"])) == 0
    found = read_embeddings(out)
    firsts = [found.paths_of(row)[0] for row in range(len(found))]
    gallery = ExactGallery(found)
    for row in json.loads((tmp_path / "e" / "rankings.json").read_text()):
        query = firsts.index(row["query"]["first_frame"])
        junk = found.persons[[query]], found.cameras[[query]]
        matches = gallery.search(found.vectors[[query]], len(row["ranking"]), junk=junk)
        distances = [answer["distance"] for answer in row["ranking"]]
        assert matches.distances[0].tolist() == pytest.approx(distances, abs=1e-6)
        # Answers whose distances differ by rounding alone may change places.
        places = {firsts[match]: place for place, match in enumerate(matches.rows[0].tolist())}
        for place, answer in enumerate(row["ranking"]):
            other = places[answer["first_frame"]]
            assert other == place or abs(distances[other] - distances[place]) < 1e-6


# ---- Stopped, continued, shared --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tiny_checkpoint, tmp_path_factory):
    """Files, exit codes and words of extractions: whole, killed and continued, and of two processes."""
    out = tmp_path_factory.mktemp("extractions")

    def job(processes, name, **more):
        argv = [f"--checkpoint={tiny_checkpoint}", f"--out={out}/{name}.safetensors", "--device=cpu", "--lists=test"]
        return processes, "extraction_command", {"argv": argv, "part_frames": PART_FRAMES, **more}

    codes, logs = carry_out(
        out, job(1, "whole"), job(1, "killed", kill_at=2), job(1, "killed"), job(2, "two", kill_at=3), job(2, "two")
    )
    return out, codes, logs


def test_a_killed_extraction_goes_on_to_the_same_file_to_the_bit(runs):
    out, codes, logs = runs
    assert codes[:3] == [[0], [-9], [0]], logs
    parts = math.ceil(len(read_embeddings(out / "whole.safetensors")) / (PART_FRAMES // 10))
    assert f"2 of {parts} parts were there from before" in logs[2][0]
    assert (out / "killed.safetensors").read_bytes() == (out / "whole.safetensors").read_bytes()


def test_two_processes_extract_what_one_does(runs):
    out, codes, logs = runs
    assert codes[3][0] == -9 and codes[4] == [0, 0], logs
    one, two = (read_embeddings(out / f"{name}.safetensors") for name in ("whole", "two"))
    assert one.description == two.description
    for name in ("persons", "cameras", "frames", "lists", "paths", "path_ends"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    np.testing.assert_allclose(one.vectors, two.vectors, atol=1e-6, rtol=0)
    assert "3 of" in logs[4][0] and logs[4][1] == ""


def test_nothing_is_left_behind(runs):
    kept = {"whole.safetensors", "killed.safetensors", "two.safetensors"}
    assert {name for name in os.listdir(runs[0]) if "safetensors" in name} == kept


def test_a_complete_file_is_left_as_it_is(options, out, capsys, monkeypatch):
    assert command(*options, "--lists=query") == 0
    before = out.stat()
    monkeypatch.setattr("strf_cuda.extraction.extracting.embed_in_parts", lambda *_, **__: pytest.fail("embedded"))
    assert command(*options, "--lists=query") == 0
    assert f"{out} was complete already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before.st_mtime_ns


def test_parts_of_another_extraction_are_refused(
    options, fails, out, tiny_baseline, tiny_walkers, tmp_path, monkeypatch
):
    """Another model, other settings, other tracklets."""
    with monkeypatch.context() as patch:
        patch.setattr("strf_cuda.extraction.extracting.PartFiles.join", stop)
        with pytest.raises(ZeroDivisionError):
            command(*options, "--lists=query")
    folder = out.with_name("all.safetensors.parts")
    assert os.listdir(folder) == ["000000.safetensors"]
    start = f"{folder} holds a part of an extraction with "
    assert fails("--lists=query", f"--checkpoint={tiny_baseline}").startswith(f"{start}another fingerprint: give")
    assert fails("--lists=query", "--flip").startswith(f"{start}another clips")
    assert fails("--lists=train").startswith(f"{start}other tracklets")
    (folder / "000000.safetensors").write_bytes(b"damaged")
    assert command(*options, "--lists=query") == 0
    assert os.listdir(out.parent) == [out.name]


def stop(*_):
    raise ZeroDivisionError


def test_one_process_at_a_time_writes_a_file(fails, out):
    """The lock is another process's: within one, every lock would be granted."""
    folder = out.with_name("all.safetensors.parts")
    code = "import sys\nfrom strf_cuda.files import claimed\nwith claimed(sys.argv[1]):\n print(flush=True)\n input()"
    with subprocess.Popen([sys.executable, "-c", code, folder], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        assert f"process {other.pid} " in fails("--lists=query") and not out.exists()
        other.communicate(b"\n")


def test_parts_end_with_the_tracklet_that_fills_them(tiny_walkers):
    source = dataset_source(MARS(tiny_walkers), "gallery", None)
    lengths = [len(tracklet) for tracklet in source.tracklets]
    for size in (1, 25, 10**6):
        parts = cut_into_parts(source, size)
        assert [row for part in parts for row in part] == list(range(len(source)))
        for part in parts[:-1]:
            assert sum(lengths[row] for row in part) >= size > sum(lengths[row] for row in part[:-1])


# ---- Folders and videos ----------------------------------------------------------------------------------------------


@pytest.fixture
def tracklet(tiny_walkers):
    return MARS(tiny_walkers).query[0]


def copy_frames(tracklet, folder):
    folder.mkdir(parents=True)
    for path in tracklet.paths:
        shutil.copy(path, folder)


def test_a_folder_of_frames_is_one_tracklet_of_somebody_unknown(options, out, tracklet, tmp_path):
    copy_frames(tracklet, tmp_path / "one")
    assert command(*options, f"--tracklets={tmp_path}/one", "--camera=door") == 0
    found = read_embeddings(out)
    assert (found.persons.tolist(), found.cameras.tolist(), found.lists.tolist()) == ([JUNK_PERSON], [1], [0])
    assert found.paths_of(0)[0].startswith(f"{tmp_path}/one/") and found.description["camera_names"] == {"1": "door"}


def test_folders_may_hold_tracklets_or_people(tracklet, tmp_path, monkeypatch):
    for name in ("t2", "t10"):
        copy_frames(tracklet, tmp_path / "some" / name)
    some = folder_source(tmp_path / "some")
    assert [path.paths[0].split("/")[-2] for path in some.tracklets] == ["t2", "t10"]
    copy_frames(tracklet, tmp_path / "people" / "anna" / "hall" / "t1")
    people = folder_source(tmp_path / "people")
    assert (people.tracklets[0].person_id, people.person_names, people.camera_names) == (1, {1: "anna"}, {1: "hall"})
    monkeypatch.chdir(tmp_path)
    relative = folder_source("some").labels(range(1))
    assert bytes(relative["paths"]).startswith(f"{tmp_path}/some/t2/".encode())


def test_times_come_from_where_the_video_was_cut(tracklet, tmp_path):
    for name, person in (("t1", "anna"), ("t2", "ben")):
        copy_frames(tracklet, tmp_path / "cut" / person / "hall" / name)
    cut = {"name": "t2", "start": 3.5, "end": 7.25}
    write_videos(tmp_path / "cut", [{"tracklets": [cut]}])
    times = folder_source(tmp_path / "cut").times
    assert np.isnan(times[0]).all() and times[1].tolist() == [3.5, 7.25]


def test_a_video_is_cut_and_its_tracklets_are_found_by_time(options, out, tmp_path, capsys):
    videos.write_video(tmp_path / "hall.mp4", videos.scene())
    (tmp_path / "hall.txt").write_text(videos.tracks() + "21,1,84,8,20,40,0.9,-1,-1,-1\n")
    video = [f"--video={tmp_path}/hall.mp4", f"--tracks={tmp_path}/hall.txt", "--camera=hall"]
    assert command(*options, *video, "--start=09:00:00") == 0
    found = read_embeddings(out)
    said = capsys.readouterr().out
    assert f"3 tracklets of {tmp_path}/hall.mp4 are in {tmp_path}/all.tracklets" in said
    assert "note: left out: 1 box after the last frame" in said
    assert found.paths_of(0)[0].startswith(f"{tmp_path}/all.tracklets/hall")
    assert (found.description["camera_names"], len(found.description["person_names"])) == ({"1": "hall"}, 3)
    assert found.description["data"]["root"] == f"{tmp_path}/all.tracklets"
    first = {videos.RED: 0, videos.GREEN: 2, videos.BLUE: 5}
    assert found.start.tolist() == pytest.approx([32400 + frame / 25 for frame in first.values()], abs=0.001)
    before_the_third = Selection(until=found.start[2] - 0.001)
    matches = ExactGallery(found).search(found.vectors[:1], 3, selection=before_the_third)
    assert sorted(matches.rows[0].tolist()) == [-1, 0, 1]


def test_a_packed_data_set_is_embedded_under_its_names(options, out, tiny_walkers, tmp_path):
    pack(make_plan([MARS(tiny_walkers)], tiny_walkers), tmp_path / "packed")
    assert command(*options, "--data=packed", f"--root={tmp_path}/packed", "--lists=query") == 0
    assert read_embeddings(out).paths_of(0) == list(PackedDataset(tmp_path / "packed").query[0].paths)


# ---- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--out=x.npz"], "out is x.npz, but an embeddings file has the ending .safetensors"),
        (["--checkpoint=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
        (["--root=/no/such"], "/no/such does not exist"),
        (["--data=mars"], "the data set mars needs its folder or file"),
        (["--lists=tests"], "lists on the command line is 'tests', but it must be all, train, query, gallery or test"),
        (["--tracklets=/no/such"], "the tracklet folder /no/such does not exist"),
        (["--tracklets=x", "--data=mars"], "data is mars, but --tracklets takes the place of a data set"),
        (["--tracklets=x", "--lists=test"], "lists is test, but only a data set has lists"),
        (["--camera=door"], "camera is door, but a data set names its cameras itself"),
        (["--video=x.mp4"], "video is x.mp4 and tracks is None: give both, or neither"),
        (["--start=9"], "start is 9, but there is no --video"),
        (["--video=x.mp4", "--tracks=x.txt", "--start=noon"], "start is 'noon', but it must be seconds, a time"),
        (["--stride=0"], "stride is 0, but it must be 1 or more"),
        (["--batch=0"], "batch is 0, but it must be 1 or more"),
        (["--workers=-1"], "workers is -1, but it must be 0 or more"),
        (["--devices=0"], "devices is 0, but it must be 1 or more"),
        (["--list=test"], "unknown option --list; did you mean lists?"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(fails, out, argv, sentence):
    assert sentence in fails(*argv)
    assert os.listdir(out.parent) == []


def test_folders_without_tracklets_are_refused(fails, tmp_path, tracklet):
    (tmp_path / "none").mkdir()
    assert "none holds no frames (.jpg, .jpeg, .png, .bmp or .webp pictures), but it must be a tracklet" in fails(
        f"--tracklets={tmp_path}/none"
    )
    copy_frames(tracklet, tmp_path / "two" / "hall" / "t1")
    assert "two holds frames 2 levels down" in fails(f"--tracklets={tmp_path}/two")


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(fails, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("strf_cuda.extraction.extracting.embed_in_parts", lambda *_, **__: pytest.fail("embedded"))
    assert fails(f"--out={tmp_path}/file/x.safetensors").startswith(f"cannot make the folder {tmp_path}/file: File ex")
    (tmp_path / "x.safetensors").mkdir()
    assert "there is a folder of that name" in fails(f"--out={tmp_path}/x.safetensors")


def test_a_frame_that_cannot_be_read_is_named_and_a_mended_one_goes_on(options, fails, out, tracklet, tmp_path):
    copy_frames(tracklet, tmp_path / "one")
    frame = sorted((tmp_path / "one").iterdir())[2]
    content = frame.read_bytes()
    frame.write_bytes(content[:300])
    assert fails(f"--tracklets={tmp_path}/one").startswith(f"frame {frame} is damaged")
    assert sorted(os.listdir(tmp_path)) == ["one"]
    frame.write_bytes(content)
    assert command(*options, f"--tracklets={tmp_path}/one") == 0


def test_features_that_are_no_numbers_are_one_sentence(fails, tiny_checkpoint, tmp_path):
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["state_dict"]["model.conv1.weight"].fill_(float("nan"))
    torch.save(content, tmp_path / "nan.ckpt")
    assert "its training has diverged" in fails(f"--checkpoint={tmp_path}/nan.ckpt")


def test_help_answers_at_once_without_torch():
    code = (
        "import sys\nfrom strf_cuda import extract\n"
        "try:\n    extract.main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert time.monotonic() - started < 1.5
    assert done.returncode == 0 and done.stderr == "[]\n" and "--tracklets" in done.stdout
