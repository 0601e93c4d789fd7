"""`python -m strf_cuda.train` as its user meets it: a whole run, and mistakes."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from running import RUN_FILES, command, names
from strf_cuda import callbacks, train
from strf_cuda import evaluate as evaluate_command
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.cli import load_config, run
from strf_cuda.config import PRESETS, TrainConfig
from strf_cuda.data import MARS
from strf_cuda.engine import Training
from strf_cuda.evaluation import evaluate
from strf_cuda.pretrained import save_pretrained
from strf_cuda.trained import open_model


@pytest.fixture(scope="module")
def finished(tiny_walkers, tiny_run, tmp_path_factory):
    """The folder of a finished run of three epochs, and what it printed to stdout and stderr."""
    folder, out, err = tmp_path_factory.mktemp("runs") / "run", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert command(*tiny_run, f"--data.root={tiny_walkers}", f"--out={folder}") == 0
    return folder, out.getvalue(), err.getvalue()


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(Path(path).read_text(), parse_constant=refuse)


def write_table(path, tracklets):
    """A CSV data set of (split, person, tracklet)."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "person", "camera", "tracklet", "split"])
        for number, (split, person, tracklet) in enumerate(tracklets):
            writer.writerows([frame, person, tracklet.camera_id, number, split] for frame in tracklet.paths)
    return path


# A whole run


def test_a_run_leaves_everything_about_it_in_its_folder(finished):
    folder, _, _ = finished
    assert names(folder) == RUN_FILES
    assert any(name.startswith("events.out.tfevents") for name in names(folder / "tensorboard"))
    metrics = strict_json(folder / "metrics.json")
    assert {"dataset", "notes", "mAP", "mINP", "rank-1", "rank-5", "cmc", "chance_mAP", "queries"} <= set(metrics)
    assert {"challenges", "within_look_alike_groups", "epochs", "seconds", "history"} <= set(metrics)
    assert metrics["epochs"] == 3 and [row["epoch"] for row in metrics["history"]] == [1, 2, 3]
    assert metrics["history"][-1]["mAP"] == metrics["mAP"] and 0 < metrics["mAP"] <= 1
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 2


def test_what_is_printed_can_be_followed_in_a_log(finished):
    """Without a terminal there are no bars, but a line for each epoch."""
    folder, out, err = finished
    assert err == ""
    assert out.startswith("preset: demo\n") and f"run folder: {folder}\n" in out
    assert "walkers: 24 training tracklets of 4 people, 12 queries, 25 gallery tracklets\n" in out
    metrics = strict_json(folder / "metrics.json")
    for number in (1, 2, 3):
        (line,) = [line for line in out.splitlines() if line.startswith(f"epoch {number}/3: loss ")]
        assert "accuracy" in line and "left" in line
        assert f"epoch {number}: mAP {100 * metrics['history'][number - 1]['mAP']:.1f}, rank-1 " in out
    assert "mAP of a random ranking" in out and "\r" not in out


