"""Runs in several processes as their user meets them: the same training as in one, and faults that end all at once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from joint import carry_out
from running import RUN_FILES, names
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.errors import InputError
from strf_cuda.processes import check_devices, start

INTERRUPTED = 130
KILLED = -9


@pytest.fixture
def shared(tiny_run, tiny_walkers):
    """Options of a run of 2 epochs of 3 batches of 8 clips."""
    return [*tiny_run, f"--data.root={tiny_walkers}", "--data.clips=4", "--batch_norm=synchronised", "--epochs=2"]


def history(folder):
    return json.loads((folder / "metrics.json").read_text())["history"]


def last_words(text):
    return [line for line in text.splitlines() if line.startswith(("error: ", "interrupted", "ZeroDivisionError"))]


def test_one_two_and_three_processes_train_alike_and_continue_each_other(shared, tmp_path):
    def job(count, out, losses, *argv):
        return count, "command", {"argv": [*argv, f"--out={tmp_path}/{out}"], "losses": f"{tmp_path}/{losses}.json"}

    # The model whose rounding the allowances below are for: more or shorter vectors magnify it a little more.
    shared = [*shared, "--model.similarity=dot", "--model.reduction=16"]
    evaluation = [f"--checkpoint={tmp_path}/one/last.ckpt", "--device=cpu", "--workers=0", "--queries=0"]
    codes, logs = carry_out(
        tmp_path,
        job(1, "one", "one", *shared),
        job(3, "three", "three", *shared),
        job(2, "parts", "first", *shared, "--epochs=1"),
        job(3, "parts", "second", "--resume", "--epochs=2"),
        job(1, "parts", "third", "--resume", "--epochs=3", "--devices=1"),
        *[
            (count, "evaluation_command", {"argv": [*evaluation, f"--out={tmp_path}/figures of {count}"]})
            for count in (1, 3)
        ],
    )
    assert codes == [[0], [0] * 3, [0] * 2, [0] * 3, [0], [0], [0] * 3], logs
    one, three, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "three", "first", "second")
    )
    # Adam's first steps are as large for a gradient of almost nothing, so rounding grows from step to step.
    for curve in (three, first + second):
        assert len(curve) == len(one) == 4
        for loss, alone, room in zip(curve[:3], one, (1e-6, 1e-5, 1e-4), strict=False):
            assert loss == pytest.approx(alone, rel=room)

    assert [row["epoch"] for row in history(tmp_path / "parts")] == [1, 2, 3]
    assert names(tmp_path / "three") == names(tmp_path / "parts") == RUN_FILES
    notes = [""] * 3 + [
        f"note: the run continues in {change}: " for change in ("3 processes after 2", "1 process after 3")
    ]
    for (said, *others), note in zip(logs, [*notes, "", ""], strict=True):
        assert others == [""] * len(others), "the first process alone prints"
        assert note in said and bool(note) == ("the run continues in" in said)

    for name in ("metrics.json", "rankings.json"):
        alone, together = (json.loads((tmp_path / f"figures of {count}" / name).read_text()) for count in (1, 3))
        assert alone == together


def test_a_fault_in_one_process_ends_all_and_is_told_once(shared, tmp_path):
    def job(count, name, process, step, fault):
        argv = [*shared, f"--out={tmp_path}/{name}"]
        return count, "command", {"argv": argv, "process": process, "step": step, "fault": fault}

    codes, logs = carry_out(
        tmp_path,
        job(3, "input", 1, 1, "input"),
        job(3, "killed", 1, 3, "kill"),
        job(2, "ctrl-c", 1, 3, "ctrl-c"),
        job(2, "bug", 0, 3, "bug"),
        (1, "command", {"argv": ["--resume", f"--out={tmp_path}/killed", "--devices=1"]}),
    )
    assert codes == [[2, 2, 2], [2, KILLED, 2], [2, INTERRUPTED], [1, 2], [0]], logs
    told = [[last_words(said) for said in processes] for processes in logs]
    assert told[0] == [[], ["error: frame 7 is damaged"], []]
    assert not (tmp_path / "input" / "config.yaml").exists()
    (lost,) = [words for words in told[1] if words]
    advice = f"continue with python -m strf_cuda.train --resume --out {tmp_path}/killed"
    assert lost[0].startswith("error: another process of the run is gone (") and lost[0].endswith(advice)
    assert told[2] == [[], ["interrupted"]]
    assert told[3] == [["ZeroDivisionError: division by zero"], []]
    assert [row["epoch"] for row in history(tmp_path / "killed")] == [1, 2]


# Started by the command itself


class Started:
    """The command in processes of its own, with what it has printed so far in a file."""

    def __init__(self, argv, folder):
        self.folder, self.printed = folder, folder.parent / "printed.txt"
        with self.printed.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "strf_cuda.train", *argv, f"--out={folder}"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                preexec_fn=in_the_background,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [self.process.pid, *self.members]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    members = ()

    def wait_for_checkpoint(self):
        deadline = time.monotonic() + 120
        while not (self.folder / "last.ckpt").exists() and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.members = children(self.process.pid)
        assert len(self.members) == 2, self.printed.read_text()

    def end(self):
        """The exit status, with every process gone."""
        status = self.process.wait(120)
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{member}").exists() for member in self.members):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return status


def in_the_background():
    """As a shell starts a command of a script with &, and not under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def children(process):
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs the /proc of Linux")


