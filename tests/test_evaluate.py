"""`python -m strf_cuda.evaluate` as its user meets it: figures, files, and mistakes."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import trees
from reading import one_sentence
from strf_cuda import evaluate, train
from strf_cuda.cli import run
from strf_cuda.config import EvaluateConfig
from strf_cuda.data import MARS

EVALUATION_FILES = ["metrics.json", "rankings.json", "rankings.png"]


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: evaluate.main([str(word) for word in argv]))


@pytest.fixture(scope="module")
def trained(tiny_walkers, tiny_run, tmp_path_factory):
    """The folder of a finished training run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(lambda: train.main([*tiny_run, f"--data.root={tiny_walkers}", f"--out={folder}", "--epochs=2"])) == 0
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "evaluation"


@pytest.fixture
def options(trained, out):
    return [f"--checkpoint={trained}/last.ckpt", f"--out={out}", "--device=cpu"]


@pytest.fixture
def fails(options, capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""

    def fails(*argv):
        assert command(*options, *argv) == 2
        return one_sentence(capsys.readouterr().err)

    return fails


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(Path(path).read_text(), parse_constant=refuse)


def test_a_checkpoint_gets_the_figures_that_its_training_printed(options, trained, out, capsys):
    assert command(*options) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and f"{', '.join(EVALUATION_FILES[:2])} and rankings.png are in {out}" in captured.out
    assert sorted(os.listdir(out)) == EVALUATION_FILES
    metrics, training = strict_json(out / "metrics.json"), strict_json(trained / "metrics.json")
    for name in ("dataset", "mAP", "mINP", "rank-1", "cmc", "chance_mAP", "challenges", "within_look_alike_groups"):
        assert metrics[name] == training[name], name
    assert metrics["checkpoint"] == f"{trained}/last.ckpt"
    assert metrics["protocol"]["stride"] == 2 and metrics["protocol"]["frames"] == 4
    assert f"{100 * metrics['mAP']:.1f}" in captured.out and "look-alikes over other cameras" in captured.out


def test_another_split_than_the_trained_one_is_stated(options, trained, out, tmp_path, capsys):
    people = [f"person{number:03d}" for number in range(1, 7)]
    trees.write_ilids(tmp_path / "sequences", people, [4] * 12, size=(16, 32))
    trees.write_json(tmp_path / "splits.json", trees.ten_splits(people))
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    checkpoint["config"]["data"].update(name="ilids", root=str(tmp_path), split=3)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    options = [*options, f"--checkpoint={tmp_path}/last.ckpt"]
    assert command(*options) == 0
    assert "trained on split" not in capsys.readouterr().out
    assert strict_json(out / "metrics.json")["notes"][0].startswith("split 3 of splits.json")
    assert command(*options, "--split=4") == 0
    note = "the model was trained on split 3, which trains on people that split 4 tests on: these figures are too high"
    assert f"note: {note}" in capsys.readouterr().out
    assert note in strict_json(out / "metrics.json")["notes"]


def test_the_rankings_hold_ten_tracklets_for_every_query_with_their_frames(options, out, tiny_walkers):
    assert command(*options) == 0
    rows, data = strict_json(out / "rankings.json"), MARS(tiny_walkers)
    assert [row["query"]["first_frame"] for row in rows] == [query.paths[0] for query in data.query]
    for row in rows:
        assert len(row["ranking"]) == 10 and all(Path(found["first_frame"]).exists() for found in row["ranking"])
        distances = [found["distance"] for found in row["ranking"]]
        assert distances == sorted(distances)
        assert [found["correct"] for found in row["ranking"]] == [
            found["person"] == row["query"]["person"] for found in row["ranking"]
        ]
        rank = row["first_match_rank"]
        assert rank is None or rank > 10 or row["ranking"][rank - 1]["correct"]


def test_the_picture_has_a_row_for_each_query_asked_for(options, out):
    heights = []
    for queries in (1, 4, 100):
        assert command(*options, f"--queries={queries}") == 0
        with Image.open(out / "rankings.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1] < heights[2]


def test_without_queries_to_show_there_is_no_picture(options, out, capsys):
    assert command(*options, "--queries=0") == 0
    assert sorted(os.listdir(out)) == EVALUATION_FILES[:2]
    assert "rankings.png" not in capsys.readouterr().out


def test_results_go_beside_the_checkpoint_by_default(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    assert command(f"--checkpoint={copy}/best.ckpt", "--device=cpu") == 0
    assert sorted(os.listdir(copy / "evaluation")) == EVALUATION_FILES


def test_protocol_options_take_the_run_s_place(options, out):
    figures = []
    for extra in (
        [],
        ["--shuffle_frames"],
        ["--stride=1"],
        ["--flip"],
        ["--frames=all"],
        ["--rerank", "--rerank_k1=4", "--rerank_lambda=0.5"],
        ["--average_precision=trapezoid"],
    ):
        assert command(*options, "--queries=0", *extra) == 0
        figures.append(strict_json(out / "metrics.json"))
    plain, shuffled, consecutive, flipped, whole, reranked, trapezoid = figures
    assert shuffled["protocol"] == {**plain["protocol"], "shuffle_frames": True}
    assert consecutive["protocol"] == {**plain["protocol"], "stride": 1}
    assert flipped["protocol"] == {**plain["protocol"], "flip": True}
    assert whole["protocol"] == {**plain["protocol"], "frames": "all"}
    given = {"rerank": True, "rerank_k1": 4, "rerank_lambda": 0.5}
    assert reranked["protocol"] == {**plain["protocol"], **given}
    assert reranked["reranked"] == {"k1": 4, "k2": 6, "lambda": 0.5} and plain["reranked"] is None
    assert trapezoid["average_precision"] == "trapezoid" and trapezoid["mAP"] != plain["mAP"]
    assert trapezoid["cmc"] == plain["cmc"]


def test_batches_and_workers_change_no_figure(options, out):
    figures = []
    for extra in (["--batch=3"], ["--batch=64", "--workers=2"]):
        assert command(*options, *extra) == 0
        figures.append(strict_json(out / "metrics.json")["mAP"])
    assert figures[0] == pytest.approx(figures[1], abs=1e-9)


def test_another_data_set_can_be_evaluated(options, out, tiny_walkers, tmp_path, capsys):
    """The test frames of the walkers as folders by person, camera and tracklet; names come from the folders."""
    for index, tracklet in enumerate(MARS(tiny_walkers).gallery):
        folder = tmp_path / "own" / f"person {tracklet.person_id}" / f"camera {tracklet.camera_id}" / str(index)
        folder.mkdir(parents=True)
        for path in tracklet.paths:
            shutil.copy(path, folder)
    assert command(*options, "--data=folder", f"--root={tmp_path}/own") == 0
    assert strict_json(out / "metrics.json")["dataset"] == "own"
    assert "people were drawn for testing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--checkpoint=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
        (["--root=/no/such"], "/no/such does not exist"),
        (["--data=mars"], "the data set mars needs its folder or file"),
        (["--data=marz"], "data on the command line is 'marz', but it must be"),
        (["--stride=0"], "stride is 0, but it must be 1 or more"),
        (["--frames=0"], "frames is 0, but it must be 1 or more"),
        (["--frames=some"], "frames on the command line is 'some', but it must be a whole number or all or null"),
        (["--rerank_k1=0"], "rerank_k1 is 0, but it must be 1 or more"),
        (["--rerank_k2=-1"], "rerank_k2 is -1, but it must be 1 or more"),
        (["--rerank_k1=9"], "rerank_k1 is 9, but there is no re-ranking without --rerank"),
        (["--rerank_lambda=1.1"], "rerank_lambda is 1.1, but it must be between 0 and 1"),
        (["--batch=0"], "batch is 0, but it must be 1 or more"),
        (["--queries=-1"], "queries is -1, but it must be 0 or more"),
        (["--precision=16-mixed"], "precision is 16-mixed, which needs a GPU"),
        (["--checkpoints=x"], "unknown option --checkpoints; did you mean checkpoint?"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(fails, out, argv, sentence):
    assert sentence in fails(*argv)
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence(fails):
    assert fails("--device=gpu").startswith("device is gpu, but torch finds no GPU here")


def test_a_checkpoint_is_required(capsys):
    assert command() == 2
    assert capsys.readouterr().err == "error: required but not given: --checkpoint\n"


def test_a_truncated_checkpoint_is_one_sentence(fails, trained, tmp_path):
    copy = shutil.copy(trained / "last.ckpt", tmp_path / "cut.ckpt")
    os.truncate(copy, 5000)
    assert fails(f"--checkpoint={copy}").startswith(f"the checkpoint {copy} is damaged")


def test_a_checkpoint_of_another_architecture_is_one_sentence(fails, trained, tmp_path):
    content = torch.load(trained / "last.ckpt", weights_only=True)
    content["config"]["model"]["unit"] = "none"
    torch.save(content, tmp_path / "other.ckpt")
    sentence = f"{tmp_path}/other.ckpt is of another architecture: it has the weight layer2.0.temporal.unit.weight"
    assert fails(f"--checkpoint={tmp_path}/other.ckpt").startswith(sentence)


def test_a_damaged_frame_is_named(fails, tiny_walkers, tmp_path):
    root = shutil.copytree(tiny_walkers, tmp_path / "copy")
    frame = MARS(root).query[0].paths[1]
    os.truncate(frame, 300)
    assert fails(f"--root={root}").startswith(f"frame {frame} is damaged")


def test_a_folder_that_cannot_be_made_is_told_before_the_work(fails, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("strf_cuda.evaluation.evaluate", lambda *_, **__: pytest.fail("the work was begun"))
    assert fails(f"--out={tmp_path}/file") == f"cannot make the folder {tmp_path}/file: File exists"


def test_features_that_are_no_numbers_are_one_sentence(fails, trained, tmp_path):
    content = torch.load(trained / "last.ckpt", weights_only=True)
    content["state_dict"]["model.conv1.weight"].fill_(float("nan"))
    torch.save(content, tmp_path / "nan.ckpt")
    assert "its training has diverged" in fails(f"--checkpoint={tmp_path}/nan.ckpt")


def test_help_answers_at_once_without_torch():
    code = (
        "import sys\nfrom strf_cuda import evaluate\n"
        "try:\n    evaluate.main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert time.monotonic() - started < 1.5
    assert done.returncode == 0 and done.stderr == "[]\n" and "--average_precision" in done.stdout


def test_the_command_has_an_exit_status():
    argv = [sys.executable, "-m", "strf_cuda.evaluate", "--checkpoint=x", "--stride=0"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: stride is 0, but it must be 1 or more\n")


def test_the_run_s_settings_are_the_defaults():
    """An option that is not given must not override what the checkpoint says."""
    config = EvaluateConfig(checkpoint="x")
    names = ("data", "root", "batch", "frames", "stride", "flip", "average_precision", "workers")
    names += ("rerank", "rerank_k1", "rerank_k2", "rerank_lambda")
    assert all(getattr(config, name) is None for name in names)
