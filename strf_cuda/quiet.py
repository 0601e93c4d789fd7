"""Keeps Lightning's advertisements and repeated warnings out of a command's output."""

import logging
import warnings

_WARNINGS = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*treespec.*",
    ".*isinstance.*LeafSpec.*",
)


def quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message)
