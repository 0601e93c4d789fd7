"""Which block sizes, warps and stages each Triton kernel is launched with: a fixed table by arithmetic and size.

A kernel's blocks are chosen from sizes alone, so that the same problem gives the same bits on every run.
"""

from typing import NamedTuple

import triton

ONE_PASS = 512  # positions up to which a block makes a mask's rows in one pass


class Sizes(NamedTuple):
    """Sizes of a problem, see the kernels, and its arithmetic: "half", "tf32", "float32" or "float64"."""

    arithmetic: str
    C: int
    N: int
    Q: int
    E: int


def covering(length: int, most: int) -> int:
    """The smallest block that covers `length`, a power of 2 from 16 to `most`."""
    return min(max(16, triton.next_power_of_2(length)), most)


def blocks_for(kernel: str, sizes: Sizes) -> dict[str, int]:
    """The block sizes, num_warps and num_stages of a kernel."""
    return _TABLE[kernel](sizes)


def block_e(sizes: Sizes) -> int:
    """The block of T's rows that is contracted at a time."""
    return covering(sizes.E, 64)


def _wide(sizes):
    return sizes.arithmetic in ("float32", "float64")


def _reduce_channels(sizes):
    return dict(
        BLOCK_N=64,
        BLOCK_Q=covering(sizes.Q, 64),
        BLOCK_C=32,
        num_warps=4,
        num_stages=3,
    )


def _multiply(sizes):
    largest = 64 if _wide(sizes) else 128
    return dict(
        BLOCK_N=covering(sizes.N, largest),
        BLOCK_C=covering(sizes.C, largest),
        BLOCK_K=32,
        BLOCK_Q=covering(sizes.Q, 32),
        num_warps=4 if _wide(sizes) else 8,
        num_stages=3,
    )


def _multiply_transposed(sizes):
    largest = 64 if _wide(sizes) or sizes.N <= 128 else 128
    return dict(
        BLOCK_I=covering(sizes.N, largest),
        BLOCK_J=covering(sizes.N, largest),
        BLOCK_C=32,
        num_warps=8 if largest == 128 else 4,
        num_stages=3,
    )


def _weight_gradient(sizes):
    return dict(
        BLOCK_Q=covering(sizes.Q, 64),
        BLOCK_C=covering(sizes.C, 64),
        BLOCK_N=32,
        num_warps=4,
        num_stages=3,
    )


def _masks_and_statistics(sizes):
    return dict(BLOCK_J=16, BLOCK_I=covering(sizes.N, ONE_PASS), BLOCK_E=block_e(sizes), num_warps=4, num_stages=1)


def _strips(sizes):
    return dict(BLOCK_J=64, BLOCK_I=64, BLOCK_E=block_e(sizes), num_warps=4, num_stages=2)


def _pooled_gradient(sizes):
    return dict(_strips(sizes), BLOCK_OUT=covering(sizes.E, 64))


def _pool(sizes):
    return dict(BLOCK=1024, num_warps=8, num_stages=1)


_TABLE = {
    "reduce_channels": _reduce_channels,
    "pool": _pool,
    "masks_and_statistics": _masks_and_statistics,
    "statistics": _strips,
    "masks_of_statistics": _strips,
    "multiply": _multiply,
    "multiply_transposed": _multiply_transposed,
    "mask_averages": _strips,
    "pooled_gradient": _pooled_gradient,
    "pool_gradient": _pool,
    "weight_gradient": _weight_gradient,
}
