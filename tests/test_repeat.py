"""`python -m strf_cuda.repeat`: seeds and splits, faults, interruption. Most processes are stand-ins (stand_in.py)."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import trees
from strf_cuda import repeat
from strf_cuda.cli import run

ROOT = Path(__file__).resolve().parent.parent


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: repeat.main([str(word) for word in argv]))


@pytest.fixture
def run_options(tiny_run, tiny_walkers, folder):
    return [*tiny_run, f"--data.root={tiny_walkers}", f"--out={folder}", "--epochs=1"]


@pytest.fixture(scope="session")
def ten_splits(tmp_path_factory):
    """iLIDS-VID of 16 people with its ten splits."""
    root, people = tmp_path_factory.mktemp("ilids"), [f"person{number:03d}" for number in range(1, 17)]
    trees.write_ilids(root / "i-LIDS-VID" / "sequences", people, [4, 5] * 16, (16, 32))
    splits = root / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    trees.write_split_matrix(splits, trees.ten_splits(people), people)
    return root


@pytest.fixture
def on_ten_splits(tiny_run, ten_splits, folder):
    return [*tiny_run, "--epochs=1", "--data.name=ilids", f"--data.root={ten_splits}", f"--out={folder}"]


def content(folder):
    return json.loads((folder / "results.json").read_text())


def check_splits(folder, splits):
    results = content(folder)
    assert [(found["seed"], found["split"]) for found in results["runs"]] == [(0, split) for split in splits]
    trained = [json.loads((folder / f"seed-0-split-{split}" / "metrics.json").read_text()) for split in splits]
    for name in ("mAP", "rank-1", "rank-20", "mINP"):
        values = [metrics[name] for metrics in trained]
        assert results["over_splits"][name]["mean"] == pytest.approx(sum(values) / len(values))
        assert results["over_splits"][name]["n"] == len(splits) and results["overall"][name]["std"] >= 0
    text = (folder / "results.md").read_text()
    assert f"| mean of {len(splits)} splits" in text and "seed-0-split-1" in text and "iLIDS" not in text.split("|")[0]


def test_official_splits_are_trained_and_evaluated_in_one_command(on_ten_splits, folder, capsys):
    assert command(*on_ten_splits, "--seeds=1", "--splits=[1, 8]") == 0
    check_splits(folder, [1, 8])
    out = capsys.readouterr().out
    assert "2 of 2 runs (" in out and "run/seed-0-split-8: mAP" in out


@pytest.mark.slow
def test_all_ten_splits_are_trained_and_evaluated_in_one_command(on_ten_splits, folder):
    assert command(*on_ten_splits, "--seeds=1", "--splits=all", "--parallel=2") == 0
    check_splits(folder, range(10))


def test_means_and_spreads_are_those_of_the_runs(stand_in, run_options, folder, capsys):
    """The stand-in's mAP is 0.3 + 0.01 seed."""
    assert command(*run_options, "--seeds=[0, 1, 5]") == 0
    results = content(folder)
    assert results["overall"]["mAP"]["mean"] == pytest.approx(0.32)
    assert results["overall"]["mAP"]["std"] == pytest.approx(0.0007**0.5)
    assert results["overall"]["rank-1"]["mean"] == pytest.approx(0.42) and results["overall"]["mAP"]["n"] == 3
    assert results["chance_mAP"] == pytest.approx(0.033) and results["options"]["epochs"] == 1
    assert {"torch", "strf_cuda", "python"} <= set(results["versions"]) and results["device"]
    assert results["command"].startswith("python -m strf_cuda.repeat --data.height=32")
    text = (folder / "results.md").read_text()
    assert "| mean of 3 runs | 32.0 ± 2.6 | 42.0 ± 2.6 |" in text and "A random ranking has mAP 3.3" in text
    assert text in capsys.readouterr().out


def test_finished_runs_are_not_trained_again_and_more_seeds_may_be_asked_for(stand_in, run_options):
    assert command(*run_options, "--seeds=2") == 0
    assert command(*run_options, "--seeds=3") == 0
    assert [line.split()[1] for line in stand_in.calls()] == ["run/seed-0", "run/seed-1", "run/seed-2"]


def test_a_failed_run_is_told_and_the_others_go_on(stand_in, run_options, folder, capsys):
    stand_in.plan(fails="seed-0")
    assert command(*run_options, "--seeds=2") == 2
    captured = capsys.readouterr()
    told = f"the disk is full (see {folder}/seed-0.log)"
    assert captured.err == f"error: 1 of 2 runs failed; the first: {told}\n"
    assert f"run/seed-0: failed: {told}" in captured.out and "run/seed-1: mAP 31.0" in captured.out
    assert content(folder)["failed"] == {"seed-0": told} and content(folder)["overall"]["mAP"]["n"] == 1
    assert "$ python -m strf_cuda.train --preset=demo" in (folder / "seed-0.log").read_text()
    stand_in.plan()
    assert command(*run_options, "--seeds=2") == 0
    assert content(folder)["failed"] == {} and content(folder)["overall"]["mAP"]["n"] == 2


