"""Runs the training command inside the test's own process."""

import os

from strf_cuda import train
from strf_cuda.cli import run

RUN_FILES = ["best.ckpt", "config.yaml", "last.ckpt", "metrics.json", "tensorboard"]


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: train.main([str(word) for word in argv]))


def names(folder):
    return sorted(os.listdir(folder))
