"""Checkpoints: written whole or not at all, read without executing anything, and turned back into a model."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strf_cuda.cli import from_dict
from strf_cuda.config import ModelConfig, TrainConfig
from strf_cuda.contents import in_its_place
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.models import VideoResNet, create_model

# The places in the Lightning module of the model and of the average of its weights.
MODEL_PREFIX, AVERAGE_PREFIX = "model.", "average.module."


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their place and renamed into it, and read with `weights_only`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any | None = None) -> None:
        with replacing(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:
                if str(error).startswith("DataLoader worker"):  # raised by a signal, wherever the main process is
                    raise
                # torch does not pass on the system's reason for a failed write.
                free = shutil.disk_usage(temporary.parent).free / 1e6
                raise InputError(
                    f"cannot write {path}: torch wrote a part of it, and {free:,.1f} MB are left on its disk"
                ) from error

    def load_checkpoint(self, path: str, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of `strf_cuda.train` on the CPU.

    Raises:
        InputError: the file is missing, damaged, or not such a checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    except Exception as error:  # the faults of damaged archives have no common class, OSError is among them
        if found := in_its_place(path, or_text=True):
            raise InputError(f"{path} is no checkpoint but {found}") from None
        # Of what it will not read, torch says how to load it unsafely; of text, the number of its first letter.
        if isinstance(error, pickle.UnpicklingError) or not _begins_as_archive(path):
            sentence = f"{path} is no checkpoint, or holds other things than tensors and plain values"
            raise InputError(sentence) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"the checkpoint {path} is damaged: {reason}") from None
    if not isinstance(checkpoint, dict) or not {"config", "person_ids", "state_dict"} <= set(checkpoint):
        raise InputError(f"{path} is not a checkpoint of strf_cuda.train, which holds config, person_ids, state_dict")
    return checkpoint


def _begins_as_archive(path: str | Path) -> bool:
    """Whether a file may be what is left of one that torch wrote."""
    with open(path, "rb") as file:
        return file.read(2) in (b"", b"P", b"PK")


def model_from_config(config: ModelConfig, num_classes: int) -> VideoResNet:
    """The network that a configuration describes, freshly initialised."""
    options = {
        "reduction": config.reduction,
        "resolutions": config.resolutions,
        "pool": (config.temporal_pool, config.spatial_pool),
        "integration": config.integration,
        "paths": config.paths,
        "similarity": config.similarity,
        "temperature": config.temperature,
        "recompute": config.recompute,
    }
    return create_model(
        config.kind,
        num_classes,
        unit=None if config.unit == "none" else config.unit,
        stages=config.stages,
        placement=config.placement,
        width=config.width,
        depth=config.depth,
        unit_options=options,
    )


def model_of(checkpoint: dict[str, Any], source: str) -> tuple[VideoResNet, TrainConfig]:
    """The trained model of a checkpoint in eval mode, and the configuration it was trained with.

    Of a run with `optimizer.ema` it is the average of the weights, which is what the run has evaluated.

    Args:
        source: where the checkpoint was read from, for error messages.

    Raises:
        InputError: the configuration has other keys, or the weights are not those of its model.
    """
    config = from_dict(TrainConfig, checkpoint["config"], source)
    model = model_from_config(config.model, len(checkpoint["person_ids"]))
    prefix = AVERAGE_PREFIX if config.optimizer.ema else MODEL_PREFIX
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    check_architecture(model, state, source)
    model.load_state_dict(state)
    return model.eval(), config


def check_architecture(model: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Raises an `InputError` that names the first weight in which `state` and the model differ."""
    expected = model.state_dict()
    for name in [*expected, *state]:
        if name not in state:
            raise InputError(f"{source} is of another architecture: it lacks the weight {name}")
        if name not in expected:
            raise InputError(f"{source} is of another architecture: it has the weight {name}, which the model lacks")
        if state[name].shape != expected[name].shape:
            raise InputError(
                f"{source} is of another architecture: its weight {name} has shape {tuple(state[name].shape)}, "
                f"the model's {tuple(expected[name].shape)}"
            )
