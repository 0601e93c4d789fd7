"""Checkpoints of models that nobody trained, for the tests of what is done with a trained model."""

import torch

from strf_cuda import train
from strf_cuda.checkpoints import AtomicCheckpointIO, model_from_config
from strf_cuda.cli import load_config, to_dict
from strf_cuda.config import PRESETS, TrainConfig

PEOPLE = 4


def write_checkpoint(path, *options, seed=0):
    """A checkpoint of the run that these options of the training command describe; returns its path.

    All weights are random, and the statistics of BatchNorm are those of random clips, so that no part of the model is
    at its starting value and features differ between tracklets.
    """
    config = load_config(TrainConfig, [str(word) for word in options], prog=train.PROG, presets=PRESETS)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = model_from_config(config.model, PEOPLE)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    shape = (8, 3, config.data.frames, config.data.height, config.data.width)
    model.train()(torch.randn(shape, generator=generator))
    checkpoint = {
        "config": to_dict(config),
        "person_ids": list(range(1, PEOPLE + 1)),
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    AtomicCheckpointIO().save_checkpoint(checkpoint, str(path))
    return path
