"""The Triton kernels that multiply by x, its gradient, or the channel reductions: four products of matrices.

x, and whatever has its shape [B, C, T, H, W], is given by its strides over batch, channels, frames and positions
N = H * W, so that both layouts are read as they lie. Q = P * C/n are the reduced channels of all paths.
Offsets within a sample are 32 bits wide, those of samples 64.
"""

import triton
import triton.language as tl

from strf_cuda.backends.triton_kernels.operands import add_product, load_tile, operand


@triton.jit
def reduce_channels(
    x, weight, reduced, C, T, N, Q, x_b, x_c, x_t, x_n,
    BLOCK_N: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_C: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """R [B, T, N, Q] = W x, equation (2), for weight [Q, C]; rounded to x's type."""
    q_tiles, n_tiles = tl.cdiv(Q, BLOCK_Q), tl.cdiv(N, BLOCK_N)
    program = tl.program_id(0)
    q = program % q_tiles * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n = program // q_tiles % n_tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    frame = program // (q_tiles * n_tiles)
    x += (frame // T).to(tl.int64) * x_b + frame % T * x_t
    total = tl.zeros((BLOCK_N, BLOCK_Q), SUM)
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        values = load_tile(x, n, N, x_n, c, C, x_c)
        weights = load_tile(weight, c, C, 1, q, Q, C)
        total = add_product(total, operand(values, PRECISION), operand(weights, PRECISION), PRECISION)
    reduced += frame.to(tl.int64) * N * Q
    tl.store(reduced + n[:, None] * Q + q, total.to(reduced.dtype.element_ty), (n[:, None] < N) & (q < Q))


@triton.jit(do_not_specialize=["first_sample"])
def multiply(
    values, masks, reduced_grad, weight, out, first_sample, C, T, N, N_ROW, Q,
    values_b, values_c, values_t, values_n, out_b, out_c, out_t, out_n,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_Q: tl.constexpr,
    APPENDED: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """out[:, n] = sum over k of masks[n, k] values[:, k], where APPENDED with the gradient through the reduction.

    With the transposed masks and values = x that is Y = X M; with the masks and values = dY it is dX = dY M^T, to which
    W^T dR is appended as a further stretch of the same sum. masks [samples, N, N_ROW] begin at `first_sample`.
    """
    c_tiles, n_tiles = tl.cdiv(C, BLOCK_C), tl.cdiv(N, BLOCK_N)
    program = tl.program_id(0)
    c = program % c_tiles * BLOCK_C + tl.arange(0, BLOCK_C)
    n = program // c_tiles % n_tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    frame = program // (c_tiles * n_tiles)
    t = frame % T
    sample = (first_sample + frame // T).to(tl.int64)
    values += sample * values_b + t * values_t
    masks += (frame // T).to(tl.int64) * N * N_ROW
    total = tl.zeros((BLOCK_N, BLOCK_C), SUM)
    for first in range(0, N, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        rows = load_tile(masks, n, N, N_ROW, k, N_ROW, 1)
        columns = load_tile(values, k, N, values_n, c, C, values_c)
        total = add_product(total, operand(rows, PRECISION), operand(columns, PRECISION), PRECISION)
    if APPENDED:
        reduced_grad += (sample * T + t) * N * Q
        for first in range(0, Q, BLOCK_Q):
            q = first + tl.arange(0, BLOCK_Q)
            rows = load_tile(reduced_grad, n, N, Q, q, Q, 1)
            columns = load_tile(weight, q, Q, C, c, C, 1)
            total = add_product(total, operand(rows, PRECISION), operand(columns, PRECISION), PRECISION)
    out += sample * out_b + t * out_t
    at = n[:, None] * out_n + c * out_c
    tl.store(out + at, total.to(out.dtype.element_ty), (n[:, None] < N) & (c < C))


@triton.jit(do_not_specialize=["first_sample"])
def multiply_transposed(
    x, grad, mask_grad, mask_grad_turned, first_sample, C, T, N, N_ROW,
    x_b, x_c, x_t, x_n, grad_b, grad_c, grad_t, grad_n,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_C: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """dM = X^T dY, the gradient of every path's mask, and its transpose; both [samples, N, N_ROW], in x's type."""
    tiles_i, tiles_j = tl.cdiv(N, BLOCK_I), tl.cdiv(N, BLOCK_J)
    program = tl.program_id(0)
    j = program % tiles_j * BLOCK_J + tl.arange(0, BLOCK_J)
    i = program // tiles_j % tiles_i * BLOCK_I + tl.arange(0, BLOCK_I)
    sample = (program // (tiles_i * tiles_j)).to(tl.int64)
    x += (first_sample + sample) * x_b
    grad += (first_sample + sample) * grad_b
    total = tl.zeros((BLOCK_I, BLOCK_J), SUM)
    blocks = tl.cdiv(C, BLOCK_C)
    for step in range(T * blocks):
        t = step // blocks
        c = step % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
        rows = load_tile(x + t * x_t, i, N, x_n, c, C, x_c)
        columns = load_tile(grad + t * grad_t, c, C, grad_c, j, N, grad_n)
        total = add_product(total, operand(rows, PRECISION), operand(columns, PRECISION), PRECISION)
    rounded = total.to(mask_grad.dtype.element_ty)
    at = mask_grad + sample * N * N_ROW + i[:, None] * N_ROW + j
    tl.store(at, rounded, (i[:, None] < N) & (j < N_ROW))
    at = mask_grad_turned + sample * N * N_ROW + j[:, None] * N_ROW + i
    tl.store(at, rounded.T, (j[:, None] < N) & (i < N_ROW))


@triton.jit(do_not_specialize=["frames", "frames_of_part"])
def weight_gradient(
    x, reduced_grad, parts, C, T, N, Q, frames, frames_of_part, x_b, x_c, x_t, x_n,
    BLOCK_Q: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """dW in parts [parts, Q, C]: each is the sum of dR x^T over `frames_of_part` of the B * T = `frames` frames."""
    c_tiles, q_tiles = tl.cdiv(C, BLOCK_C), tl.cdiv(Q, BLOCK_Q)
    program = tl.program_id(0)
    c = program % c_tiles * BLOCK_C + tl.arange(0, BLOCK_C)
    q = program // c_tiles % q_tiles * BLOCK_Q + tl.arange(0, BLOCK_Q)
    part = program // (c_tiles * q_tiles)
    total = tl.zeros((BLOCK_Q, BLOCK_C), SUM)
    blocks = tl.cdiv(N, BLOCK_N)
    first = part * frames_of_part
    for step in range((tl.minimum(first + frames_of_part, frames) - first) * blocks):
        frame = first + step // blocks
        n = step % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
        rows = load_tile(reduced_grad + frame.to(tl.int64) * N * Q, q, Q, 1, n, N, Q)
        columns = load_tile(x + (frame // T).to(tl.int64) * x_b + frame % T * x_t, n, N, x_n, c, C, x_c)
        total = add_product(total, operand(rows, PRECISION), operand(columns, PRECISION), PRECISION)
    tl.store(parts + part * Q * C + q[:, None] * C + c, total, (q[:, None] < Q) & (c < C))