def test_a_terminal_shows_one_bar_and_no_line_for_each_epoch(options, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    err = Terminal()
    with contextlib.redirect_stderr(err):
        assert command(*options, "--epochs=1") == 0
    assert "epoch 1/1" in err.getvalue() and "loss=" in err.getvalue() and "warning" not in err.getvalue()
    out = capsys.readouterr().out
    assert "epoch 1: mAP" in out and "epoch 1/1" not in out


def test_best_ckpt_is_the_first_checkpoint_with_the_highest_mAP(options, folder, monkeypatch):
    sequence = iter([0.2, 0.5, 0.5, 0.4])

    def scripted(module, dataset):
        overall = SimpleNamespace(mAP=next(sequence), rank=lambda k: 0.1)
        return SimpleNamespace(overall=overall, to_dict=lambda: {"mAP": overall.mAP}, table=lambda: "")

    monkeypatch.setattr(callbacks, "evaluate_run", scripted)
    assert command(*options, "--epochs=4") == 0
    assert read_checkpoint(folder / "best.ckpt")["epoch"] == 1
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 3


def test_best_ckpt_gives_the_mAP_of_its_epoch(finished, tiny_walkers):
    folder, _, _ = finished
    history = strict_json(folder / "metrics.json")["history"]
    best = max(history, key=lambda row: row["mAP"])
    assert read_checkpoint(folder / "best.ckpt")["epoch"] + 1 == best["epoch"]
    trained = open_model(folder / "best.ckpt")
    config = trained.config
    again = evaluate(trained.model, MARS(tiny_walkers), config.data, config.evaluation, progress=False)
    assert again.overall.mAP == pytest.approx(best["mAP"], abs=1e-9)


def test_with_an_average_of_the_weights_that_is_what_is_evaluated_and_loaded(options, folder, tiny_walkers):
    protocol = ["--evaluation.flip", "--evaluation.frames=all", "--evaluation.rerank", "--evaluation.rerank_k1=5"]
    assert command(*options, "--optimizer.ema=0.9", "--epochs=2", *protocol) == 0
    average = open_model(folder / "last.ckpt")
    model, config = average.model, average.config
    again = evaluate(model, MARS(tiny_walkers), config.data, config.evaluation, progress=False)
    metrics = strict_json(folder / "metrics.json")
    assert again.overall.mAP == pytest.approx(metrics["mAP"], abs=1e-9)
    assert metrics["reranked"] == {"k1": 5, "k2": 6, "lambda": 0.3}
    trained = read_checkpoint(folder / "last.ckpt")["state_dict"]["model.conv1.weight"]
    assert not torch.equal(model.conv1.weight, trained)


def test_evaluations_come_every_few_epochs_and_at_the_end(options, folder):
    assert command(*options, "--epochs=3", "--evaluation.every=2") == 0
    assert [row["epoch"] for row in strict_json(folder / "metrics.json")["history"]] == [2, 3]


def test_the_saved_configuration_repeats_the_run(finished, tmp_path):
    folder, _, _ = finished
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["data"]["height"] == 32 and saved["resume"] is False and Path(saved["data"]["root"]).is_absolute()
    assert command(f"--config={folder}/config.yaml", f"--out={tmp_path}/again") == 0
    assert strict_json(tmp_path / "again/metrics.json")["history"] == strict_json(folder / "metrics.json")["history"]


def test_the_configuration_of_a_resumed_run_also_starts_a_new_one(options, folder, tmp_path):
    assert command(*options, "--epochs=1") == 0
    assert command("--resume", f"--out={folder}", "--epochs=2") == 0
    assert command(f"--config={folder}/config.yaml", f"--out={tmp_path}/new", "--epochs=1") == 0
    assert names(tmp_path / "new") == RUN_FILES


def test_a_finished_run_can_be_resumed_for_its_figures(finished, tmp_path, capsys):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    before = strict_json(folder / "metrics.json")
    (folder / "metrics.json").unlink()
    assert command("--resume", f"--out={folder}") == 0
    after = strict_json(folder / "metrics.json")
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert "mAP of a random ranking" in capsys.readouterr().out


def test_runs_without_a_name_are_numbered(tiny_walkers, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = os.path.relpath(tiny_walkers)
    assert command(*tiny_run, f"--data.root={data}", "--epochs=1") == 0
    assert names("runs/demo-1") == RUN_FILES
    assert yaml.safe_load(Path("runs/demo-1/config.yaml").read_text())["data"]["root"] == str(tiny_walkers)
    assert train._run_folder(TrainConfig()) == Path("runs/demo-2")
    assert train._run_folder(TrainConfig(preset="paper")) == Path("runs/paper-1")


def test_a_tilde_stands_for_the_home_folder(tiny_walkers, tiny_run, tmp_path, monkeypatch):
    """A shell leaves the one in --out=~/run alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(tiny_walkers)
    assert command(*tiny_run, "--data.root=~/data", "--out=~/run", "--epochs=1") == 0
    assert command("--resume", "--out=~/run") == 0
    assert names(tmp_path / "run") == RUN_FILES
    assert run(lambda: evaluate_command.main(["--checkpoint=~/run/last.ckpt", "--out=~/figures", "--device=cpu"])) == 0
    assert "metrics.json" in names(tmp_path / "figures")


def test_mixed_precision_trains_on_the_cpu(options, folder):
    assert command(*options, "--epochs=1", "--precision=bf16-mixed") == 0
    weights = read_checkpoint(folder / "last.ckpt")["state_dict"]
    assert weights["model.conv1.weight"].dtype == torch.float32


def test_help_answers_at_once_without_torch():
    code = (
        "import sys\nfrom strf_cuda import train\n"
        "try:\n    train.main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds.append(time.monotonic() - started)
        assert done.returncode == 0 and done.stderr == "[]\n", done.stderr
        assert "--model.temporal_pool" in done.stdout and "paper's recipe on MARS" in " ".join(done.stdout.split())
    assert min(seconds) < 1.5


# Mistakes


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--data.root=/no/such"], "/no/such does not exist"),
        (["--epoch=2"], "unknown option --epoch; did you mean epochs?"),
        (["--preset=papr"], "preset on the command line is 'papr', but it must be demo or paper; did you mean paper?"),
        (["--model.kind=p3d"], "model.kind on the command line is 'p3d', but it must be c2d, i3d, p3da, p3db or p3dc"),
        (["--model.width=9"], "18 channels are not divisible by the reduction 4"),
        (["--model.resolutions=[1,2]"], "pool window (2, 1, 1) must be three odd positive sizes"),
        (["--model.stages=[2,5]"], "stages are (2, 5), but a ResNet has the stages 1, 2, 3 and 4"),
        (["--model.paths=[]"], "paths are (), but there must be at least one"),
        (["--model.temperature=.inf"], "temperature is inf, but it must be a finite number"),
        (["--data.people=5"], "a batch of 5 people needs tracklets of at least 5 persons to train on, but there are 4"),
        (["--data.people=1", "--data.clips=1"], "data.people and data.clips are both 1, but batch normalisation"),
        (["--epochs=0"], "epochs is 0, but it must be at least 1"),
        (["--seed=-1"], "seed is -1, but it must be 0 or more"),
        (["--seed=9223372036854775808"], "seed is 9223372036854775808, but it must be less than 2^63"),
        (["--data.flip=1.5"], "data.flip is 1.5, but a probability is between 0 and 1"),
        (
            ["--optimizer.label_smoothing=1"],
            "optimizer.label_smoothing is 1.0, but it must be 0 or more and less than 1",
        ),
        (["--optimizer.ema=-0.1"], "optimizer.ema is -0.1, but it must be 0 or more and less than 1"),
        (["--optimizer.warmup=-1"], "optimizer.warmup is -1, but it must be 0 or more"),
        (["--optimizer.warmup=3"], "optimizer.warmup is 3, but it must be less than the number of epochs, 3"),
        (["--evaluation.frames=0"], "evaluation.frames is 0, but it must be at least 1"),
        (["--evaluation.rerank_k1=0"], "evaluation.rerank_k1 is 0, but it must be at least 1"),
        (["--evaluation.rerank_k2=0"], "evaluation.rerank_k2 is 0, but it must be at least 1"),
        (["--evaluation.rerank_lambda=2"], "evaluation.rerank_lambda is 2.0, but it must be between 0 and 1"),
        (["--optimizer.learning_rate=-1"], "optimizer.learning_rate is -1.0, but it must be above 0 and at most 1"),
        (["--optimizer.learning_rate=0"], "optimizer.learning_rate is 0.0, but it must be above 0 and at most 1"),
        (["--optimizer.learning_rate=.nan"], "optimizer.learning_rate is nan, but it must be above 0 and at most 1"),
        (["--optimizer.learning_rate=1e30"], "optimizer.learning_rate is 1e+30, but it must be above 0 and at most 1"),
        (["--optimizer.decay=1.5"], "optimizer.decay is 1.5, but it must be above 0 and at most 1"),
        (["--optimizer.weight_decay=.inf"], "optimizer.weight_decay is inf, but it must be between 0 and 1"),
        (["--optimizer.margin=-0.1"], "optimizer.margin is -0.1, but cosine distances are between 0 and 2"),
        (["--precision=16-mixed"], "precision is 16-mixed, which needs a GPU; use --precision=bf16-mixed or 32"),
        (["--model.temperature=0"], "model.temperature is 0.0, but for similarity cosine it must be above 0"),
        (["--model.similarity=cos"], "model.similarity on the command line is 'cos', but it must be cosine or dot"),
        (["--model.weights=/no/such.pth"], "there is no weights file /no/such.pth"),
        (["--data.name=mars", "--data.root=null"], "the data set mars needs its folder or file"),
        (["--resume"], "there is no run to resume in "),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_run_behind(fails, folder, argv, sentence):
    assert sentence in fails(*argv)
    assert not (folder / "config.yaml").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence(fails):
    assert fails("--device=gpu").startswith("device is gpu, but torch finds no GPU here; use --device cpu")


def test_an_unknown_key_in_a_file_is_named_with_the_file(fails, tmp_path):
    (tmp_path / "mine.yaml").write_text("model:\n  stage: [2]\n")
    sentence = f"unknown key model.stage in {tmp_path}/mine.yaml; did you mean stages?"
    assert fails(f"--config={tmp_path}/mine.yaml") == sentence


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_a_weights_file_that_is_none_is_named(fails, tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    assert f"{tmp_path}/weights.pth" in fails(f"--model.weights={tmp_path}/weights.pth")


def test_weights_of_another_network_are_named(fails, tmp_path):
    torch.save({"conv1.weight": torch.zeros(16, 3, 7, 7), "extra": torch.zeros(1)}, tmp_path / "weights.pth")
    assert fails(f"--model.weights={tmp_path}/weights.pth") == f"{tmp_path}/weights.pth has an unexpected entry extra"


def test_a_run_begins_with_a_trained_model_of_other_people_and_needs_it_only_once(
    options, folder, tiny_walkers, tiny_checkpoint, tmp_path, capsys
):
    """The average of the weights begins there too, and a model folder does as well as a checkpoint."""
    weights = tmp_path / "given"
    save_pretrained(tiny_checkpoint, weights)
    table = write_table(
        tmp_path / "own.csv",
        [
            (part, t.person_id, t)
            for part in ("train", "query", "gallery")
            for t in getattr(MARS(tiny_walkers), part)
            if part != "train" or t.person_id < max(t.person_id for t in MARS(tiny_walkers).train)
        ],
    )
    more = [f"--model.weights={os.path.relpath(weights)}", "--data.name=table", f"--data.root={table}"]
    more += ["--model.width=16", "--optimizer.ema=0.999999999", "--optimizer.learning_rate=1e-9"]
    assert command(*options, *more, "--epochs=1") == 0
    out = capsys.readouterr().out
    assert f"note: the model begins with the weights of {weights}\n" in out
    assert "note: these weights lack what begins as in a fresh model: 1 classifier\n" in out
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["weights"] == str(weights)
    given, average = open_model(tiny_checkpoint), open_model(folder / "last.ckpt")
    unit = given.model.layer2[0].temporal.unit.weight
    torch.testing.assert_close(average.model.layer2[0].temporal.unit.weight, unit, rtol=0, atol=1e-6)
    assert average.model.classifier.out_features == given.model.classifier.out_features - 1
    shutil.rmtree(weights)
    assert command("--resume", f"--out={folder}", "--epochs=2") == 0
    assert "begins with" not in capsys.readouterr().out
    assert command(*options, *more, f"--out={tmp_path}/again") == 2
    assert f"there is no checkpoint {os.path.relpath(weights)}" in capsys.readouterr().err


def test_the_same_people_keep_their_classifier(tiny_checkpoint, tiny_run, tiny_walkers, tmp_path):
    options = [*tiny_run, "--model.width=16", f"--model.weights={tiny_checkpoint}"]
    dataset = MARS(tiny_walkers)
    for root, same in ((tiny_walkers, True), (tmp_path, False)):
        config = load_config(TrainConfig, [*options, f"--data.root={root}"], prog="", presets=PRESETS)
        module, given = Training(config, dataset.train), open_model(tiny_checkpoint)
        assert given.person_ids == module.person_ids
        assert torch.equal(module.model.classifier.weight, given.model.classifier.weight) == same
        assert len(module.notes) == (1 if same else 3)


def test_trained_weights_that_cannot_be_begun_with_are_one_sentence(fails, folder, tiny_checkpoint, tmp_path):
    weights = f"--model.weights={tiny_checkpoint}"
    assert fails(weights, "--model.width=32", "--model.depth=[1, 1, 2, 1]") == (
        f"the weights of {tiny_checkpoint} have width 16 and depth [1, 1, 1, 1], but the model has width 32 and depth "
        "[1, 1, 2, 1]"
    )
    content = Path(tiny_checkpoint).read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: len(content) // 2])
    assert fails(f"--model.weights={tmp_path}/cut.ckpt").startswith(f"the checkpoint {tmp_path}/cut.ckpt is damaged: ")
    spoilt = torch.load(tiny_checkpoint, weights_only=True)
    spoilt["state_dict"]["model.layer1.0.conv1.weight"][0] = torch.nan
    torch.save(spoilt, tmp_path / "nan.ckpt")
    assert fails(f"--model.weights={tmp_path}/nan.ckpt", "--model.width=16") == (
        f"the weights of {tmp_path}/nan.ckpt are of no use: layer1.0.conv1.weight holds NaN or infinity"
    )
    (tmp_path / "empty").mkdir()
    assert "empty holds no model: it has no config.json" in fails(f"--model.weights={tmp_path}/empty")
    assert fails("--model.weights=hf://nowhere").startswith("hf://nowhere names no model: it must be hf://owner/name")
    save_pretrained(tiny_checkpoint, tmp_path / "given")
    alone = tmp_path / "given" / "model.safetensors"
    sentence = f"{alone} holds the weights of a trained model alone: give the folder that it lies in"
    assert fails(f"--model.weights={alone}") == sentence
    assert not folder.exists()


def test_a_data_set_without_queries_is_refused_before_training(fails, folder, tiny_walkers, tmp_path):
    tracklets = MARS(tiny_walkers).train
    table = write_table(tmp_path / "own.csv", [("train", t.person_id, t) for t in tracklets])
    sentence = fails("--data.name=table", f"--data.root={table}")
    assert sentence.startswith("own has 0 query and 0 gallery tracklets, but an evaluation needs at least one of each")
    assert not folder.exists()


def test_a_data_set_without_matches_trains_without_figures(options, folder, tiny_walkers, tmp_path, capsys):
    """Every query is of a person whom no other camera saw; there is no mAP, so no best one either."""
    data = MARS(tiny_walkers)
    rows = [("train", t.person_id, t) for t in data.train]
    rows += [("query", f"q{i}", t) for i, t in enumerate(data.query)]
    rows += [("gallery", f"g{i}", t) for i, t in enumerate(data.gallery)]
    table = write_table(tmp_path / "own.csv", rows)
    assert command(*options, "--data.name=table", f"--data.root={table}", "--epochs=1") == 0
    assert names(folder) == [name for name in RUN_FILES if name != "best.ckpt"]
    metrics = strict_json(folder / "metrics.json")
    assert metrics["mAP"] is None and metrics["chance_mAP"] is None and len(metrics["queries_without_match"]) == 12
    assert metrics["history"] == [{"epoch": 1, "mAP": None, "rank-1": None, "rank-5": None}]
    out = capsys.readouterr().out
    assert "epoch 1: no query has a match, so there is no mAP" in out and "nan" not in out
    assert "note: 12 of 12 queries have no gallery tracklet of their person by another camera" in out


def test_a_run_on_a_cosine_cannot_become_longer(fails, finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["optimizer"]["schedule"] = "cosine"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert fails("--resume", f"--out={copy}", "--epochs=9") == (
        f"epochs is 9, but the run in {copy} was started with {config['epochs']}, and the cosine of its learning rate "
        "ends with these"
    )


def test_a_damaged_last_checkpoint_is_named_on_resuming(fails, finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    os.truncate(copy / "last.ckpt", 1000)
    assert fails("--resume", f"--out={copy}", "--epochs=4").startswith(f"the checkpoint {copy}/last.ckpt is damaged")


def test_a_checkpoint_of_another_architecture_is_named_on_resuming(finished, tmp_path, capsys):
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["kind"] = "p3da"
    config["model"]["stages"] = [2]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert command("--resume", f"--out={copy}", "--epochs=4") == 2
    assert (
        "is of another architecture: it has the weight model.layer3.0.temporal.unit.weight" in capsys.readouterr().err
    )
