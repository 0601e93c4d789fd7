"""What goes wrong in the middle of a run is told in one sentence, and the last good checkpoint stays."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from running import command, from_step, names, same_weights
from strf_cuda import callbacks, engine, faults
from strf_cuda import evaluate as evaluate_command
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.data import MARS
from strf_cuda.data.sampler import PersonClipSampler


def advice(folder):
    return f"The finished epochs are saved; continue with python -m strf_cuda.train --resume --out {folder}"


# Numbers


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_ends_the_run_before_the_next_checkpoint(
    fails, folder, monkeypatch, tiny_walkers, value
):
    """The sentence names the step, the batch and the checkpoint that is left."""
    from_step(monkeypatch, 8, lambda module, loss: loss + float(value))
    sentence = fails()
    assert sentence.startswith(
        f"the loss is {value} in step 9 of the run, batch 3 of epoch 2, with the tracklets that "
    )
    train = MARS(tiny_walkers).train
    batch = list(PersonClipSampler([tracklet.person_id for tracklet in train], 2, 2, seed=0, epoch=1))[2]
    for request in batch:
        tracklet = train[request.tracklet]
        assert (
            f"camera {tracklet.camera_id} {tracklet.paths[0].removeprefix(f'{tiny_walkers}/bbox_train/')}" in sentence
        )
        assert f"person {tracklet.person_id}: " in sentence
    assert "last.ckpt holds the state after epoch 1. A continued run would come to the same place" in sentence
    assert names(folder) == ["best.ckpt", "config.yaml", "last.ckpt", "tensorboard"]
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


def test_a_loss_that_is_no_number_in_the_first_epoch_leaves_the_folder_free(fails, folder, monkeypatch):
    from_step(monkeypatch, 0, lambda module, loss: loss * float("nan"))
    assert "step 1 of the run, batch 1 of epoch 1" in fails() and names(folder) == ["tensorboard"]


@pytest.mark.parametrize("place", ["weight", "running_var"])
def test_weights_that_are_no_numbers_never_reach_a_checkpoint(fails, folder, monkeypatch, place):
    """The last step of an epoch spoils them, so no loss shows it."""

    def spoil(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 12:
            getattr(module.model.bn1, place).data[3] = float("inf")

    monkeypatch.setattr(callbacks.RunProgress, "on_train_batch_end", spoil)
    sentence = f"weights are not finite numbers at the end of epoch 2: model.bn1.{place}; last.ckpt holds the state"
    assert fails().startswith(sentence)
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


def test_gradients_that_overflow_are_found_in_the_next_loss(fails, monkeypatch):
    """As a gradient too large for its type does, it makes a weight NaN, and with it the loss of the step behind."""
    plain = engine.Training.on_before_optimizer_step

    def overflow(self, optimizer):
        plain(self, optimizer)
        if self.global_step == 7:
            self.model.conv1.weight.grad[0, 0, 0] = float("inf")

    monkeypatch.setattr(engine.Training, "on_before_optimizer_step", overflow)
    assert fails().startswith("the loss is nan in step 9 of the run, batch 3 of epoch 2, ")


class SlowDevice:
    """Gives every loss to the CPU `delay` steps later, or when somebody waits for it."""

    def __init__(self, delay):
        self.delay, self.steps = delay, 0

    def to_cpu(self, loss):
        self.steps += 1
        due = self.steps + self.delay
        return loss, SimpleNamespace(query=lambda: self.steps >= due, synchronize=lambda: None)


@pytest.mark.parametrize("delay", [2, 100])
def test_a_loss_that_arrives_late_is_still_the_one_that_is_named(fails, folder, monkeypatch, delay):
    """As on a GPU, which no step waits for; the last checkpoint is from before in any case."""
    taken = []
    from_step(monkeypatch, 7, lambda module, loss: taken.append(module.global_step) or loss * float("nan"))
    monkeypatch.setattr(faults, "_to_cpu", SlowDevice(delay).to_cpu)
    assert fails().startswith("the loss is nan in step 8 of the run, batch 2 of epoch 2, ")
    assert taken[-1] == min(7 + delay, 11), "no step should have waited"
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


def test_large_numbers_are_finite():
    state = {"weight": torch.tensor([3e38, -3e38]), "steps": torch.tensor(2), "empty": torch.empty(0)}
    assert faults.not_finite(state) == []
    assert faults.not_finite({**state, "mean": torch.tensor([0.0, float("nan")])}) == ["mean"]


# Memory


def cpu_allocator():
    torch.empty(2**62, dtype=torch.uint8)


def numpy_array():
    np.empty((2**20, 2**30))


def gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 139.8 GiB. Including ...")


def fork():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (cpu_allocator, "can't allocate memory: you tried to allocate 4611686018427387904 bytes"),
        (numpy_array, "Unable to allocate 8.00 PiB for an array"),
        (gpu, "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 139.8 GiB; --model"),
        (fork, "[Errno 12] Cannot allocate memory"),
    ],
)
def test_a_step_without_memory_says_what_needs_less(fails, folder, monkeypatch, use, reason):
    from_step(monkeypatch, 8, lambda module, loss: use())
    sentence = fails()
    beginning = (
        "out of memory in step 9 of the run, in epoch 2, with batches of 2 people x 2 clips of 4 frames of 32x16 "
        f"pixels: {reason}"
    )
    assert sentence.startswith(beginning)
    assert "; --model.recompute needs less and gives the same weights, also in a continued run; " in sentence
    assert sentence.endswith(
        f"--precision=bf16-mixed and fewer --data.people need less, in a new run. {advice(folder)}"
    )


def test_a_run_continued_with_recomputed_units_ends_with_the_same_weights(options, folder, whole_run):
    assert command(*options, "--epochs=1") == 0
    assert command("--resume", f"--out={folder}", "--epochs=3", "--model.recompute") == 0
    assert same_weights(folder, whole_run)


def test_an_evaluation_without_memory_names_its_own_batch(fails, folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "evaluate", lambda *args, **options: cpu_allocator())
        sentence = fails("--evaluation.every=2")
    assert sentence.startswith("out of memory in the evaluation, with batches of 64 clips: can't allocate memory: you")
    remedy = "a smaller --evaluation.batch needs less, also in a continued run"
    assert sentence.endswith(f"; {remedy}. {advice(folder)}")
    assert command("--resume", f"--out={folder}", "--evaluation.batch=4") == 0

    monkeypatch.setattr("strf_cuda.evaluation.embed_tracklets", lambda *args, **options: cpu_allocator())
    capsys.readouterr()
    with pytest.raises(faults.InputError, match=r"with batches of 4 clips: .*; a smaller --batch needs less$"):
        evaluate_command.main([f"--checkpoint={folder}/last.ckpt", "--device=cpu"])
    remedy = "tracklets cut into clips of fewer frames, --frames=32 for example, or a larger --stride, need less"
    with pytest.raises(faults.InputError, match=f"with clips of whole tracklets: .*; {remedy}$"):
        evaluate_command.main([f"--checkpoint={folder}/last.ckpt", "--device=cpu", "--frames=all"])


def test_a_worker_that_died_in_the_evaluate_command_is_one_sentence_with_its_own_option(options, folder, monkeypatch):
    def die(clips):
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")

    assert command(*options, "--epochs=1") == 0
    monkeypatch.setattr("strf_cuda.embedding.normalise", die)
    sentence = r"^a process that reads frames ended: .* fewer --workers need less$"
    with pytest.raises(faults.WorkerDied, match=sentence):
        evaluate_command.main([f"--checkpoint={folder}/last.ckpt", "--device=cpu"])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "),
            "DataLoader worker (pid 4711) is ",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly"),
            "DataLoader worker (pid(s) 4711) exited ",
        ),
        (ConnectionResetError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer. Where "),
        (EOFError(), "it closed its connection. Where "),
    ],
)
def test_a_worker_that_died_is_recognised_wherever_the_loader_was(error, reason):
    """Besides DataLoader's own words: what its queues raise when it dies while they pass on a batch."""
    fault = faults.machine_fault(error, "step 3", "fewer people need less")
    assert isinstance(fault, faults.WorkerDied)
    assert str(fault).startswith(f"a process that reads frames ended: {reason}")


def test_memory_that_a_worker_lacks_is_not_taken_for_the_step_s():
    error = MemoryError("Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback ...")
    fault = faults.machine_fault(error, "step 3", "fewer people need less")
    assert str(fault) == "out of memory in a process that reads frames: fewer --data.workers need less"