@needs_proc
def test_a_killed_process_of_the_command_ends_the_run_in_one_sentence(shared, folder):
    with Started([*shared, "--devices=2", "--epochs=500"], folder) as run:
        run.wait_for_checkpoint()
        os.kill(run.members[1], signal.SIGKILL)
        assert run.end() == 2
    said = run.printed.read_text()
    assert "Traceback" not in said and len(last_words(said)) == 1
    assert (
        "the finished epochs are saved; continue with python -m strf_cuda.train --resume --out" in last_words(said)[0]
    )


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_command_ends_all_processes_and_the_run_can_be_resumed(shared, folder, number):
    with Started([*shared, "--devices=2", "--epochs=500"], folder) as run:
        run.wait_for_checkpoint()
        run.process.send_signal(number)
        assert run.end() == INTERRUPTED
    said = run.printed.read_text()
    assert "Traceback" not in said and last_words(said) == ["interrupted"]
    assert said.count("continue with python -m strf_cuda.train --resume") == 1
    finished = read_checkpoint(folder / "last.ckpt")["epoch"] + 1
    with Started(["--resume", f"--epochs={finished + 1}"], folder) as run:
        assert run.end() == 0
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == finished


@needs_proc
@pytest.mark.slow
def test_the_processes_end_when_the_command_that_started_them_is_killed(shared, folder):
    with Started([*shared, "--devices=2", "--epochs=500"], folder) as run:
        run.wait_for_checkpoint()
        run.process.kill()
        assert run.end() == KILLED


@pytest.mark.slow
def test_torchrun_starts_a_run_and_shows_a_mistake_before_its_own_report(shared, tmp_path):
    argv = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "strf_cuda.train",
    ]
    done = subprocess.run([*argv, *shared], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and names(tmp_path / "runs") == ["demo-1"], done.stderr
    assert names(tmp_path / "runs/demo-1") == RUN_FILES and done.stdout.count("run folder: ") == 1
    done = subprocess.run([*argv, *shared, "--data.people=5"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    (sentence,) = last_words(done.stderr)
    assert "a batch of 5 people needs tracklets of at least 5 persons" in sentence
    assert done.stderr.index(sentence) < done.stderr.index("ChildFailedError")


# Mistakes


def test_too_few_gpus_are_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2, torch.device("cuda"))
    check_devices(4, torch.device("cpu"))
    with pytest.raises(InputError, match="4 processes on this machine need a GPU each, but torch finds 2"):
        check_devices(4, torch.device("cuda"))


def test_several_machines_need_a_place_to_meet(monkeypatch):
    for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="nodes is 2, so start the command on each of them with torchrun"):
        start("strf_cuda.train", None, 1, 2)
