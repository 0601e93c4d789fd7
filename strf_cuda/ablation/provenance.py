"""Where figures come from: the command, the date, the device, the versions, the data set."""

import datetime
import os
import platform
from collections.abc import Sequence
from typing import Any

from strf_cuda import __version__
from strf_cuda.ablation.running import in_shell, training_options
from strf_cuda.config import TrainConfig
from strf_cuda.machine import processor, version_of

PACKAGES = ("torch", "lightning", "numpy", "pillow")


def provenance(module: str, words: Sequence[str], base: TrainConfig) -> dict[str, Any]:
    """What every result file says of itself.

    Args:
        module: the command's name.
        words: its options.
        base: what all its runs share.
    """
    return {
        "command": in_shell(module, words),
        "date": datetime.date.today().isoformat(),
        "device": device(base.device),
        "versions": {
            "strf_cuda": __version__,
            "python": platform.python_version(),
            **{package: version_of(package) for package in PACKAGES},
        },
        "data": base.data.name,
        "options": {name: value for name, value in training_options(base).items() if name != "data.root"},
    }


def device(name: str) -> str:
    """What runs with this `device` option compute on, in words."""
    import torch

    if name != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {os.cpu_count()} cores"


def in_words(facts: dict[str, Any]) -> str:
    """The same as a paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"`{facts['command']}`, {facts['date']}, on {facts['device']}; {versions}."
