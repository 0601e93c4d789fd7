"""`python -m strf_cuda.train` when something goes wrong on the way: damaged frames, Ctrl-C, a full disk."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from running import RUN_FILES, command, names, same_weights
from strf_cuda import callbacks, engine, files
from strf_cuda.callbacks import EvaluateAndSave
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.data import MARS, loader


@pytest.fixture
def damaged(tiny_walkers, tmp_path):
    """A copy of the walkers, in which one frame of every third training tracklet is cut; and these frames."""
    root = shutil.copytree(tiny_walkers, tmp_path / "damaged")
    frames = [tracklet.paths[2] for tracklet in MARS(root).train[::3]]
    for frame in frames:
        os.truncate(frame, 300)
    return root, frames


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_frame_ends_training_with_its_path(fails, damaged, workers):
    root, frames = damaged
    sentence = fails(f"--data.root={root}", f"--data.workers={workers}")
    assert any(f"frame {frame} is damaged" in sentence for frame in frames)


def test_damaged_frames_are_skipped_by_choice_with_a_warning_for_each(options, damaged, folder, capsys):
    root, frames = damaged
    assert command(*options, f"--data.root={root}", "--data.on_corrupt=skip", "--epochs=2") == 0
    lines = capsys.readouterr().err.splitlines()
    warned = [frame for frame in frames if sum(frame in line for line in lines) == 1]
    assert len(lines) == len(warned) > 2
    assert all(line.startswith("warning: frame ") and line.endswith("was drawn)") for line in lines)
    assert names(folder) == RUN_FILES


def test_a_run_that_met_a_damaged_frame_late_can_go_on_skipping(options, damaged, folder, capsys):
    root, frames = damaged
    pristine = {frame: Path(frame).read_bytes() for frame in frames}
    for frame in frames:
        shutil.copy(Path(frame).parent / Path(frame).name.replace("F003", "F002"), frame)
    assert command(*options, f"--data.root={root}", "--epochs=1") == 0
    for frame, cut in pristine.items():
        Path(frame).write_bytes(cut)
    assert command("--resume", f"--out={folder}", "--epochs=3") == 2
    assert command("--resume", f"--out={folder}", "--epochs=3", "--data.on_corrupt=skip") == 0
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 2


def test_a_missing_frame_is_named_before_training(fails, tiny_walkers, tmp_path, folder):
    root = shutil.copytree(tiny_walkers, tmp_path / "copy")
    frame = Path(MARS(root).query[0].paths[0])
    frame.unlink()
    assert frame.name in fails(f"--data.root={root}") and not folder.exists()


def test_a_damaged_query_frame_is_named(fails, tiny_walkers, tmp_path):
    root = shutil.copytree(tiny_walkers, tmp_path / "copy")
    frame = MARS(root).query[0].paths[1]
    os.truncate(frame, 300)
    assert f"frame {frame} is damaged" in fails(f"--data.root={root}", "--epochs=1")


def test_a_run_that_failed_before_its_first_checkpoint_can_be_started_again(options, damaged, folder, capsys):
    root, _ = damaged
    assert command(*options, f"--data.root={root}") == 2
    assert names(folder) == ["tensorboard"]
    assert command(*options, f"--data.root={root}", "--data.on_corrupt=skip", "--epochs=1") == 0


def at_the_end_of_epoch(monkeypatch, number, act):
    """Lets `act` happen once the checkpoint of that epoch is written."""
    plain = EvaluateAndSave.on_train_epoch_end

    def on_train_epoch_end(self, trainer, module):
        plain(self, trainer, module)
        if trainer.current_epoch + 1 == number:
            act()

    monkeypatch.setattr(EvaluateAndSave, "on_train_epoch_end", on_train_epoch_end)


def advice(folder):
    return f"The finished epochs are saved; continue with python -m strf_cuda.train --resume --out {folder}"


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_that_disappear_during_training_are_named_and_may_be_skipped(
    fails, tiny_walkers, tmp_path, folder, monkeypatch, capsys, workers
):
    root = shutil.copytree(tiny_walkers, tmp_path / "copy")
    frames = [path for tracklet in MARS(root).train for path in tracklet.paths[2:6]]
    with monkeypatch.context() as patch:
        at_the_end_of_epoch(patch, 1, lambda: [os.unlink(frame) for frame in frames])
        sentence = fails(f"--data.root={root}", f"--data.workers={workers}")
    (frame,) = [frame for frame in frames if f"frame {frame} " in sentence]
    assert sentence == (
        f"frame {frame} cannot be read: No such file or directory; with data.on_corrupt skip, another frame of its "
        f"tracklet is drawn instead. {advice(folder)}"
    )
    with monkeypatch.context() as patch:  # a data set is looked through when it is opened
        patch.setattr("strf_cuda.data.mars.missing_files", lambda *args: [])
        assert command("--resume", f"--out={folder}", "--data.on_corrupt=skip") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: frame ")]
    assert len(warnings) > 3 and read_checkpoint(folder / "last.ckpt")["epoch"] == 2


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_a_data_set_that_disappears_during_training_is_named(
    fails, tiny_walkers, tmp_path, folder, monkeypatch, on_corrupt
):
    """As a network drive does."""
    root = shutil.copytree(tiny_walkers, tmp_path / "drive" / "copy")
    with monkeypatch.context() as patch:
        at_the_end_of_epoch(patch, 1, lambda: (tmp_path / "drive").rename(tmp_path / "gone"))
        sentence = fails(f"--data.root={root}", f"--data.on_corrupt={on_corrupt}")
    assert f"No such file or directory; the folder {tmp_path}/drive is missing" in sentence
    assert sentence.endswith(advice(folder))
    (tmp_path / "gone").rename(tmp_path / "drive")
    assert command("--resume", f"--out={folder}") == 0


# Processes that read frames


def test_a_mistake_in_a_worker_keeps_its_traceback_and_names_the_finished_epochs(options, folder, monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError("a mistake of the program")

    at_the_end_of_epoch(monkeypatch, 1, lambda: monkeypatch.setattr(loader, "read_frame", fail))
    with pytest.raises(ZeroDivisionError, match="a mistake of the program") as error:
        command(*options, "--data.workers=2")
    assert "in _draw_clip" in str(error.value)
    assert [note.lower() for note in error.value.__notes__] == [advice(folder).lower()]
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


# Interruptions and the disk


def interrupt_at(monkeypatch, step, act):
    plain = engine.Training.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == step:
            act()
        return plain(self, batch, batch_index)

    monkeypatch.setattr(engine.Training, "training_step", training_step)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def press_ctrl_c_in_a_destructor():
    class Loader:
        def __del__(self):
            press_ctrl_c()

    Loader()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("act", [press_ctrl_c, press_ctrl_c_in_a_destructor, terminate])
def test_an_interrupted_run_says_how_to_go_on(options, folder, monkeypatch, capsys, act):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8, act)
        assert command(*options) == 130
    captured = capsys.readouterr()
    advice = f"the finished epochs are saved; continue with python -m strf_cuda.train --resume --out {folder}"
    assert captured.err.splitlines() == [advice, "interrupted"]
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0
    assert signal.getsignal(signal.SIGINT) == before
    assert command("--resume", f"--out={folder}") == 0
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 2 and names(folder) == RUN_FILES


@pytest.mark.parametrize("more", [[], ["--optimizer.ema=0.9"]], ids=["of the weights", "of their average"])
def test_ctrl_c_also_ends_an_evaluation(options, folder, monkeypatch, more):
    plain = callbacks.evaluate_run

    def pressed(module, dataset):
        if module.current_epoch == 1:
            press_ctrl_c()
        return plain(module, dataset)

    monkeypatch.setattr(callbacks, "evaluate_run", pressed)
    assert command(*options, *more) == 130
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


def test_ctrl_c_pressed_twice_does_not_wait_for_the_next_batch(options, monkeypatch):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()
        pytest.fail("the second one should have ended it")

    interrupt_at(monkeypatch, 8, press_twice)
    assert command(*options) == 130


def test_a_run_interrupted_in_its_first_epoch_leaves_its_folder_free(options, folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, press_ctrl_c)
        assert command(*options) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert command(*options, "--epochs=1", "--model.width=32") == 0


def test_ctrl_c_ends_all_processes_and_the_run_can_be_resumed(options, folder):
    """For real: the signal goes to the whole process group, as a terminal sends it."""
    argv = [sys.executable, "-m", "strf_cuda.train", *options, "--data.workers=2", "--epochs=999"]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
        time.sleep(0.1)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    finished = read_checkpoint(folder / "last.ckpt")["epoch"] + 1
    assert command("--resume", f"--out={folder}", f"--epochs={finished + 1}", "--data.workers=0") == 0


def test_a_full_disk_ends_the_run_in_one_sentence_and_keeps_the_last_checkpoint(
    options, folder, fails, monkeypatch, capsys
):
    plain, written = torch.save, []

    def fill(checkpoint, path):
        written.append(path)
        if len(written) > 2:
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
        plain(checkpoint, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill)
        sentence = fails()
    assert sentence.startswith(f"cannot write {folder}/") and "MB are left on its disk" in sentence
    assert names(folder) == ["best.ckpt", "config.yaml", "last.ckpt", "tensorboard"]
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0
    assert command("--resume", f"--out={folder}") == 0


@contextlib.contextmanager
def files_of_at_most(size):
    """The kernel refuses to write a longer file, as it does when the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_the_system_refuses_leaves_the_one_before(fails, folder, monkeypatch, whole_run):
    with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
        at_the_end_of_epoch(patch, 1, lambda: stack.enter_context(files_of_at_most(1_000_000)))
        sentence = fails()
    assert sentence.startswith(f"cannot write {folder}/") and sentence.endswith(advice(folder))
    assert names(folder) == ["best.ckpt", "config.yaml", "last.ckpt", "tensorboard"]
    assert [read_checkpoint(folder / name)["epoch"] for name in ("last.ckpt", "best.ckpt")] == [0, 0]
    assert command("--resume", f"--out={folder}") == 0 and same_weights(folder, whole_run)


