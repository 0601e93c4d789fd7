"""Which block sizes, warps and stages each Triton kernel is launched with: a fixed table by arithmetic and size.

The blocks follow from sizes alone, so that a problem gives the same bits on every run. All of them fit into the 99 KB
of shared memory that small NVIDIA GPUs give a block, and into the 64 KB of AMD's; nothing is spilled.
"""

from typing import NamedTuple

import triton


class Sizes(NamedTuple):
    """Sizes of a problem, see the kernels.

    arithmetic: "half", "split" (half types with T in two parts), "tf32", "float32" or "float64".
    """

    arithmetic: str
    C: int
    N: int
    Q: int
    E: int


class Row(NamedTuple):
    """A kernel's largest blocks in the order of `_NAMES`, warps and stages.

    maxnreg is for NVIDIA's assembler, which otherwise likes to spill a few registers to fit one more block into a
    multiprocessor.
    """

    blocks: tuple[int, ...]
    warps: int
    stages: int
    maxnreg: int | None = None


# What is used instead of the table for these kernels and sizes, from a measurement on the GPU at hand.
TUNED: dict[tuple[str, Sizes], dict[str, int]] = {}

ONE_PASS = 512  # positions up to which a block makes a mask's rows in one pass
_ONE_PASS_FLOAT64 = 128
_BLOCK_E = {"half": 64, "split": 64, "tf32": 32, "float32": 32, "float64": 16}
_NAMES = {
    "reduce_channels": ("BLOCK_N", "BLOCK_Q", "BLOCK_C"),
    "pool": ("BLOCK",),
    "masks_and_statistics": ("BLOCK_J",),
    "statistics": ("BLOCK_J", "BLOCK_I"),
    "masks_of_statistics": ("BLOCK_J", "BLOCK_I"),
    "multiply": ("BLOCK_N", "BLOCK_C", "BLOCK_K", "BLOCK_Q"),
    "multiply_transposed": ("BLOCK_I", "BLOCK_J", "BLOCK_C"),
    "mask_averages": ("BLOCK_J", "BLOCK_I"),
    "pooled_gradient": ("BLOCK_J", "BLOCK_I", "BLOCK_OUT"),
    "pool_gradient": ("BLOCK",),
    "weight_gradient": ("BLOCK_Q", "BLOCK_C", "BLOCK_N"),
}
# Blocks that are made smaller where a size is.
_COVERING = {
    "reduce_channels": {"BLOCK_Q": "Q"},
    "multiply": {"BLOCK_N": "N", "BLOCK_C": "C", "BLOCK_Q": "Q"},
    "multiply_transposed": {"BLOCK_I": "N", "BLOCK_J": "N"},
    "pooled_gradient": {"BLOCK_OUT": "E"},
    "weight_gradient": {"BLOCK_Q": "Q", "BLOCK_C": "C"},
}
# "split" has the rows of "half" where there is none for it.
_TABLE = {
    "reduce_channels": {
        "half": Row((64, 64, 32), 4, 3, 168),
        "tf32": Row((64, 64, 32), 8, 2),
        "float32": Row((64, 64, 16), 4, 2, 168),
        "float64": Row((64, 32, 16), 8, 2, 255),
    },
    "pool": {
        "half": Row((1024,), 8, 1, 128),
        "tf32": Row((1024,), 8, 1, 128),
        "float32": Row((1024,), 8, 1, 128),
        "float64": Row((512,), 8, 1, 128),
    },
    "masks_and_statistics": {
        "half": Row((16,), 8, 1, 255),
        "tf32": Row((16,), 16, 1, 128),
        "float32": Row((16,), 8, 1, 255),
        "float64": Row((16,), 8, 1, 255),
    },
    "statistics": {
        "half": Row((64, 64), 4, 2, 255),
        "split": Row((64, 32), 4, 2, 255),
        "tf32": Row((64, 64), 8, 2, 255),
        "float32": Row((32, 32), 4, 2, 200),
        "float64": Row((32, 32), 8, 2, 255),
    },
    "masks_of_statistics": {
        "half": Row((64, 64), 4, 2),
        "split": Row((64, 32), 4, 2, 255),
        "tf32": Row((64, 32), 4, 2, 255),
        "float32": Row((64, 64), 8, 2, 255),
        "float64": Row((32, 32), 8, 2, 255),
    },
    "multiply": {
        "half": Row((128, 128, 64, 32), 8, 3),
        "tf32": Row((128, 128, 32, 32), 8, 3),
        "float32": Row((64, 64, 16, 16), 8, 3, 128),
        "float64": Row((32, 32, 16, 16), 8, 2, 255),
    },
    "multiply_transposed": {
        "half": Row((128, 128, 64), 8, 3, 255),
        "tf32": Row((128, 128, 32), 8, 3),
        "float32": Row((64, 64, 16), 8, 1, 255),
        "float64": Row((64, 64, 16), 8, 1),
    },
    "mask_averages": {
        "half": Row((64, 64), 4, 2, 255),
        "split": Row((64, 32), 4, 2),
        "tf32": Row((64, 32), 4, 2, 255),
        "float32": Row((32, 32), 4, 2, 168),
        "float64": Row((32, 32), 8, 2, 255),
    },
    "pooled_gradient": {
        "half": Row((64, 64, 64), 4, 2),
        "split": Row((64, 32, 64), 8, 2, 255),
        "tf32": Row((32, 32, 64), 4, 2, 255),
        "float32": Row((32, 32, 64), 8, 2),
        "float64": Row((32, 32, 16), 8, 1, 255),
    },
    "pool_gradient": {
        "half": Row((1024,), 8, 1, 128),
        "tf32": Row((1024,), 8, 1, 128),
        "float32": Row((1024,), 8, 1, 128),
        "float64": Row((1024,), 8, 1, 128),
    },
    "weight_gradient": {
        "half": Row((64, 64, 64), 4, 3),
        "tf32": Row((64, 64, 32), 4, 3, 255),
        "float32": Row((64, 64, 16), 8, 2, 255),
        "float64": Row((32, 32, 16), 4, 2, 255),
    },
}
# Up to so many positions other rows: smaller tiles, of which there are more to occupy a GPU.
_FEW_POSITIONS = {"multiply": 64, "multiply_transposed": 128}
_FEW = {
    "multiply": {
        "half": Row((64, 64, 64, 32), 4, 3, 255),
        "tf32": Row((64, 64, 32, 32), 4, 3, 255),
    },
    "multiply_transposed": {
        "half": Row((64, 64, 64), 4, 3, 255),
        "tf32": Row((64, 64, 32), 4, 3),
    },
}


