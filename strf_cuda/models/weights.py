"""Weights to begin with: those of an image ResNet in torchvision's names, or of a trained model of this package."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from strf_cuda.contents import in_its_place
from strf_cuda.errors import InputError
from strf_cuda.models.blocks import Bottleneck, inflate_
from strf_cuda.models.resnet import VideoResNet
from strf_cuda.modules import STRF

HUB_REPOSITORY, HUB_FILE = "timm/resnet50.tv_in1k", "model.safetensors"  # torchvision's ResNet-50, IMAGENET1K_V1
_CLASSIFIER = ("fc.weight", "fc.bias")
# What else than the trunk a name in a state dict belongs to; the first mark that it holds counts.
_PARTS = {
    ".unit.": "unit",
    ".appended.": "non-local block",
    ".temporal.": "temporal convolution",
    "classifier.": "classifier",
}


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


def load_trained_weights(model: VideoResNet, trained: VideoResNet, source: str, *, same_people: bool) -> list[str]:
    """Sets what `model` has in common with a trained model to its weights; the rest stays as it is in a fresh model.

    A 3x3 convolution becomes the middle frame of a 3x3x3 one. A block of another kind takes neither the temporal
    convolution nor its unit, and a unit with other paths takes nothing, since these weights mean another thing there.

    Args:
        model: freshly made, of any kind, with or without units: its temporal convolutions then keep the C2D function.
        source: what the user calls the trained model, for notes and error messages.
        same_people: whether the classifier is for the same people in the same order.

    Returns:
        Sentences that say what was not loaded, on either side.

    Raises:
        InputError: another width or depth, or I3D weights for a model that has no place for their 3x3x3 convolutions.
    """
    if _size(trained) != _size(model):
        raise InputError(f"the weights of {source} have {_size(trained)}, but the model has {_size(model)}")
    given, expected = trained.state_dict(), model.state_dict()
    layers = dict(trained.named_modules())
    apart = [] if same_people else ["classifier."]
    inflated, differing = [], {}
    for name, layer in model.named_modules():
        other = layers.get(name)
        if isinstance(layer, Bottleneck) and layer.kind != other.kind:
            if other.kind == "i3d":
                raise InputError(
                    f"the weights of {source} have a 3x3x3 convolution in {name}, which the model, with {layer.kind} "
                    "there, has no place for: give model.kind i3d, or weights of another kind"
                )
            apart.append(f"{name}.temporal.")
            if layer.kind == "i3d":
                inflated.append(f"{name}.conv2.weight")
                inflate_(layer.conv2, other.conv2.weight)
        if isinstance(layer, STRF) and isinstance(other, STRF):
            if layer.paths != other.paths:
                apart.append(f"{name}.")
            else:
                differing |= _differing_options(layer, other)
    loaded = {
        name: tensor
        for name, tensor in given.items()
        if name in expected and tensor.shape == expected[name].shape and not name.startswith(tuple(apart))
    }
    model.load_state_dict(loaded, strict=False)

    notes = [f"the model begins with the weights of {source}"]
    if inflated:
        notes[0] += f", {_counted(len(inflated), '3x3 convolution')} as the middle frame of 3x3x3 ones"
    if new := _parts(set(expected) - set(loaded) - set(inflated)):
        notes.append(f"these weights lack what begins as in a fresh model: {new}")
    if left := _parts(set(given) - set(loaded) - set(inflated)):
        notes.append(f"these weights have what does not fit into the model and is left aside: {left}")
    if differing:
        before = ", ".join(f"{name} {value}" for name, value in differing.items())
        notes.append(f"the units of these weights were trained with other options: {before}")
    return notes


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file by name; torch files are read with `weights_only`.

    Raises:
        InputError: the file is missing, damaged, or holds anything else than tensors by name.
    """
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load

            return load(Path(path).read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no weights file {path}") from None
    except Exception as error:  # zip, pickle and safetensors faults have no common class
        if found := in_its_place(path, or_text=True):
            raise InputError(f"the weights file {path} is {found}") from None
        if isinstance(error, pickle.UnpicklingError):  # torch's own words recommend loading it unsafely
            sentence = f"the weights file {path} is damaged, or holds other things than tensors by name"
            raise InputError(sentence) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"cannot read the weights file {path}: {reason}") from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"the weights file {path} does not hold a state dict (tensors by name)")
    return dict(state)


def _size(model: VideoResNet) -> str:
    depth = [len(getattr(model, f"layer{stage}")) for stage in (1, 2, 3, 4)]
    return f"width {model.conv1.out_channels} and depth {depth}"


def _differing_options(unit: STRF, other: STRF) -> dict[str, object]:
    """The options that units of the same shape may differ in, as the other one has them."""
    names = ("resolutions", "pool", "integration", "similarity", "temperature")
    return {name: getattr(other, name) for name in names if getattr(other, name) != getattr(unit, name)}


def _parts(names: Iterable[str]) -> str:
    """Names of weights in words: so many units, so many temporal convolutions."""
    layers = {part: set() for part in _PARTS.values()}
    for name in names:
        mark = next(mark for mark in _PARTS if mark in name)
        layers[_PARTS[mark]].add(name.partition(mark)[0])
    return ", ".join(_counted(len(found), part) for part, found in layers.items() if found)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    if "feature_norm.weight" in given:
        raise InputError(f"{path} holds the weights of a trained model alone: give the folder that it lies in")
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
