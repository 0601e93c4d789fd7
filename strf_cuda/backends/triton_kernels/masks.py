"""The Triton kernels of the masks P_k = softmax(S_k), S_k = temperature * T_k^T T_k, and of the gradients through them.

T, or U for similarity "cosine", is pooled [B, P, SPLIT, N, E], E padded by zeros to a multiple of BLOCK_E; half types
hold what does not fit into them as a sum of two, SPLIT = 2. S_k is symmetric, so a block makes rows of it where the
equations have columns. It is needed in every kernel and stored in none. Its maximum m_k is kept before the scaling, so
that the largest less the maximum is exactly 0:

    P_k[i, j] = exp2(scale * (s[i, j] - m_k[j])) z_k[j]        s = +-T_k^T T_k, scale = |temperature| / log(2)

maximum and normalizer, m and z, are [B, P, N]. Where BOUNDED, every maximum is taken to be 1, which no mean of cosines
exceeds: none is searched.

Triton takes numbers for float32 unless they are declared otherwise.
"""

import triton
import triton.language as tl

from strf_cuda.backends.triton_kernels.operands import add_product, load_tile, operand


@triton.jit
def _products(
    pooled, rows, columns, N, E,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_E: tl.constexpr,
    SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """s [rows, columns] for one path of one sample, whose T begins at `pooled`."""
    total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), SUM)
    for first in range(0, E, BLOCK_E):
        e = first + tl.arange(0, BLOCK_E)
        left = load_tile(pooled, rows, N, E, e, E, 1)
        right = load_tile(pooled, e, E, 1, columns, N, E)
        total = add_product(total, left, right, PRECISION)
        if SPLIT == 2:
            left_rest = load_tile(pooled + N * E, rows, N, E, e, E, 1)
            right_rest = load_tile(pooled + N * E, e, E, 1, columns, N, E)
            total = add_product(total, left_rest, right, PRECISION)
            total = add_product(total, left, right_rest, PRECISION)
    if NEGATIVE:
        total = -total
    return total


@triton.jit
def _maxima(maximum, positions, N, BOUNDED: tl.constexpr, SUM: tl.constexpr):
    """m_k of these positions; where BOUNDED a constant, so that P_k and its transpose have the same powers."""
    return tl.full(positions.shape, 1.0, SUM) if BOUNDED else tl.load(maximum + positions, positions < N, other=0.0)


