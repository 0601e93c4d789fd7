"""Puts units in front of convolutions of any model, without changing the model's code or the names of its weights."""

import functools
from collections.abc import Mapping

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from strf_cuda.errors import InputError, nearest


def insert_units(model: nn.Module, units: Mapping[str, nn.Module]) -> nn.Module:
    """Puts each unit in front of the named convolution: `conv(x)` becomes `conv(unit(x))`.

        insert_units(model, {"layer2.0.conv2": STRF(128), "layer3.0.conv2": STRF(256)})

    The unit becomes the convolution's submodule `unit`: it is trained, moved and saved with the model, and all other
    names in the state dict stay as they were, so weights saved without units load with `strict=False`. The convolution
    becomes an instance of a subclass of its class; its forward hooks see what goes into the unit. Parametrizations of
    its weight (`torch.nn.utils.parametrizations`) can be registered and removed before and after.

    Args:
        model: any model whose named layers see [B, C, T, H, W]; changed in place.
        units: a module for each dotted name, as `model.named_modules()` gives it.

    Returns:
        `model`.

    Raises:
        InputError: a name that is not in the model, not a convolution, lazy and not yet called, already has a unit, has
            a `forward` of its own instead of its class's, or whose input channels are not the unit's. The model is then
            unchanged.
    """
    layers = dict(model.named_modules())
    for name, unit in units.items():
        if name not in layers:
            raise InputError(f"the model has no layer {name!r}{nearest(name, list(layers))}")
        conv = layers[name]
        if not hasattr(conv, "in_channels"):
            raise InputError(f"layer {name!r} is a {type(conv).__name__}, but a unit stands in front of a convolution")
        if isinstance(conv, LazyModuleMixin):
            raise InputError(
                f"layer {name!r} is a {type(conv).__name__} that has seen no input yet: run the model once, then "
                "insert units"
            )
        if hasattr(conv, "unit"):
            raise InputError(f"layer {name!r} already has a unit in front of it")
        if "forward" in vars(conv):
            raise InputError(
                f"the forward of layer {name!r} was replaced, by a library that wraps layers perhaps: insert units "
                "before that"
            )
        if getattr(unit, "channels", conv.in_channels) != conv.in_channels:
            raise InputError(
                f"layer {name!r} takes {conv.in_channels} channels, but the unit for it has {unit.channels}"
            )
    for name, unit in units.items():
        layers[name].add_module("unit", unit)
        layers[name].__class__ = _class_with_unit(layers[name])
    return model


def _class_with_unit(conv: nn.Module) -> type[nn.Module]:
    kind = type(conv)
    if not parametrize.is_parametrized(conv):
        return _with_unit(kind)
    # Such a module's class holds what computes its weights, and when they are removed the module becomes its base: that
    # is what gets the unit. A class of its own, since copies of the module share the one that it has.
    (base,) = kind.__bases__
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type(kind.__name__, (_with_unit(base),), own)


@functools.cache
def _with_unit(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass of a convolution's class whose instances send their input through their submodule `unit`.

    A hook would do the same in plain Python. But torch.compile does not look at hooks when it asks whether code that it
    made for another model fits, and after a model without units would leave them out of the one that has them.
    """

    class WithUnit(kind):
        def forward(self, x, *args, **kwargs):
            return super().forward(self.unit(x), *args, **kwargs)

        def __reduce_ex__(self, protocol):  # copy and pickle find a class by its name, which this one shares
            if type(self) is not WithUnit:  # parametrized: only its state dict can be saved, as torch says
                return super().__reduce_ex__(protocol)
            return _empty, (kind,), self.__dict__

    WithUnit.__name__, WithUnit.__qualname__, WithUnit.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return WithUnit


def _empty(kind: type[nn.Module]) -> nn.Module:
    made = _with_unit(kind)
    return made.__new__(made)
