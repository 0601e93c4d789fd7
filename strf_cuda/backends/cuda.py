"""What must be known of CUDA before the kernels are called: whether they run on a device, and whether TF32 is allowed.

torch.compile takes both answers as constants: the first never changes, and when the second one does, PyTorch's own
guard on these settings compiles again.
"""

import functools

import torch
from torch import Tensor

from strf_cuda.backends import indexing, library


def why_not(index: int | None = None) -> str | None:
    """None if the kernels run on that CUDA device, unless given the current one; otherwise one sentence."""
    return _why_not_here() or _why_not_on(torch.cuda.current_device() if index is None else index)


def too_large(x: Tensor, weight: Tensor) -> str | None:
    """None if the kernels take these sizes; otherwise the sentence of csrc/cuda/workspace.cu, whose rule this is."""
    _, channels, frames, height, width = x.shape
    paths, reduced, _ = weight.shape
    positions = height * width + 64
    sizes = {
        "a sample of x": channels * frames * positions,
        "a path of a sample, reduced channels * frames * positions,": 2 * (reduced * frames + 64) * positions,
        "weight": paths * reduced * channels,
    }
    return indexing.too_large(sizes, "CUDA")


def tf32_allowed() -> bool:
    """Whether PyTorch's own products of float32 matrices on CUDA may round their operands to TF32."""
    # The older settings, which this one includes, raise an error once both kinds were used.
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


# What torch.compiler.assume_constant_result does, which would import torch._dynamo, and that takes a second.
why_not._dynamo_marked_constant = tf32_allowed._dynamo_marked_constant = True


@functools.cache
def _why_not_here() -> str | None:
    if library.CUDA_REASON is not None:
        return library.CUDA_REASON
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} was built without CUDA; install one that was built for it"
    if torch.cuda.device_count() == 0:
        return "PyTorch finds no CUDA device here; nvidia-smi tells what the driver finds"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return f"PyTorch cannot use the CUDA device: {str(error).splitlines()[0]}"
    return None


@functools.cache
def _why_not_on(index: int) -> str | None:
    return library.cuda_code_runs(index)