def test_curves_that_the_system_refuses_leave_the_checkpoints(fails, folder, monkeypatch):
    def fill():
        (events,) = (folder / "tensorboard").glob("events*")
        stack.enter_context(files_of_at_most(events.stat().st_size + 10))

    with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
        interrupt_at(patch, 8, fill)
        sentence = fails()
    assert sentence == f"cannot write the curves in {folder}/tensorboard: File too large. {advice(folder)}"
    assert command("--resume", f"--out={folder}") == 0 and names(folder) == RUN_FILES


def test_a_configuration_that_the_system_refuses_leaves_the_folder_free(options, folder, capsys):
    with files_of_at_most(500):
        assert command(*options) == 2
    assert capsys.readouterr().err == f"error: cannot write {folder}/config.yaml: File too large\n"
    assert names(folder) == [] and command(*options, "--epochs=1") == 0


def test_figures_that_the_system_refuses_are_written_by_resuming(options, folder, monkeypatch, capsys):
    plain = files.write_json

    def write_json(path, content):
        with files_of_at_most(300):
            plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", write_json)
        assert command(*options) == 2
    assert capsys.readouterr().err == f"error: cannot write {folder}/metrics.json: File too large\n"
    assert names(folder) == [name for name in RUN_FILES if name != "metrics.json"]
    assert command("--resume", f"--out={folder}") == 0 and names(folder) == RUN_FILES


