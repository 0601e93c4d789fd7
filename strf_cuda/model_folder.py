"""A trained model as a folder that can be given away, and read without trusting whoever made it.

config.json         the configuration of the run, how long it trained, its figures, the model's fingerprint
model.safetensors   the weights
README.md           the model card, for people

What belongs to the machine that trained is not in it: data.root and out are null, and of model.weights there is the
name.
"""

import dataclasses
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

import strf_cuda
from strf_cuda.checkpoints import check_architecture, model_from_config
from strf_cuda.cli import from_dict, to_dict
from strf_cuda.config import TrainConfig
from strf_cuda.contents import in_its_place, read_json
from strf_cuda.errors import InputError
from strf_cuda.files import write_json
from strf_cuda.models import VideoResNet

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
NEEDED = (CONFIG, WEIGHTS)  # to compute with it
LIBRARY, FORMAT = "strf_cuda", 1
_KEYS = {"people", "fingerprint", "config", "record"}


@dataclass(frozen=True)
class FolderModel:
    """What a folder holds: the model in eval mode, its configuration, its record and the fingerprint it should have."""

    model: VideoResNet
    config: TrainConfig
    record: dict[str, Any]
    fingerprint: str


def portable(config: TrainConfig) -> TrainConfig:
    """The configuration without paths of the machine."""
    weights = config.model.weights
    return dataclasses.replace(
        config,
        out=None,
        resume=False,
        data=dataclasses.replace(config.data, root=None),
        model=dataclasses.replace(config.model, weights=None if weights is None else Path(weights).name),
    )


def write_folder(
    folder: Path, model: VideoResNet, config: TrainConfig, record: dict[str, Any], fingerprint: str, card: str
) -> None:
    """Writes the three files into a folder that exists; `config` is a `portable` one."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS, {"format": "pt", "fingerprint": fingerprint})  # other readers look for "pt"
    description = {
        "library": LIBRARY,
        "format": FORMAT,
        "fingerprint": fingerprint,
        "people": model.classifier.out_features,
        "config": to_dict(config),
        "record": record,
        "versions": {LIBRARY: strf_cuda.__version__, "torch": version("torch")},
    }
    write_json(folder / CONFIG, description)
    (folder / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")  # it names files


def read_folder(folder: Path, source: str) -> FolderModel:
    """Reads a model, weights from safetensors only.

    Args:
        source: what the user calls it, for error messages.

    Raises:
        InputError: a file is missing or damaged, describes something else, or is of a newer format; or the weights are
            not those of the configuration's model.
    """
    description = _read_description(folder, source)
    config = from_dict(TrainConfig, description["config"], f"{source}/{CONFIG}")
    state = _read_weights(folder, source)
    try:
        with torch.device("meta"):  # no size that a file claims is allocated before its weights have it
            model = model_from_config(config.model, description["people"])
    except TypeError as error:
        raise InputError(f"{source}/{CONFIG} describes no model: {error}") from None
    check_architecture(model, state, f"{source}/{WEIGHTS}")
    model.to_empty(device="cpu").load_state_dict(state)
    return FolderModel(model.eval(), config, description["record"], description["fingerprint"])


def _read_description(folder: Path, source: str) -> dict[str, Any]:
    try:
        description = read_json(folder / CONFIG)
    except FileNotFoundError:
        checkpoints = [name for name in ("best.ckpt", "last.ckpt") if (folder / name).exists()]
        advice = f"; give one of its checkpoints, {source}/{checkpoints[0]}" if checkpoints else ""
        raise InputError(f"{source} holds no model: it has no {CONFIG}{advice}") from None
    except OSError as error:
        raise InputError(f"cannot read {source}/{CONFIG}: {error.strerror}") from None
    except ValueError as error:  # damaged JSON or UTF-8
        raise InputError(f"{source}/{CONFIG} is damaged: {error}") from None
    if not isinstance(description, dict) or description.get("library") != LIBRARY:
        raise InputError(f"{source} is a model of another library: its {CONFIG} does not name {LIBRARY}")
    if description.get("format") != FORMAT:
        raise InputError(
            f"{source} has format {description.get('format')}, but strf_cuda {strf_cuda.__version__} reads format "
            f"{FORMAT}: install a newer version"
        )
    if missing := sorted(_KEYS - set(description)):
        raise InputError(f"{source}/{CONFIG} is damaged: it lacks {', '.join(missing)}")
    return description


def _read_weights(folder: Path, source: str) -> dict[str, torch.Tensor]:
    try:
        return load((folder / WEIGHTS).read_bytes())  # load_file takes UTF-8 paths alone
    except FileNotFoundError:
        raise InputError(f"{source} lacks its weights, {WEIGHTS}") from None
    except (OSError, SafetensorError) as error:
        found = in_its_place(folder / WEIGHTS, or_text=True)
        raise InputError(f"{source}/{WEIGHTS} is {found or f'damaged: {error}'}") from None
