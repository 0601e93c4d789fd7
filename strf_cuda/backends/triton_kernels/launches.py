"""The Triton backend's forward and backward pass as launches of kernels: what is allocated, and in which order."""

import math
from collections.abc import Iterator, Sequence

import torch
import triton.language as tl
from torch import Tensor
from triton import cdiv, next_power_of_2

from strf_cuda.backends.native import output_layout
from strf_cuda.backends.triton_kernels import blocks, masks, pools, products

# Masks and their gradients are made for as many samples at a time as this many bytes hold, at least one: written and
# read again while they are in the second-level cache.
GROUP_BYTES = 64 << 20
WEIGHT_PROGRAMS = 256  # into which dW is divided, to occupy a GPU
FILL = 16  # rows of T and of masks are filled up to a multiple of this many elements
MOST_BOUNDED = 64.0  # the temperature up to which powers of two are normal numbers however far below their bound


class Launches:
    """One problem's kernels, as methods that return what they write."""

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        windows: Sequence[int],
        kinds: Sequence[int],
        temperature: float,
        tf32: bool,
        cosine: bool,
    ):
        self.x, self.weight = x, weight
        self.B, self.C, self.T, self.H, self.W = x.shape
        self.P, self.reduced, _ = weight.shape
        self.N, self.Q, self.E = self.H * self.W, self.P * self.reduced, self.reduced * self.T
        self.temperature, self.scale = temperature, abs(temperature) / math.log(2)
        half = x.dtype.itemsize == 2
        split = half and (cosine or any(kinds))
        arithmetic = {2: "split" if split else "half", 4: "tf32" if tf32 else "float32", 8: "float64"}[x.dtype.itemsize]
        self.sizes = blocks.Sizes(arithmetic, self.C, self.N, self.Q, self.E)
        self.wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.numbers = dict(
            PRECISION="tf32" if arithmetic == "tf32" else "ieee",
            SUM=tl.float64 if x.dtype == torch.float64 else tl.float32,
        )
        self.parts = dict(SPLIT=2 if split else 1)
        # One position alone has a mask of exactly 1 by its maximum, not by the bound.
        self.bounded = dict(BOUNDED=cosine and temperature <= MOST_BOUNDED and self.N > 1)
        self.logits = dict(self.numbers, **self.parts, NEGATIVE=temperature < 0)
        self.cosine = cosine
        self.channels = next_power_of_2(self.reduced)
        self.halves = 2 if half or arithmetic == "tf32" else 1
        self.e_row = cdiv(self.E, blocks.block_e(self.sizes)) * blocks.block_e(self.sizes)
        self.n_row = cdiv(self.N, FILL) * FILL
        size = (self.T, self.H, self.W)
        packed = [pools.packed_window(windows[3 * path : 3 * path + 3], kind, size) for path, kind in enumerate(kinds)]
        self.windows = packed + packed[:1] * (4 - self.P)

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Y and the statistics of the masks."""
        y = self.like_x()
        pooled, *_ = self.pool(self.reduce_channels(), keep=False)
        maximum, normalizer = (self.empty(self.B, self.P, self.N, dtype=self.wide) for _ in range(2))
        one_pass = blocks.one_pass(self.sizes)
        if not one_pass:
            self.statistics(pooled, maximum, normalizer)
        for first, count in self.groups(1):
            turned = self.empty(count, self.N, self.n_row)
            if one_pass:
                self.masks_and_statistics(pooled, maximum, normalizer, turned, first)
            else:
                self.masks_of_statistics(pooled, maximum, normalizer, turned, first, turned=True)
            self.multiply(self.x, turned, None, y, first)
        return y, maximum, normalizer

    def backward(self, grad: Tensor, maximum: Tensor, normalizer: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of x and weight."""
        grad_x = self.like_x()
        pooled, *kept = self.pool(self.reduce_channels(), keep=True)
        pooled_grad = self.empty(self.B, self.P, self.N, self.e_row, dtype=self.wide)
        for first, count in self.groups(2):
            mask_grads = self.multiply_transposed(grad, first, count)
            averages = self.mask_averages(pooled, maximum, mask_grads[1], first)
            self.pooled_gradient(pooled, maximum, normalizer, mask_grads, averages, pooled_grad, first)
        reduced_grad = self.pool_gradient(pooled, pooled_grad, *kept)
        for first, count in self.groups(1):
            masks_ = self.empty(count, self.N, self.n_row)
            self.masks_of_statistics(pooled, maximum, normalizer, masks_, first, turned=False)
            self.multiply(grad, masks_, reduced_grad, grad_x, first)
        return grad_x, self.weight_gradient(reduced_grad)

    # ---- Kernels, in the order of the forward pass ------------------------------------------------------------------

    def reduce_channels(self) -> Tensor:
        reduced = self.empty(self.B, self.T, self.N, self.Q)
        block = self.blocks("reduce_channels")
        programs = self.B * self.T * cdiv(self.N, block["BLOCK_N"]) * cdiv(self.Q, block["BLOCK_Q"])
        launch(
            products.reduce_channels, programs, self.x, self.weight, reduced, self.C, self.T, self.N, self.Q,
            *strides(self.x), **block, **self.numbers,
        )  # fmt: skip
        return reduced

    def pool(self, reduced: Tensor, keep: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
        pooled = self.empty(self.B, self.P, self.parts["SPLIT"], self.N, self.e_row)
        largest = self.empty(self.B, self.P, self.N, self.e_row, dtype=torch.int32) if keep else None
        lengths = self.empty(self.B, self.P, self.N, self.T, dtype=self.wide) if keep and self.cosine else None
        block = self.blocks_of_channels("pool")
        rows = self.N * cdiv(self.e_row, self.reduced)
        launch(
            pools.pool, self.B * self.P * cdiv(rows, block["BLOCK"] // self.channels),
            reduced, pooled, largest, lengths, self.T, self.H, self.W, self.reduced, self.e_row, self.P, *self.windows,
            KEEP=keep, **block, **self.parts, **self.numbers,
        )  # fmt: skip
        return pooled, largest, lengths

    def masks_and_statistics(self, pooled, maximum, normalizer, turned, first) -> None:
        block = self.blocks("masks_and_statistics")
        launch(
            masks.masks_and_statistics, len(turned) * cdiv(self.N, block["BLOCK_J"]),
            pooled, maximum, normalizer, turned, first, self.scale, self.N, self.n_row, self.e_row, self.P,
            **block, **self.logits, **self.bounded,
        )  # fmt: skip

    def statistics(self, pooled, maximum, normalizer) -> None:
        block = self.blocks("statistics")
        launch(
            masks.statistics, self.B * self.P * cdiv(self.N, block["BLOCK_J"]),
            pooled, maximum, normalizer, self.scale, self.N, self.e_row, **block, **self.logits, **self.bounded,
        )  # fmt: skip

    def masks_of_statistics(self, pooled, maximum, normalizer, out, first, turned) -> None:
        block = self.blocks("masks_of_statistics")
        programs = len(out) * cdiv(self.N, block["BLOCK_J"]) * cdiv(self.n_row, block["BLOCK_I"])
        launch(
            masks.masks_of_statistics, programs, pooled, maximum, normalizer, out, first, self.scale,
            self.N, self.n_row, self.e_row, self.P, TURNED=turned, **block, **self.logits,
        )  # fmt: skip

    def multiply(self, values, masks_, reduced_grad, out, first) -> None:
        block = self.blocks("multiply")
        frames = len(masks_) * self.T
        launch(
            products.multiply, frames * cdiv(self.N, block["BLOCK_N"]) * cdiv(self.C, block["BLOCK_C"]),
            values, masks_, reduced_grad, self.weight, out, first, self.C, self.T, self.N, self.n_row, self.Q,
            *strides(values), *strides(out), APPENDED=reduced_grad is not None, **block, **self.numbers,
        )  # fmt: skip

    # ---- and of the backward pass -----------------------------------------------------------------------------------

    def multiply_transposed(self, grad, first, count) -> tuple[Tensor, Tensor]:
        mask_grad, turned = (self.empty(count, self.N, self.n_row) for _ in range(2))
        block = self.blocks("multiply_transposed")
        launch(
            products.multiply_transposed, count * cdiv(self.N, block["BLOCK_I"]) * cdiv(self.N, block["BLOCK_J"]),
            self.x, grad, mask_grad, turned, first, self.C, self.T, self.N, self.n_row,
            *strides(self.x), *strides(grad), **block, **self.numbers,
        )  # fmt: skip
        return mask_grad, turned

    def mask_averages(self, pooled, maximum, mask_grad_turned, first) -> Tensor:
        averages = self.empty(len(mask_grad_turned), self.P, self.N, dtype=self.wide)
        block = self.blocks("mask_averages")
        launch(
            masks.mask_averages, len(averages) * self.P * cdiv(self.N, block["BLOCK_J"]),
            pooled, maximum, mask_grad_turned, averages, first, self.scale,
            self.N, self.n_row, self.e_row, self.P, **block, **self.logits,
        )  # fmt: skip
        return averages

    def pooled_gradient(self, pooled, maximum, normalizer, mask_grads, averages, out, first) -> None:
        block = self.blocks("pooled_gradient")
        tiles = cdiv(self.N, block["BLOCK_J"]) * cdiv(self.e_row, block["BLOCK_OUT"])
        launch(
            masks.pooled_gradient, len(averages) * self.P * tiles,
            pooled, maximum, normalizer, *mask_grads, averages, out, first, self.temperature, self.scale,
            self.N, self.n_row, self.e_row, self.P, HALVES=self.halves, **block, **self.logits, **self.bounded,
        )  # fmt: skip

    def pool_gradient(self, pooled, pooled_grad, largest, lengths) -> Tensor:
        reduced_grad = self.empty(self.B, self.T, self.N, self.Q)
        block = self.blocks_of_channels("pool_gradient")
        launch(
            pools.pool_gradient, self.B * self.P * cdiv(self.N * self.T, block["BLOCK"] // self.channels),
            pooled, pooled_grad, largest, lengths, reduced_grad,
            self.T, self.H, self.W, self.reduced, self.e_row, self.P, *self.windows,
            **block, **self.parts, **self.numbers,
        )  # fmt: skip
        return reduced_grad

    def weight_gradient(self, reduced_grad) -> Tensor:
        block = self.blocks("weight_gradient")
        tiles = cdiv(self.Q, block["BLOCK_Q"]) * cdiv(self.C, block["BLOCK_C"])
        frames = self.B * self.T
        frames_of_part = max(1, cdiv(frames, max(1, WEIGHT_PROGRAMS // tiles)))
        parts = self.empty(cdiv(frames, frames_of_part), self.Q, self.C, dtype=self.wide)
        launch(
            products.weight_gradient, len(parts) * tiles, self.x, reduced_grad, parts,
            self.C, self.T, self.N, self.Q, frames, frames_of_part, *strides(self.x), **block, **self.numbers,
        )  # fmt: skip
        return parts.sum(0).to(self.weight.dtype).view_as(self.weight)

    def blocks(self, kernel: str) -> dict[str, int]:
        return blocks.blocks_for(kernel, self.sizes)

    def blocks_of_channels(self, kernel: str) -> dict[str, int]:
        """Those of a kernel whose programs have all reduced channels of some frames and positions."""
        block = self.blocks(kernel)
        return {**block, "BLOCK": max(block["BLOCK"], self.channels), "CHANNELS": self.channels, "COSINE": self.cosine}

    def empty(self, *sizes: int, dtype: torch.dtype | None = None) -> Tensor:
        return self.x.new_empty(sizes, dtype=dtype)

    def like_x(self) -> Tensor:
        return torch.empty_like(self.x, memory_format=output_layout(self.x))

    def groups(self, matrices: int) -> Iterator[tuple[int, int]]:
        """First sample and number of samples of each group, for so many [N, N] matrices a sample."""
        most = max(1, GROUP_BYTES // (matrices * self.N * self.n_row * self.x.dtype.itemsize))
        for first in range(0, self.B, most):
            yield first, min(most, self.B - first)


def strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Of [B, C, T, H, W], over batch, channels, frames and positions."""
    batch, channels, frames, height, width = tensor.stride()
    return batch, channels, frames, width if tensor.shape[4] > 1 else height


def launch(kernel, programs: int, *arguments, **options) -> None:
    if not programs:
        return
    try:
        kernel[(programs,)](*arguments, **options_here(options))
    except RuntimeError as error:
        if not (arguments[0].is_cuda and torch.cuda.is_current_stream_capturing()):
            raise
        raise RuntimeError(
            "a Triton kernel is loaded when it is first launched, and not while a CUDA graph is captured; call the "
            "operator once with the same shapes and types before"
        ) from error


def options_here(options: dict) -> dict:
    """Without what the compiler for AMD does not know."""
    if torch.version.hip is None:
        return options
    return {name: value for name, value in options.items() if name != "maxnreg"}
