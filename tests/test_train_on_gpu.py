"""Training on GPUs: it learns and continues, stops at NaN without waiting for each step, and says when memory ends."""

import json
import math

import pytest
import torch

from running import RUN_FILES, command, from_step, names
from strf_cuda.checkpoints import read_checkpoint

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture
def full_gpu():
    """Leaves no more of the GPU's memory than what is held already and 16 MB."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties().total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**24) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_run_trains_evaluates_and_continues(options, folder, precision):
    on_gpu = [*options, "--device=gpu", f"--precision={precision}", "--optimizer.ema=0.9"]
    assert command(*on_gpu, "--epochs=2") == 0
    assert command("--resume", f"--out={folder}", "--epochs=3") == 0
    assert names(folder) == RUN_FILES and read_checkpoint(folder / "last.ckpt")["epoch"] == 2
    history = json.loads((folder / "metrics.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3] and all(0 < row["mAP"] <= 1 for row in history)


def test_a_loss_that_is_no_number_names_its_step_and_never_reaches_a_checkpoint(fails, folder, monkeypatch):
    """Others may have been launched before it arrived; the step, the batch and the checkpoint are the right ones."""
    from_step(monkeypatch, 8, lambda module, loss: loss * math.nan)
    sentence = fails("--device=gpu")
    assert sentence.startswith("the loss is nan in step 9 of the run, batch 3 of epoch 2, with the tracklets that ")
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 0


@pytest.mark.usefixtures("full_gpu")
def test_memory_that_does_not_suffice_is_one_sentence(fails):
    sentence = fails("--device=gpu", "--data.people=4", "--data.height=256", "--data.width=128", "--model.width=64")
    assert sentence.startswith("out of memory in step 1 of the run") and "--model.recompute" in sentence


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_train_like_one_with_synchronised_statistics(options, folder, tmp_path):
    """After one step: from there on Adam makes rounding grow."""
    shared = [*options, "--device=gpu", "--precision=32", "--batch_norm=synchronised", "--epochs=1"]
    shared += ["--data.people=4", "--data.clips=4"]
    assert command(*shared) == command(*shared, "--devices=2", f"--out={tmp_path}/two") == 0
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 1
    one, two = (read_checkpoint(path / "last.ckpt")["state_dict"] for path in (folder, tmp_path / "two"))
    for name in ("model.bn1.running_mean", "model.bn1.running_var"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)
