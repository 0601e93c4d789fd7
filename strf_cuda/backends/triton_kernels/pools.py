"""The Triton kernels of the pools T_k = G_k(R_k), equations (4) and (6): stride 1, same size, padding takes no part.

R is reduced [B, T, N, Q], Q = P * C/n, position n = h * W + w. T is pooled [B, P, SPLIT, N, E_ROW]: element e of a row
is channel e % (C/n) of frame e // (C/n), and from E on there is 0. A path's pool is one number, see `packed_window`.

Where COSINE, pooled holds U_k in the place of T_k: the C/n channels t of every frame and position are divided by their
length, sqrt((|t|^2 + EPSILON) T). So a program has all channels, CHANNELS of which C/n are real, of some frames and
positions.
"""

import triton
import triton.language as tl

from strf_cuda.backends import reference
from strf_cuda.backends.triton_kernels.operands import operand

WINDOWS = ["window_0", "window_1", "window_2", "window_3"]
EPSILON = tl.constexpr(reference.EPSILON)


def packed_window(window, average, sizes) -> int:
    """A path's odd window (t, h, w), cut to a map of `sizes`, and whether it averages, as one number of 64 bits."""
    code = int(average)
    for size, length in zip(window, sizes, strict=True):
        code = (code << 20) + min(size // 2, length - 1)
    return code | 1 << 62  # so that it takes 64 bits whatever the window is


@triton.jit
def _chosen(path, window_0, window_1, window_2, window_3):
    """How far the path's window reaches to each side in frames, height and width, and whether it averages."""
    window = tl.where(path < 2, tl.where(path == 0, window_0, window_1), tl.where(path == 2, window_2, window_3))
    t, h, w = (window >> 40) & 0xFFFFF, (window >> 20) & 0xFFFFF, window & 0xFFFFF
    return t.to(tl.int32), h.to(tl.int32), w.to(tl.int32), (window >> 60) & 1


@triton.jit
def _share(N, FRAMES, P, BLOCK: tl.constexpr, CHANNELS: tl.constexpr):
    """A program's sample and path, its positions and frames, both [rows, 1], and its channels [CHANNELS]."""
    ROWS: tl.constexpr = BLOCK // CHANNELS
    blocks = tl.cdiv(N * FRAMES, ROWS)
    program = tl.program_id(0)
    row = (program % blocks * ROWS + tl.arange(0, ROWS))[:, None]
    path = (program // blocks % P).to(tl.int64)
    sample = (program // (blocks * P)).to(tl.int64)
    return sample, path, row // FRAMES, row % FRAMES, tl.arange(0, CHANNELS)


@triton.jit(do_not_specialize=WINDOWS)
def pool(
    reduced, pooled, largest, lengths, T, H, W, C, E_ROW, P, window_0, window_1, window_2, window_3,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr, COSINE: tl.constexpr, KEEP: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """T or U, and where KEEP what `pool_gradient` needs; C is C/n here.

    That is the place t * N + n of each maximum, largest [B, P, N, E_ROW], and where COSINE lengths [B, P, N, T].
    Of equal maxima the first in (t, h, w) order counts; NaN wins.
    """
    N = H * W
    sample, path, n, t, c = _share(N, tl.cdiv(E_ROW, C), P, BLOCK, CHANNELS)
    h, w = n // W, n % W
    wanted = (n < N) & (t < T)
    reach_t, reach_h, reach_w, averages = _chosen(path, window_0, window_1, window_2, window_3)
    reduced += sample * T * N * P * C + path * C
    best = tl.full((BLOCK // CHANNELS, CHANNELS), float("-inf"), SUM)
    place = tl.full((BLOCK // CHANNELS, CHANNELS), -1, tl.int32)
    total = tl.zeros((BLOCK // CHANNELS, CHANNELS), SUM)
    count = tl.zeros((BLOCK // CHANNELS, 1), tl.int32)
    for step_t in range(-reach_t, reach_t + 1):
        for step_h in range(-reach_h, reach_h + 1):
            for step_w in range(-reach_w, reach_w + 1):
                at_t, at_h, at_w = t + step_t, h + step_h, w + step_w
                inside = wanted & (at_t >= 0) & (at_t < T) & (at_h >= 0) & (at_h < H) & (at_w >= 0) & (at_w < W)
                at = at_t * N + at_h * W + at_w
                value = tl.load(reduced + at * (P * C) + c, inside & (c < C), other=0.0).to(SUM)
                better = inside & ((place < 0) | (value > best) | ((value != value) & (best == best)))
                best = tl.where(better, value, best)
                place = tl.where(better, at, place)
                total += value
                count += inside.to(tl.int32)
    value = tl.where(averages != 0, total / tl.maximum(count, 1).to(SUM), best)
    value = tl.where(wanted & (c < C), value, 0.0)
    if COSINE:
        length = tl.sqrt((tl.sum(value * value, 1)[:, None] + tl.full((1,), EPSILON, SUM)) * T)
        value = value / length
        if KEEP:
            tl.store(lengths + ((sample * P + path) * N + n) * T + t, length, wanted)
    value = operand(value, PRECISION)
    e = t * C + c
    index = n * E_ROW + e
    stored = (n < N) & (c < C) & (e < E_ROW)
    first = value.to(pooled.dtype.element_ty)
    pooled += (sample * P + path) * SPLIT * N * E_ROW
    tl.store(pooled + index, first, stored)
    if SPLIT == 2:
        rest = value - first.to(SUM)
        rest = tl.where(rest == rest, rest, 0.0)  # infinity has a rest of NaN
        tl.store(pooled + N * E_ROW + index, rest.to(pooled.dtype.element_ty), stored)
    if KEEP:
        tl.store(largest + (sample * P + path) * N * E_ROW + index, place, stored)


@triton.jit(do_not_specialize=WINDOWS)
def pool_gradient(
    pooled, pooled_grad, largest, lengths, reduced_grad, T, H, W, C, E_ROW, P, window_0, window_1, window_2, window_3,
    BLOCK: tl.constexpr, CHANNELS: tl.constexpr, COSINE: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """dR [B, T, N, Q] of pooled_grad [B, P, N, E_ROW]: every element gathers from the windows that it is in.

    pooled_grad is dT, or dU where COSINE: then dt = (du - T u (u du)) / length.
    """
    N = H * W
    sample, path, n, t, c = _share(N, T, P, BLOCK, CHANNELS)
    h, w = n // W, n % W
    own = t * N + n
    reach_t, reach_h, reach_w, averages = _chosen(path, window_0, window_1, window_2, window_3)
    pooled += (sample * P + path) * SPLIT * N * E_ROW
    pooled_grad += (sample * P + path) * N * E_ROW
    largest += (sample * P + path) * N * E_ROW
    if COSINE:
        lengths += (sample * P + path) * N * T
    total = tl.zeros((BLOCK // CHANNELS, CHANNELS), SUM)
    for step_t in range(-reach_t, reach_t + 1):
        for step_h in range(-reach_h, reach_h + 1):
            for step_w in range(-reach_w, reach_w + 1):
                at_t, at_h, at_w = t + step_t, h + step_h, w + step_w
                there = (n < N) & (at_t >= 0) & (at_t < T) & (at_h >= 0) & (at_h < H) & (at_w >= 0) & (at_w < W)
                inside = there & (c < C)
                at = (at_h * W + at_w) * E_ROW + at_t * C + c
                gradient = tl.load(pooled_grad + at, inside, other=0.0)
                if COSINE:
                    unit = tl.load(pooled + at, inside, other=0.0).to(SUM)
                    if SPLIT == 2:
                        unit += tl.load(pooled + N * E_ROW + at, inside, other=0.0).to(SUM)
                    length = tl.load(lengths + (at_h * W + at_w) * T + at_t, there, other=1.0)
                    gradient = (gradient - unit * (tl.sum(unit * gradient, 1)[:, None] * T)) / length
                if averages != 0:
                    frames = tl.minimum(at_t + reach_t + 1, T) - tl.maximum(at_t - reach_t, 0)
                    height = tl.minimum(at_h + reach_h + 1, H) - tl.maximum(at_h - reach_h, 0)
                    width = tl.minimum(at_w + reach_w + 1, W) - tl.maximum(at_w - reach_w, 0)
                    total += gradient / tl.where(there, frames * height * width, 1).to(SUM)
                else:
                    place = tl.load(largest + at, inside, other=-1)
                    total += tl.where(place == own, gradient, 0.0)
    rounded = operand(total, PRECISION).to(reduced_grad.dtype.element_ty)
    reduced_grad += (sample * T * N * P + path) * C
    tl.store(reduced_grad + own * (P * C) + c, rounded, (n < N) & (c < C))