def test_other_errors_keep_their_traceback_and_name_the_finished_epochs(options, folder, monkeypatch):
    interrupt_at(monkeypatch, 8, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as error:
        command(*options)
    assert [note.lower() for note in error.value.__notes__] == [advice(folder).lower()]


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def closed_terminal():
    controller, terminal = os.openpty()
    os.close(controller)
    return terminal


@pytest.mark.parametrize("closed", [closed_pipe, closed_terminal])
def test_a_run_outlives_the_terminal_or_pipe_that_showed_it(options, folder, monkeypatch, closed):
    with open(closed(), "w") as out, open(closed(), "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert command(*options, "--epochs=1") == 0
        assert (sys.stdout, sys.stderr) == (out, err)
    assert names(folder) == RUN_FILES


def test_a_damaged_last_checkpoint_is_replaced_by_the_best_one(options, folder, whole_run, capsys):
    assert command(*options, "--epochs=1") == 0
    os.truncate(folder / "last.ckpt", 1000)
    assert command("--resume", f"--out={folder}", "--epochs=3") == 2
    assert "A copy of best.ckpt in its place continues the run" in capsys.readouterr().err
    shutil.copy(folder / "best.ckpt", folder / "last.ckpt")
    assert command("--resume", f"--out={folder}", "--epochs=3") == 0 and same_weights(folder, whole_run)


def test_two_runs_never_write_one_folder(options, folder, capsys):
    code = "import sys; from strf_cuda.files import claimed\nwith claimed(sys.argv[1]): print('claimed'); input()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "claimed\n"
        (folder / ".last-ab12.ckpt").write_bytes(b"the other one is writing it")
        assert command(*options) == 2
        assert capsys.readouterr().err.startswith(f"error: process {other.pid} on ")
        assert names(folder) == [".last-ab12.ckpt", ".lock"]
        other.communicate("\n")
    assert command(*options, "--epochs=1") == 0


def test_a_job_of_slurm_trains_by_the_given_options_alone(options, folder, monkeypatch, tmp_path):
    """Lightning neither requeues it nor reads, in place of a new run, the checkpoint that requeueing left."""
    for name, value in {"NTASKS": 4, "NTASKS_PER_NODE": 4, "JOB_ID": 17, "JOB_NAME": "train", "PROCID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"of something else")
    before, during = signal.getsignal(signal.SIGUSR1), []
    interrupt_at(monkeypatch, 2, lambda: during.append(signal.getsignal(signal.SIGUSR1)))
    assert command(*options, "--epochs=1") == 0 and names(folder) == RUN_FILES
    assert during == [before]


def test_resuming_removes_what_a_killed_write_left(options, folder):
    assert command(*options, "--epochs=1") == 0
    (folder / ".last-ab12.ckpt").write_bytes(b"half")
    assert command("--resume", f"--out={folder}", "--epochs=2") == 0
    assert names(folder) == RUN_FILES
