"""Measures the Triton kernels' block sizes on the GPU at hand, when it is asked to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from strf_cuda.backends import triton
from strf_cuda.backends.reference import Pool
from strf_cuda.errors import InputError
from strf_cuda.functional import check_arguments, factorized_attention, operator_options
from strf_cuda.similarity import check_temperature


def tune_triton(
    x: Tensor,
    weight: Tensor,
    pools: Sequence[Pool],
    *,
    pool: str | Sequence[str] = "max",
    similarity: str = "cosine",
    temperature: float | None = None,
) -> dict[str, dict[str, int]]:
    """Looks for quicker block sizes of the "triton" backend than those of its table, for problems like this one.

    What is found holds for the rest of the process, for calls with the same channels, frames, positions, paths and type
    in any batch. Times of single kernels decide, forward and backward; every choice must compute what the table's does.
    It takes a minute or so, most of it compilation, which Triton keeps on disk. Results may differ in their last bits
    from those before.

    Args:
        x: as for `strf_cuda.factorized_attention`, like weight and the options; in the type that calls will have, and
            with a batch as large as theirs.

    Returns:
        Block sizes, num_warps and num_stages by kernel, where they are others than the table's.

    Raises:
        InputError: what `factorized_attention` raises for the backend "triton"; an empty batch; an output that is not
            finite; the interpreter.
    """
    x, weight = x.detach(), weight.detach()
    with torch.autocast("cuda", enabled=False):  # or types that differ would pass
        y = factorized_attention(
            x, weight, pools, pool=pool, similarity=similarity, temperature=temperature, backend="triton"
        )
    if x.shape[0] == 0:
        raise InputError("x has a batch of 0, but blocks are measured by computing; give a batch like those to come")
    if triton.INTERPRETED:
        raise InputError("TRITON_INTERPRET is set, and times of the interpreter mean nothing; unset it")
    if not y.isfinite().all():
        raise InputError("the output for x and weight is not finite, and results could not be compared; give others")
    from strf_cuda.backends.triton_kernels.tuning import median_time, tune  # imports triton

    options = operator_options(
        x, *check_arguments(x, weight, pools, pool), check_temperature(similarity, temperature), similarity
    )
    with triton.current(x):
        passes = triton.launches(x, weight, *options)
        grad = torch.empty_like(passes.x).normal_(generator=torch.Generator(x.device).manual_seed(0))
        return tune(passes, grad, median_time)