def blocks_for(kernel: str, sizes: Sizes) -> dict[str, int]:
    """The block sizes, num_warps, num_stages, and perhaps maxnreg, of a kernel."""
    if (tuned := TUNED.get((kernel, sizes))) is not None:
        return tuned
    rows = _TABLE[kernel]
    if _FEW_POSITIONS.get(kernel, 0) >= sizes.N:
        rows = rows | _FEW[kernel]
    row = rows.get(sizes.arithmetic, rows["half"])
    chosen = dict(zip(_NAMES[kernel], row.blocks, strict=True))
    for name, size in _COVERING.get(kernel, {}).items():
        chosen[name] = covering(getattr(sizes, size), chosen[name])
    if "BLOCK_J" in chosen and kernel != "multiply_transposed":
        chosen["BLOCK_E"] = block_e(sizes)
    if kernel == "masks_and_statistics":
        chosen["BLOCK_I"] = covering(sizes.N, ONE_PASS)
    chosen |= {"num_warps": row.warps, "num_stages": row.stages}
    return chosen if row.maxnreg is None else {**chosen, "maxnreg": row.maxnreg}


def one_pass(sizes: Sizes) -> bool:
    """Whether the forward pass makes masks and their statistics in one pass."""
    most = _ONE_PASS_FLOAT64 if sizes.arithmetic == "float64" else ONE_PASS
    return most >= sizes.N


def block_e(sizes: Sizes) -> int:
    """How many of T's rows are contracted at a time."""
    return covering(sizes.E, _BLOCK_E[sizes.arithmetic])


def covering(length: int, most: int) -> int:
    """The smallest block that covers `length`, a power of 2 from 16 to `most`."""
    return min(max(16, triton.next_power_of_2(length)), most)
