"""Which block sizes, warps and stages each Triton kernel is launched with: a fixed table by arithmetic and size.

The blocks follow from sizes alone, so that a problem gives the same bits on every run. All of them fit into the 99 KB of
shared memory that small NVIDIA GPUs give a block, and into the 64 KB of AMD's; nothing is spilled.
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


# What is used instead of the table for these kernels and sizes, from a measurement on the GPU at hand.
TUNED: dict[tuple[str, Sizes], dict[str, int]] = {}


def blocks_for(kernel: str, sizes: Sizes) -> dict[str, int]:
    """The block sizes, num_warps and num_stages of a kernel."""
    return TUNED.get((kernel, sizes)) or _TABLE[kernel](sizes)


def block_e(sizes: Sizes) -> int:
    """How many of T's rows are contracted at a time."""
    return covering(sizes.E, 64 if sizes.arithmetic == "half" else 32)


def covering(length: int, most: int) -> int:
    """The smallest block that covers `length`, a power of 2 from 16 to `most`."""
    return min(max(16, triton.next_power_of_2(length)), most)


def _by_arithmetic(sizes: Sizes, half, tf32, float32, float64):
    return {"half": half, "tf32": tf32, "float32": float32, "float64": float64}[sizes.arithmetic]


def _reduce_channels(sizes):
    block = _by_arithmetic(sizes, 64, 32, 32, 16)
    return dict(BLOCK_N=64, BLOCK_Q=covering(sizes.Q, 64), BLOCK_C=block, num_warps=4, num_stages=3)


def _multiply(sizes):
    side = _by_arithmetic(sizes, 128, 128, 64, 64)
    return dict(
        BLOCK_N=covering(sizes.N, side),
        BLOCK_C=covering(sizes.C, side),
        BLOCK_K=_by_arithmetic(sizes, 64, 32, 32, 16),
        BLOCK_Q=covering(sizes.Q, _by_arithmetic(sizes, 32, 32, 32, 16)),
        num_warps=8 if side == 128 else 4,
        num_stages=3,
    )


def _multiply_transposed(sizes):
    side = 64 if sizes.N <= 128 else _by_arithmetic(sizes, 128, 128, 64, 64)
    return dict(
        BLOCK_I=covering(sizes.N, side),
        BLOCK_J=covering(sizes.N, side),
        BLOCK_C=_by_arithmetic(sizes, 64, 32, 32, 16),
        num_warps=8 if side == 128 else 4,
        num_stages=3,
    )


def _weight_gradient(sizes):
    return dict(
        BLOCK_Q=covering(sizes.Q, 64),
        BLOCK_C=covering(sizes.C, 64),
        BLOCK_N=_by_arithmetic(sizes, 64, 32, 32, 16),
        num_warps=4,
        num_stages=3,
    )


def _masks_and_statistics(sizes):
    covered = covering(sizes.N, ONE_PASS)
    return dict(BLOCK_J=16, BLOCK_I=covered, BLOCK_E=block_e(sizes), num_warps=8, num_stages=1)


def _strips(sizes):
    side = _by_arithmetic(sizes, 64, 64, 64, 32)
    warps = _by_arithmetic(sizes, 4, 8, 8, 4)
    return dict(BLOCK_J=side, BLOCK_I=side, BLOCK_E=block_e(sizes), num_warps=warps, num_stages=2)


def _pooled_gradient(sizes):
    side = _by_arithmetic(sizes, 64, 64, 64, 32)
    return dict(
        BLOCK_J=side,
        BLOCK_I=side,
        BLOCK_E=block_e(sizes),
        BLOCK_OUT=covering(sizes.E, 64),
        num_warps=_by_arithmetic(sizes, 4, 8, 8, 4),
        num_stages=2,
    )


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