@triton.jit(do_not_specialize=["first_sample"])
def masks_and_statistics(
    pooled, maximum, normalizer, masks, first_sample, scale: tl.float64, N, N_ROW, E, P,
    BLOCK_J: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr,
    SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, BOUNDED: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """M^T = (P_1 + ... + P_P)^T [samples, N, N_ROW], and m and z: one pass, where BLOCK_I covers all positions."""
    tiles = tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    scale = tl.full((1,), scale, SUM)
    j = program % tiles * BLOCK_J + tl.arange(0, BLOCK_J)
    i = tl.arange(0, BLOCK_I)
    sample = (program // tiles).to(tl.int64)
    path = (first_sample + sample) * P
    total = tl.zeros((BLOCK_J, BLOCK_I), SUM)
    for _ in range(P):
        s = _products(
            pooled + path * SPLIT * N * E, j, i, N, E, BLOCK_J, BLOCK_I, BLOCK_E, SPLIT, NEGATIVE, PRECISION, SUM
        )
        largest = tl.full((BLOCK_J,), 1.0, SUM) if BOUNDED else tl.max(tl.where(i < N, s, float("-inf")), 1)
        mask = tl.where(i < N, tl.exp2((s - largest[:, None]) * scale), 0.0)
        inverse = 1.0 / tl.sum(mask, 1)
        total += mask * inverse[:, None]
        tl.store(maximum + path * N + j, largest, j < N)
        tl.store(normalizer + path * N + j, inverse, j < N)
        path += 1
    rounded = operand(total, PRECISION).to(masks.dtype.element_ty)
    tl.store(masks + sample * N * N_ROW + j[:, None] * N_ROW + i, rounded, (j[:, None] < N) & (i < N_ROW))


@triton.jit
def statistics(
    pooled, maximum, normalizer, scale: tl.float64, N, E,
    BLOCK_J: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr,
    SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, BOUNDED: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """m and z of all samples and paths: the first of two passes, for any number of positions."""
    tiles = tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    scale = tl.full((1,), scale, SUM)
    j = program % tiles * BLOCK_J + tl.arange(0, BLOCK_J)
    path = (program // tiles).to(tl.int64)
    pooled += path * SPLIT * N * E
    largest = tl.full((BLOCK_J,), 1.0 if BOUNDED else float("-inf"), SUM)
    total = tl.zeros((BLOCK_J,), SUM)
    for first in range(0, N, BLOCK_I):
        i = first + tl.arange(0, BLOCK_I)
        s = _products(pooled, j, i, N, E, BLOCK_J, BLOCK_I, BLOCK_E, SPLIT, NEGATIVE, PRECISION, SUM)
        if not BOUNDED:
            larger = tl.maximum(largest, tl.max(tl.where(i < N, s, float("-inf")), 1))
            # Nothing is known before the first block, and -inf less -inf would be NaN.
            total = tl.where(first == 0, 0.0, total * tl.exp2((largest - larger) * scale))
            largest = larger
        total += tl.sum(tl.where(i < N, tl.exp2((s - largest[:, None]) * scale), 0.0), 1)
    tl.store(maximum + path * N + j, largest, j < N)
    tl.store(normalizer + path * N + j, 1.0 / total, j < N)


@triton.jit(do_not_specialize=["first_sample"])
def masks_of_statistics(
    pooled, maximum, normalizer, masks, first_sample, scale: tl.float64, N, N_ROW, E, P,
    BLOCK_J: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr, TURNED: tl.constexpr,
    SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """M^T where TURNED, otherwise M, [samples, N, N_ROW], from m and z: the second pass, and the backward pass's masks.

    M^T has the statistics of a row's own position, M those of the column's.
    """
    tiles_i, tiles_j = tl.cdiv(N_ROW, BLOCK_I), tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    scale = tl.full((1,), scale, SUM)
    i = program % tiles_i * BLOCK_I + tl.arange(0, BLOCK_I)
    j = program // tiles_i % tiles_j * BLOCK_J + tl.arange(0, BLOCK_J)
    sample = (program // (tiles_i * tiles_j)).to(tl.int64)
    path = (first_sample + sample) * P
    total = tl.zeros((BLOCK_J, BLOCK_I), SUM)
    for _ in range(P):
        s = _products(
            pooled + path * SPLIT * N * E, j, i, N, E, BLOCK_J, BLOCK_I, BLOCK_E, SPLIT, NEGATIVE, PRECISION, SUM
        )
        if TURNED:
            largest = tl.load(maximum + path * N + j, j < N, other=0.0)[:, None]
            inverse = tl.load(normalizer + path * N + j, j < N, other=0.0)[:, None]
        else:
            largest = tl.load(maximum + path * N + i, i < N, other=0.0)[None, :]
            inverse = tl.load(normalizer + path * N + i, i < N, other=0.0)[None, :]
        total += tl.exp2((s - largest) * scale) * inverse
        path += 1
    rounded = operand(tl.where(i < N, total, 0.0), PRECISION).to(masks.dtype.element_ty)
    tl.store(masks + sample * N * N_ROW + j[:, None] * N_ROW + i, rounded, (j[:, None] < N) & (i < N_ROW))


@triton.jit(do_not_specialize=["first_sample"])
def mask_averages(
    pooled, maximum, mask_grad_turned, averages, first_sample, scale: tl.float64, N, N_ROW, E, P,
    BLOCK_J: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr,
    SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """delta_k[j] = sum over i of P_k[i, j] dM[i, j], [samples, P, N], from dM transposed.

    The columns of P_k are normalised anew: the forward pass may have summed S in other blocks, by other instructions,
    but the columns of dS must add up to 0.
    """
    tiles = tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    scale = tl.full((1,), scale, SUM)
    j = program % tiles * BLOCK_J + tl.arange(0, BLOCK_J)
    own_path = (program // tiles).to(tl.int64)
    path = first_sample.to(tl.int64) * P + own_path
    pooled += path * SPLIT * N * E
    mask_grad_turned += own_path // P * N * N_ROW
    largest = tl.load(maximum + path * N + j, j < N, other=0.0)
    total = tl.zeros((BLOCK_J,), SUM)
    weights = tl.zeros((BLOCK_J,), SUM)
    for first in range(0, N, BLOCK_I):
        i = first + tl.arange(0, BLOCK_I)
        s = _products(pooled, j, i, N, E, BLOCK_J, BLOCK_I, BLOCK_E, SPLIT, NEGATIVE, PRECISION, SUM)
        gradient = load_tile(mask_grad_turned, j, N, N_ROW, i, N, 1).to(SUM)
        powers = tl.where(i < N, tl.exp2((s - largest[:, None]) * scale), 0.0)
        total += tl.sum(powers * gradient, 1)
        weights += tl.sum(powers, 1)
    tl.store(averages + own_path * N + j, total / weights, j < N)


@triton.jit(do_not_specialize=["first_sample"])
def pooled_gradient(
    pooled, maximum, normalizer, mask_grad, mask_grad_turned, averages, pooled_grad, first_sample,
    temperature: tl.float64, scale: tl.float64, N, N_ROW, E, P,
    BLOCK_J: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_OUT: tl.constexpr,
    HALVES: tl.constexpr, SPLIT: tl.constexpr, NEGATIVE: tl.constexpr, BOUNDED: tl.constexpr,
    PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """dT_k = temperature T_k (dS_k + dS_k^T), [B, P, N, E], with dS_k[i, j] = P_k[i, j] (dM[i, j] - delta_k[j]).

    Where HALVES is 2 the bracket is held as a sum of two: the columns of dS add up to 0, and where positions resemble
    each other, the roundings of the bracket would be all that is left of the gradient.
    """
    out_tiles, tiles = tl.cdiv(E, BLOCK_OUT), tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    scale = tl.full((1,), scale, SUM)
    out = program % out_tiles * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    j = program // out_tiles % tiles * BLOCK_J + tl.arange(0, BLOCK_J)
    own_path = (program // (out_tiles * tiles)).to(tl.int64)
    path = first_sample.to(tl.int64) * P + own_path
    pooled += path * SPLIT * N * E
    maximum += path * N
    normalizer += path * N
    averages += own_path * N
    mask_grad += own_path // P * N * N_ROW
    mask_grad_turned += own_path // P * N * N_ROW
    largest_j = _maxima(maximum, j, N, BOUNDED, SUM)[:, None]
    inverse_j = tl.load(normalizer + j, j < N, other=0.0)[:, None]
    average_j = tl.load(averages + j, j < N, other=0.0)[:, None]
    total = tl.zeros((BLOCK_J, BLOCK_OUT), SUM)
    for first in range(0, N, BLOCK_I):
        i = first + tl.arange(0, BLOCK_I)
        s = _products(pooled, j, i, N, E, BLOCK_J, BLOCK_I, BLOCK_E, SPLIT, NEGATIVE, PRECISION, SUM)
        largest_i = _maxima(maximum, i, N, BOUNDED, SUM)
        inverse_i = tl.load(normalizer + i, i < N, other=0.0)
        average_i = tl.load(averages + i, i < N, other=0.0)
        of_ij = load_tile(mask_grad_turned, j, N, N_ROW, i, N, 1).to(SUM) - average_j
        of_ji = load_tile(mask_grad, j, N, N_ROW, i, N, 1).to(SUM) - average_i
        bracket = tl.exp2((s - largest_j) * scale) * inverse_j * of_ij
        bracket += tl.exp2((s - largest_i) * scale) * inverse_i * of_ji
        bracket = tl.where(i < N, bracket, 0.0)
        factor = load_tile(pooled, i, N, E, out, E, 1)
        half = operand(bracket, PRECISION).to(factor.dtype)
        total = add_product(total, half, factor, PRECISION)
        if HALVES == 2:
            rest = operand(bracket - half.to(SUM), PRECISION).to(factor.dtype)
            total = add_product(total, rest, factor, PRECISION)
        if SPLIT == 2:
            factor_rest = load_tile(pooled + N * E, i, N, E, out, E, 1)
            total = add_product(total, half, factor_rest, PRECISION)
    at = path * N * E + j[:, None] * E + out
    tl.store(pooled_grad + at, total * tl.full((1,), temperature, SUM), (j[:, None] < N) & (out < E))
