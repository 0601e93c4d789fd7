"""Runs the training command inside the test's own process, and puts faults into its steps."""

import os

import torch

from strf_cuda import engine, train
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


def from_step(monkeypatch, step, act):
    """Lets `act(module, loss)` give the loss from that step of a run on, counted from 0."""
    plain = engine.Training.training_step

    def training_step(self, batch, batch_index):
        loss = plain(self, batch, batch_index)
        return act(self, loss) if self.global_step >= step else loss

    monkeypatch.setattr(engine.Training, "training_step", training_step)
