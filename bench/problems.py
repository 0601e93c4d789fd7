"""The problems that the operator's benchmark solves: the paper's sizes, and sweeps over positions and channels."""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from strf_cuda.backends.reference import Pool
from strf_cuda.similarity import TEMPERATURES

POOLS: tuple[Pool, ...] = ((1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3))  # resolutions (1, 3), as in the paper
HALVES = {"parallel": ((0, 4),), "cascade": ((0, 2), (2, 4))}  # the paths of each call; temporal, then spatial
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
REDUCTION = 16
MOST_SETS = 8


@dataclass(frozen=True)
class Problem:
    """One set of sizes; x is [batch, channels, frames, height, width] and weight [4, channels/16, channels]."""

    name: str
    batch: int
    channels: int
    height: int
    width: int
    frames: int = 4
    integration: str = "parallel"
    layout: str = "contiguous"
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    tf32: bool = False  # products of float32 on a GPU in TF32
    similarity: str = "cosine"

    @property
    def positions(self) -> int:
        """N of the equations."""
        return self.height * self.width

    @property
    def reduced(self) -> int:
        """C/n: the channels of each path's reduction."""
        return self.channels // REDUCTION

    @property
    def arithmetic(self) -> str:
        """The type, or "tf32" where float32 is multiplied so."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    @contextmanager
    def settings(self):
        """What PyTorch must be told for this arithmetic, for products and for cuDNN's convolutions."""
        products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        # The older settings: torch.compile reads them, and refuses to when the newer fp32_precision was set.
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions

    def sets(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """`inputs`, on a GPU so often that the second-level cache cannot hold x from one use to the next."""
        if self.device != "cuda":
            return [self.inputs()]
        size = self.batch * self.channels * self.frames * self.positions * self.dtype.itemsize
        copies = 1 + math.ceil(torch.cuda.get_device_properties().L2_cache_size / size)
        return [self.inputs(seed) for seed in range(min(copies, MOST_SETS))]

    def inputs(self, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x, weight and the gradient of y, always the same values for a seed.

        Weights are drawn as the unit draws them. All positions of x have a part in common, so large that the diagonal
        of a mask of cosines without pooling weighs about as much as the rest of its column: masks that are neither flat
        nor copies of single positions. The scale of x is such that dot products give about the same masks.
        """
        random = torch.Generator().manual_seed(seed)
        shape = (self.batch, self.channels, self.frames, self.height, self.width)
        logit = TEMPERATURES["cosine"]  # of S on the diagonal; the others are less by log(N + 1) on average
        own = math.log(self.positions + 1) / logit
        common = torch.randn(*shape[:3], 1, 1, generator=random)
        x = (1 - own) ** 0.5 * common + own**0.5 * torch.randn(shape, generator=random)
        # With unit variance dot products are kappa E / 3 on the diagonal, on average.
        x *= (3 * logit / (TEMPERATURES["dot"] * self.reduced * self.frames)) ** 0.5
        bound = self.channels**-0.5
        weight = (2 * torch.rand(len(POOLS), self.reduced, self.channels, generator=random) - 1) * bound
        grad = torch.randn(shape, generator=random)
        x, weight, grad = (tensor.to(self.device, self.dtype) for tensor in (x, weight, grad))
        memory_format = LAYOUTS[self.layout]
        return x.contiguous(memory_format=memory_format), weight, grad.contiguous(memory_format=memory_format)

    def sizes(self) -> dict:
        """What identifies the problem in a file."""
        return {
            "batch": self.batch,
            "channels": self.channels,
            "frames": self.frames,
            "height": self.height,
            "width": self.width,
            "integration": self.integration,
            "layout": self.layout,
            "dtype": self.arithmetic,
            "similarity": self.similarity,
        }


def paper_problems(device: str, batch: int, dtypes: Sequence[torch.dtype]) -> list[Problem]:
    """The two sizes at which P3DC uses the unit, 256x128 pixels: both integrations, layouts and every type."""
    return [
        Problem(name, batch, channels, height, width, 4, integration, layout, dtype, device)
        for dtype in dtypes
        for integration in HALVES
        for name, channels, height, width in (("stage 2", 128, 32, 16), ("stage 3", 256, 16, 8))
        for layout in LAYOUTS
    ]


def position_sweep(device: str, batch: int, dtype: torch.dtype) -> list[Problem]:
    """From 32 to 2,048 positions at 128 channels, the batch such that x stays about as large; 98 is 14x7."""
    sizes = ((8, 4), (14, 7), (16, 8), (24, 12), (32, 16), (32, 32), (64, 32))
    return [
        Problem(f"N={h * w}", max(1, batch * 512 // (h * w)), 128, h, w, dtype=dtype, device=device) for h, w in sizes
    ]


def channel_sweep(device: str, batch: int, dtype: torch.dtype) -> list[Problem]:
    """From 64 to 512 channels at 128 positions (Table 5 of the paper adds the outer two)."""
    return [Problem(f"C={c}", batch, c, 16, 8, dtype=dtype, device=device) for c in (64, 128, 256, 512)]
