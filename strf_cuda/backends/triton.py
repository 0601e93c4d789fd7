"""The operator in Triton: where CUDA C++ was not built or does not run, and on AMD GPUs. Its kernels: triton_kernels/.

The operators `torch.ops.strf_cuda.triton_forward` and `triton_backward` have the schemas of the native ones, which keep
their names to themselves: the dispatcher has room for one kernel per operator and device. Triton is imported when the
first of them is called.

Where the environment says TRITON_INTERPRET=1, Triton runs kernels in Python on the CPU, very slowly, to look into them;
the backend then takes tensors on the CPU if it is asked for by name.
"""

import contextlib
import functools
import importlib.metadata
import os

import torch
from torch import Tensor

from strf_cuda.backends import indexing, library, native
from strf_cuda.backends.reference import is_channels_last
from strf_cuda.errors import InputError

OLDEST = (3, 6)
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")  # as Triton reads it


def why_not(index: int | None = None) -> str | None:
    """None if Triton runs on that GPU, unless given the current one; otherwise one sentence."""
    reason = _why_not_here()
    if reason is not None or INTERPRETED:
        return reason
    return _why_not_on(torch.cuda.current_device() if index is None else index)


def too_large(x: Tensor, weight: Tensor) -> str | None:
    """None if the kernels take these sizes; otherwise one sentence."""
    _, channels, frames, height, width = x.shape
    paths, reduced, _ = weight.shape
    positions = height * width
    sizes = {
        "a sample of x": channels * frames * positions,
        "a path of a sample, reduced channels * frames * positions,": 2 * (reduced * frames + 64) * positions,
        "the reduction of a sample": paths * reduced * frames * positions,
        "a mask, positions * positions,": positions * (positions + 16),
        "weight": paths * reduced * channels,
    }
    return indexing.too_large(sizes, "Triton")


# What torch.compiler.assume_constant_result does; see cuda.py.
why_not._dynamo_marked_constant = True


@functools.cache
def _why_not_here() -> str | None:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "Triton is not installed; pip install triton brings it on Linux"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"Triton {version} is installed, but {OLDEST[0]}.{OLDEST[1]} or newer is needed; pip install -U triton"
    if INTERPRETED:
        return None
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"PyTorch {torch.__version__} was built without CUDA or ROCm; install one that was built for the GPU here"
        )
    if torch.cuda.device_count() == 0:
        return "PyTorch finds no GPU here"
    return None


@functools.cache
def _why_not_on(index: int) -> str | None:
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip is None and properties.major < 8:
        found = f"{properties.name} has compute capability {properties.major}.{properties.minor}"
        return f"{found}, but Triton needs 8.0 or newer"
    return None


@functools.cache
def _multiplies_in_tf32(device: torch.device) -> bool:
    """Of AMD's GPUs some have no such products; exact ones are made there."""
    if torch.version.hip is None:
        return True
    return torch.cuda.get_device_properties(device).gcnArchName.startswith("gfx942")


def launches(x: Tensor, weight: Tensor, windows, kinds, temperature: float, tf32: bool, cosine: bool):
    """The `Launches` of a call with these arguments of the operators."""
    from strf_cuda.backends.triton_kernels.launches import Launches  # imports triton

    tf32 = tf32 and x.dtype == torch.float32 and _multiplies_in_tf32(x.device)
    return Launches(_readable(x), weight.contiguous(), windows, kinds, temperature, tf32, cosine)


def _readable(x: Tensor) -> Tensor:
    """x itself if it is contiguous or channels-last, otherwise a copy that is contiguous."""
    return x if is_channels_last(x) else x.contiguous()


# The dispatcher leaves out a last argument that has its default value.
def _forward(x, weight, windows, kinds, temperature, tf32, cosine=False):
    _check(x, weight, windows, kinds, temperature, cosine)
    with current(x):
        return launches(x, weight, windows, kinds, temperature, tf32, cosine).forward()


def _backward(grad, x, weight, maximum, normalizer, windows, kinds, temperature, tf32, cosine=False):
    _check(x, weight, windows, kinds, temperature, cosine)
    grad_fits = grad.shape == x.shape and _is_beside(grad, x)
    _require(grad_fits, f"grad is {_told(grad)}, but it must be as x is: {_told(x)}")
    sizes = [x.shape[0], weight.shape[0], x.shape[3] * x.shape[4]]
    wide = torch.promote_types(x.dtype, torch.float32)
    for name, statistic in (("maximum", maximum), ("normalizer", normalizer)):
        fits = list(statistic.shape) == sizes and statistic.dtype == wide and statistic.device == x.device
        _require(fits, f"{name} is {_told(statistic)}, but it must be {sizes} as the forward operator returned it")
    with current(x):
        passes = launches(x, weight, windows, kinds, temperature, tf32, cosine)
        return passes.backward(_readable(grad), maximum.contiguous(), normalizer.contiguous())


def current(x: Tensor):
    """A context in which x's device is the current one, on which Triton launches kernels."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _check(x, weight, windows, kinds, temperature, cosine) -> None:
    """What would make kernels read beyond their input; `factorized_attention` has checked the rest."""
    reason = (
        why_not(x.device.index) if x.is_cuda or INTERPRETED else f"Triton takes tensors on a GPU, not on {x.device}"
    )
    _require(reason is None, f"the triton operators are not usable here: {reason}")
    _require(x.dim() == 5, f"x has {x.dim()} dimensions, but it must have 5: [batch, channels, frames, height, width]")
    fits = weight.dim() == 3 and weight.shape[2] == x.shape[1] and 1 <= weight.shape[0] <= 4 and _is_beside(weight, x)
    _require(fits, f"weight is {_told(weight)}, but it must be [1 to 4 paths, reduced channels, {x.shape[1]}] as x is")
    paths = weight.shape[0]
    _require(
        len(kinds) == paths and len(windows) == 3 * paths and all(size > 0 and size % 2 for size in windows),
        f"windows are {list(windows)} and kinds {list(kinds)}, but there must be three odd sizes and one kind per path",
    )
    _require(set(kinds) <= {0, 1}, f"kinds are {list(kinds)}, but each must be 0 (max) or 1 (average)")
    _require(
        not cosine or temperature > 0,
        f"temperature is {temperature}, but for similarity cosine it must be above 0",
    )
    reason = too_large(x, weight)
    _require(reason is None, reason)


def _is_beside(tensor: Tensor, x: Tensor) -> bool:
    return tensor.dtype == x.dtype and tensor.device == x.device


def _told(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype} on {tensor.device}"


def _require(condition: bool, otherwise: str | None) -> None:
    if not condition:
        raise InputError(otherwise)


def _define() -> native.Operators:
    for name, function in (("forward", _forward), ("backward", _backward)):
        library.LIBRARY.define(f"triton_{name}{library.SCHEMAS[name]}")
        for key in ("CUDA", "CPU"):
            library.LIBRARY.impl(f"triton_{name}", function, key)
    ops = torch.ops.strf_cuda
    return native.register(native.Operators(ops.triton_forward.default, ops.triton_backward.default), library.LIBRARY)


OPERATORS = _define()
