"""Which backend computes a call: where each one runs, and whose tensors it takes."""

from torch import Tensor

from strf_cuda.backends import NAMES, cuda, library, native, triton
from strf_cuda.errors import InputError, nearest

# The type of device whose tensors a backend takes, as torch and as people call it; the reference takes all.
DEVICES = {
    "cuda": ("cuda", "a CUDA device"),
    "cpu": ("cpu", "the CPU"),
    "triton": ("cpu", "the CPU, as TRITON_INTERPRET is set") if triton.INTERPRETED else ("cuda", "a GPU"),
}
OPERATORS = {"cuda": native.NATIVE, "cpu": native.NATIVE, "triton": triton.OPERATORS}
# What "auto" takes, the first that can: the interpreter of Triton is for looking into kernels.
AUTOMATIC = [name for name in DEVICES if not (name == "triton" and triton.INTERPRETED)]


def why_not(name: str, index: int | None = None) -> str | None:
    """None if the backend `name` runs here, on its device `index` if given; otherwise one sentence."""
    if name == "cpu":
        return library.REASON
    return {"cuda": cuda, "triton": triton}[name].why_not(index) if name != "reference" else None


def too_large(name: str, x: Tensor, weight: Tensor) -> str | None:
    """None if the backend `name` takes tensors of these sizes; otherwise one sentence."""
    return None if name == "cpu" else {"cuda": cuda, "triton": triton}[name].too_large(x, weight)


def operators(backend: str, x: Tensor, weight: Tensor) -> native.Operators | None:
    """The operators that `backend` stands for and x and weight are given to, None for the reference.

    Raises:
        InputError: no such backend, or one that does not run here or does not take x.
    """
    if backend == "reference":
        return None
    device = x.device
    if backend == "auto":
        for name in AUTOMATIC:
            runs = DEVICES[name][0] == device.type and why_not(name, device.index) is None
            if runs and too_large(name, x, weight) is None:
                return OPERATORS[name]
        return None
    if backend not in NAMES:
        raise InputError(f"backend is {backend!r}, but it must be auto, {', '.join(NAMES)}{nearest(backend, NAMES)}")
    kind, place = DEVICES[backend]
    served = kind == device.type
    if (reason := why_not(backend, device.index if served else None)) is not None:
        raise InputError(f"backend {backend} is not usable here: {reason}")
    if not served:
        raise InputError(
            f"backend {backend} takes tensors on {place}, but x is on {device}; move it or use backend auto"
        )
    if (reason := too_large(backend, x, weight)) is not None:
        raise InputError(f"{reason}; use backend auto")
    return OPERATORS[backend]
