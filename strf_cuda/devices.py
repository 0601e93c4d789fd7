"""Which device and which arithmetic "auto" stands for, and how a device's memory is handled."""

import ctypes
import sys

import torch

from strf_cuda.errors import InputError

_HALF_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32": None}


def check_device(device: str) -> None:
    """Raises an `InputError` when a GPU is asked for and there is none."""
    if device == "gpu" and not torch.cuda.is_available():
        raise InputError(
            "device is gpu, but torch finds no GPU here; use --device cpu, or install a CUDA build of torch"
        )


def resolve_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu" or "gpu"; errors as `check_device`."""
    check_device(device)
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def keep_freed_memory(device: torch.device) -> None:
    """On the CPU, lets this process keep the memory that it frees, for its own next use.

    The C library returns large blocks to the system, which then clears every page of them anew: gigabytes in each step
    of training, a third of its time. The process then holds a fifth more at its peak, since pieces of all sizes are
    kept (docs/benchmarks.md). Without effect where the library is not glibc.
    """
    if device.type != "cpu" or sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        no_trimming, no_mapping = (-1, 2**31 - 1), (-4, 0)  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
        set_option(*no_trimming)
        set_option(*no_mapping)


def resolve_precision(precision: str, device: str) -> str:
    """What "auto" stands for: bf16-mixed on a GPU that has it, else 32.

    Raises:
        InputError: 16-mixed on a CPU, where losses of that type cannot be scaled.
    """
    on_gpu = resolve_device(device).type == "cuda"
    if precision == "16-mixed" and not on_gpu:
        raise InputError("precision is 16-mixed, which needs a GPU; use --precision=bf16-mixed or 32 on a CPU")
    if precision != "auto":
        return precision
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32"


def autocast_type(precision: str, device: str) -> torch.dtype | None:
    """The half type of a precision for autocast, or None; errors as `resolve_precision`."""
    return _HALF_TYPES[resolve_precision(precision, device)]