def test_runs_that_crash_or_are_killed_are_told_in_a_sentence(stand_in, run_options, folder, capsys):
    stand_in.plan(crashes="seed-0", dies="seed-1")
    assert command(*run_options, "--seeds=2") == 2
    out = capsys.readouterr().out
    assert "seed-0: failed: ZeroDivisionError: of the model (see " in out
    assert "seed-1: failed: ended by signal 9 (see " in out


@pytest.fixture
def _in_the_background():
    """SIGINT is ignored, also by processes that are started, as where a shell has started a script with &."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_in_the_background")
def test_an_interruption_lets_runs_save_and_the_same_command_continues_them(stand_in, run_options, folder, capsys):
    stand_in.plan(waits="seed-1")

    def interrupt():
        stand_in.wait_for("waiting")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    assert command(*run_options, "--seeds=3") == 130
    assert capsys.readouterr().err == "interrupted\n"
    before = stand_in.calls()
    assert before[-1] == "saved" and not (folder / "results.json").exists()
    stand_in.plan()
    assert command(*run_options, "--seeds=3") == 0
    continued = [line.split()[1:3] for line in stand_in.calls()[len(before) :]]
    assert continued == [["run/seed-1", "resumed"], ["run/seed-2", "new"]]
    assert content(folder)["overall"]["mAP"]["n"] == 3


def test_side_by_side_the_threads_are_divided(stand_in, run_options, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert command(*run_options, "--seeds=2", "--parallel=2") == 0
    assert {line.split(maxsplit=3)[3] for line in stand_in.calls()} == {"('2', None)"}


def test_every_run_has_one_gpu_to_itself(stand_in, run_options, monkeypatch):
    monkeypatch.setattr("strf_cuda.ablation.opening.check_device", lambda device: None)
    options = [word for word in run_options if not word.startswith("--device")]
    assert command(*options, "--seeds=4", "--gpus=3,5") == 0
    seen = [line.split(maxsplit=3)[3].rstrip(")").split(", ")[1] for line in stand_in.calls()]
    assert set(seen) == {"'3'", "'5'"} and len(seen) == 4


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--seeds=0"], "seeds is 0, but at least one is needed"),
        (["--seeds=[1, 1]"], "seeds is [1, 1], but it must name at least one and none twice"),
        (["--seeds=[-1]"], "seeds holds -1, but a seed is 0 or more"),
        (["--splits=[10]"], "splits holds 10, but official splits are numbered 0 to 9"),
        (["--splits=al"], "splits on the command line is 'al', but it must be all or a list"),
        (["--splits=all"], "split is 0, but the data set walkers has one split only: leave it out"),
        (["--splits=[1]", "--data.split=2"], "data.split is 2, but --splits is given too: leave one of them out"),
        (["--seed=3"], "seed is 3, but the seeds of these runs are --seeds: --seeds '[3]'"),
        (["--resume"], "--resume is not needed here: the same command again continues stopped runs by itself"),
        (["--parallel=0"], "parallel is 0, but it must be at least 1"),
        (["--gpus=0", "--parallel=2"], "--parallel and --gpus exclude each other"),
        (["--gpus=0"], "--gpus gives every run one GPU: leave out --device and --devices"),
        (["--gpus=0,", "--device=auto"], "gpus is '0,', but it must be numbers with commas between them"),
        (["--epochs=0"], "epochs is 0, but it must be at least 1"),
        (["--out=null"], "--out is needed"),
        (["--data.root=/no/such"], "the MARS folder /no/such does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(stand_in, run_options, folder, capsys, argv, sentence):
    assert command(*run_options, *argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")
    assert not folder.exists() and stand_in.calls() == []


def test_a_folder_with_runs_of_other_options_is_refused(stand_in, run_options, folder, capsys):
    assert command(*run_options, "--seeds=1") == 0
    assert command(*run_options, "--seeds=2", "--optimizer.margin=0.2") == 2
    sentence = f"{folder}/seed-0 holds a run with optimizer.margin 0.3, and now it is 0.2: give another --out"
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert len(stand_in.calls()) == 1


def test_help_answers_without_torch():
    code = (
        "import sys\nfrom strf_cuda import ablate, repeat\n"
        "for command in (ablate, repeat):\n"
        "    try:\n        command.main(['--help'])\n    except SystemExit as end:\n        assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stderr == "[]\n" and "--seeds" in done.stdout and "figure6b" in done.stdout
