"""Checkpoints: whole or absent, safe to read, and the model they came from."""

import dataclasses
import os
import pickle

import pytest
import torch

from strf_cuda.checkpoints import AtomicCheckpointIO, model_from_config, read_checkpoint
from strf_cuda.cli import to_dict
from strf_cuda.config import ModelConfig, OptimizerConfig, TrainConfig
from strf_cuda.errors import InputError
from strf_cuda.trained import open_model
from test_contents import POINTER

SMALL = ModelConfig(width=16, depth=(1, 1, 1, 1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = model_from_config(SMALL, 5)
    for parameter in model.parameters():  # so that no part is at its starting value
        torch.nn.init.normal_(parameter, std=0.1)
    model(torch.randn(2, 3, 4, 32, 16))  # moves the running statistics
    return model.eval()


def checkpoint_of(model, config=SMALL):
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "config": to_dict(TrainConfig(model=config)),
        "person_ids": [2, 3, 5, 7, 11],
    }


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint_of(model), str(path))
    return path


def test_a_loaded_model_gives_the_same_features(model, saved):
    trained = open_model(saved)
    loaded, config = trained.model, trained.config
    clips = torch.randn(3, 3, 4, 32, 16)
    assert not loaded.training and config == TrainConfig(model=SMALL)
    with torch.no_grad():
        assert torch.equal(loaded(clips), model(clips))


@pytest.mark.parametrize("options", [{"unit": "none"}, {"kind": "i3d", "unit": "gram"}, {"paths": ("spatial_fine",)}])
def test_options_of_the_model_survive_saving(options, tmp_path):
    config = dataclasses.replace(SMALL, **options)
    model = model_from_config(config, 5)
    torch.save(checkpoint_of(model, config), tmp_path / "model.ckpt")
    trained = open_model(tmp_path / "model.ckpt")
    loaded = trained.model
    assert trained.config.model == config
    clips = torch.randn(2, 3, 4, 32, 16)
    with torch.no_grad():
        assert torch.equal(loaded(clips), model.eval()(clips))


def test_of_a_run_with_an_average_of_the_weights_the_average_is_loaded(model, tmp_path):
    checkpoint = checkpoint_of(model_from_config(SMALL, 5))
    checkpoint["state_dict"] |= {f"average.module.{name}": tensor for name, tensor in model.state_dict().items()}
    checkpoint["state_dict"]["average.n_averaged"] = torch.tensor(7)
    checkpoint["config"] = to_dict(TrainConfig(model=SMALL, optimizer=OptimizerConfig(ema=0.99)))
    torch.save(checkpoint, tmp_path / "model.ckpt")
    loaded = open_model(tmp_path / "model.ckpt").model
    clips = torch.randn(2, 3, 4, 32, 16)
    with torch.no_grad():
        assert torch.equal(loaded(clips), model(clips))


def test_a_write_that_fails_leaves_the_old_checkpoint_and_nothing_beside_it(saved, monkeypatch):
    before = saved.read_bytes()

    def half(checkpoint, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(InputError, match=r"^cannot write .*/model.ckpt: torch wrote a part of it, and [\d.,]+ MB are"):
        AtomicCheckpointIO().save_checkpoint({}, str(saved))
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["model.ckpt"]


class Code:
    """Unpickling it makes a file, as a malicious checkpoint would do worse."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("way", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(model, tmp_path, way):
    path, victim = tmp_path / "evil.ckpt", tmp_path / "executed"
    content = {**checkpoint_of(model), "extra": Code(victim)}
    if way == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content["extra"], protocol=2))
    with pytest.raises(InputError, match=r"evil.ckpt is no checkpoint, or holds other things than tensors and plain"):
        read_checkpoint(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if way == "torch" else pickle.loads(path.read_bytes())
    assert victim.exists(), "the file must be one that would have run"


def spoil(path, how):
    if how == "truncated":
        os.truncate(path, os.path.getsize(path) // 2)
    elif how == "its beginning":
        os.truncate(path, 5000)
    elif how == "nearly whole":
        os.truncate(path, os.path.getsize(path) - 100)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("10 pages that are no checkpoint")  # torch takes the first digit of text for an instruction
    elif how == "a state dict":
        torch.save({"conv1.weight": torch.zeros(3)}, path)
    elif how == "a tensor":
        torch.save(torch.zeros(3), path)
    elif how == "a pointer":
        path.write_bytes(POINTER)
    elif how == "missing":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("truncated", "the checkpoint {path} is damaged: "),
        ("its beginning", "the checkpoint {path} is damaged: "),
        ("nearly whole", "the checkpoint {path} is damaged: "),
        ("empty", "the checkpoint {path} is damaged: "),
        ("text", "{path} is no checkpoint but text, which begins with "),
        ("a pointer", "{path} is no checkpoint but a Git LFS pointer in place of the file: git lfs pull fetches it"),
        ("a state dict", "{path} is not a checkpoint of strf_cuda.train, which holds config, person_ids, state_dict"),
        ("a tensor", "{path} is not a checkpoint of strf_cuda.train"),
        ("missing", "there is no checkpoint {path}"),
        ("a folder", "{path} holds no model: it has no config.json"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_sentence(saved, how, sentence):
    spoil(saved, how)
    with pytest.raises(InputError) as error:
        open_model(saved)
    message = str(error.value)
    assert message.startswith(sentence.format(path=saved))
    assert "\n" not in message and "weights_only" not in message


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"unit": "none"}, "it has the weight layer2.0.temporal.unit.weight, which the model lacks"),
        ({"kind": "i3d"}, "its weight layer2.0.conv2.weight has shape (32, 32, 3, 3), the model's (32, 32, 3, 3, 3)"),
        ({"stages": (2, 3, 4)}, "it lacks the weight layer4.0.temporal.weight"),
        ({"depth": (1, 1, 2, 1)}, "it lacks the weight layer3.1.conv1.weight"),
        ({"width": 32}, "its weight conv1.weight has shape (16, 3, 7, 7), the model's (32, 3, 7, 7)"),
        ({"reduction": 8}, "its weight layer2.0.temporal.unit.weight has shape (4, 2, 32), the model's (4, 4, 32)"),
    ],
)
def test_weights_of_another_architecture_are_named(model, tmp_path, change, sentence):
    content = checkpoint_of(model, dataclasses.replace(SMALL, **change))
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(InputError) as error:
        open_model(tmp_path / "model.ckpt")
    assert str(error.value) == f"{tmp_path}/model.ckpt is of another architecture: {sentence}"


def test_a_configuration_with_an_unknown_key_is_named_with_its_file(model, tmp_path):
    content = checkpoint_of(model)
    content["config"]["model"]["widht"] = 3
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"unknown key model.widht in .*/model.ckpt; did you mean width\?"):
        open_model(tmp_path / "model.ckpt")


def test_a_worker_s_death_during_a_write_is_not_taken_for_a_full_disk(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(checkpoint, path):
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Terminated. ")

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        AtomicCheckpointIO().save_checkpoint({}, str(saved))
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["model.ckpt"]
