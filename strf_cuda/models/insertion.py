"""Puts units in front of convolutions of any model, without changing the model's code or the names of its weights."""

from collections.abc import Mapping

from torch import nn

from strf_cuda.errors import InputError, nearest


def insert_units(model: nn.Module, units: Mapping[str, nn.Module]) -> nn.Module:
    """Puts each unit in front of the named convolution: `conv(x)` becomes `conv(unit(x))`.

        insert_units(model, {"layer2.0.conv2": STRF(128), "layer3.0.conv2": STRF(256)})

    The unit becomes the convolution's submodule `unit`: it is trained, moved and saved with the model, and all other
    names in the state dict stay as they were, so weights saved without units load with `strict=False`.

    Args:
        model: any model whose named layers see [B, C, T, H, W]; changed in place.
        units: a module for each dotted name, as `model.named_modules()` gives it.

    Returns:
        `model`.

    Raises:
        InputError: a name that is not in the model, not a convolution, already has a unit, or whose input channels
            are not the unit's. The model is then unchanged.
    """
    layers = dict(model.named_modules())
    for name, unit in units.items():
        if name not in layers:
            raise InputError(f"the model has no layer {name!r}{nearest(name, list(layers))}")
        conv = layers[name]
        if not hasattr(conv, "in_channels"):
            raise InputError(f"layer {name!r} is a {type(conv).__name__}, but a unit stands in front of a convolution")
        if hasattr(conv, "unit"):
            raise InputError(f"layer {name!r} already has a unit in front of it")
        if getattr(unit, "channels", conv.in_channels) != conv.in_channels:
            raise InputError(
                f"layer {name!r} takes {conv.in_channels} channels, but the unit for it has {unit.channels}"
            )
    for name, unit in units.items():
        layers[name].add_module("unit", unit)
        layers[name].register_forward_pre_hook(_apply_unit)
    return model


def _apply_unit(conv: nn.Module, inputs: tuple) -> tuple:
    return (conv.unit(inputs[0]), *inputs[1:])
