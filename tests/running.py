"""Runs the training command inside the test's own process."""

import os

import torch

from strf_cuda import train
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.cli import run

RUN_FILES = ["best.ckpt", "config.yaml", "last.ckpt", "metrics.json", "tensorboard"]


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: train.main([str(word) for word in argv]))


def names(folder):
    return sorted(os.listdir(folder))


def same_weights(folder, expected):
    """Whether the last checkpoint of a run holds these weights, to the bit."""
    state = read_checkpoint(folder / "last.ckpt")["state_dict"]
    return list(state) == list(expected) and all(torch.equal(state[name], expected[name]) for name in state)
