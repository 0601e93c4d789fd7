"""ImageNet weights of a ResNet in torchvision's names, from a file or, when asked, from the Hugging Face hub."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from strf_cuda.errors import InputError
from strf_cuda.models.blocks import Bottleneck, inflate_
from strf_cuda.models.resnet import VideoResNet

HUB_REPOSITORY, HUB_FILE = "timm/resnet50.tv_in1k", "model.safetensors"  # torchvision's ResNet-50, IMAGENET1K_V1
_CLASSIFIER = ("fc.weight", "fc.bias")


def load_imagenet_weights(model: VideoResNet, source: str) -> None:
    """Sets the 2D part of the model to the weights of an image ResNet; temporal layers keep the C2D function.

    Args:
        model: of any kind, with or without units.
        source: a state-dict file (.pth, .pt or .safetensors), or "imagenet" to download torchvision's ResNet-50
            weights from the Hugging Face hub.

    Raises:
        InputError: an unreadable file, and an unexpected, missing or misshapen entry, which is named. The file's
            ImageNet classifier (fc.weight, fc.bias) is left aside; nothing else is.
    """
    path = _download() if source == "imagenet" else source
    given = {name: tensor for name, tensor in read_state_dict(path).items() if name not in _CLASSIFIER}
    expected = _image_entries(model)
    _check_names(given, expected, path)
    temporal = {f"{name}.conv2.weight": block for name, block in _blocks(model).items() if block.kind == "i3d"}
    with torch.no_grad():
        for name, tensor in given.items():
            if name in temporal:
                inflate_(temporal[name].conv2, tensor)
            else:
                expected[name].copy_(tensor)
    for block in _blocks(model).values():
        block.reset_temporal_parameters()


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file by name; torch files are read with `weights_only`.

    Raises:
        InputError: the file is missing, damaged, or holds anything else than tensors by name.
    """
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no weights file {path}") from None
    except pickle.UnpicklingError:  # torch's own words recommend loading it unsafely
        raise InputError(f"the weights file {path} is damaged, or holds other things than tensors by name") from None
    except Exception as error:  # zip and safetensors faults have no common class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"cannot read the weights file {path}: {reason}") from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"the weights file {path} does not hold a state dict (tensors by name)")
    return dict(state)


def _blocks(model: VideoResNet) -> dict[str, Bottleneck]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Bottleneck)}


def _image_entries(model: VideoResNet) -> dict[str, Tensor]:
    """The entries of the model's state dict that an image ResNet of this depth and width has as well."""
    left_out = (".temporal.", ".unit.", ".appended.")
    heads = ("feature_norm.", "classifier.")
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(heads) and not any(part in name for part in left_out)
    }


def _check_names(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    if unexpected := sorted(set(given) - set(expected)):
        raise InputError(f"{path} has an unexpected entry {unexpected[0]}{_more(unexpected)}")
    missing = sorted(name for name in set(expected) - set(given) if not name.endswith("num_batches_tracked"))
    if missing:
        raise InputError(f"{path} lacks the entry {missing[0]}{_more(missing)}")
    for name, tensor in given.items():
        shape = tuple(expected[name].shape)
        image_shape = (*shape[:2], *shape[3:]) if len(shape) == 5 else shape
        if tuple(tensor.shape) != image_shape:
            raise InputError(f"{path} has {name} of shape {tuple(tensor.shape)}, but the model needs {image_shape}")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _download() -> str:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError("downloading weights needs huggingface_hub; install it or give a weights file") from None
    try:
        return hf_hub_download(HUB_REPOSITORY, HUB_FILE)
    except Exception as error:  # every kind of network fault
        raise InputError(
            f"cannot download {HUB_REPOSITORY} ({type(error).__name__}); give a ResNet-50 state-dict file instead"
        ) from None
