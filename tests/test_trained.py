"""A trained model knows what it was trained for, and is told from others by its weights."""

import torch

from strf_cuda.checkpoints import model_of, read_checkpoint
from strf_cuda.trained import open_model
from untrained import write_checkpoint


def test_a_checkpoint_is_opened_with_its_run(tiny_checkpoint, tiny_walkers):
    trained = open_model(tiny_checkpoint)
    model, config = model_of(read_checkpoint(tiny_checkpoint), "")
    assert (trained.config, trained.source) == (config, str(tiny_checkpoint))
    assert config.data.root == str(tiny_walkers)
    clips = torch.randn(2, 3, 4, 32, 16)
    assert torch.equal(trained.model(clips), model(clips))


def test_the_fingerprint_is_that_of_the_features(tiny_checkpoint, tiny_baseline, tiny_run, tmp_path):
    trained = open_model(tiny_checkpoint)
    assert trained.fingerprint == open_model(tiny_checkpoint).fingerprint
    assert len(trained.fingerprint) == 64
    other = write_checkpoint(tmp_path / "other.ckpt", *tiny_run, "--model.width=16", seed=1)
    warmer = write_checkpoint(tmp_path / "warmer.ckpt", *tiny_run, "--model.width=16", "--model.temperature=5")
    same = write_checkpoint(tmp_path / "same.ckpt", *tiny_run, "--model.width=16", "--epochs=7")
    prints = [open_model(path).fingerprint for path in (tiny_checkpoint, tiny_baseline, other, warmer)]
    assert len(set(prints)) == 4
    assert open_model(same).fingerprint == trained.fingerprint
    with torch.no_grad():
        trained.model.classifier.bias.add_(1)
    assert open_model(same).fingerprint == type(trained)(trained.model, trained.config, "").fingerprint
