"""literal.py as the tensor cores compute float32 when TF32 is allowed: every product's operands are rounded to TF32.

That holds for the products of the backward pass as well. Sums, pools, the soft-max and all results stay in float32.
"""

import torch

import literal


def factorized_attention(x, weight, pools, kinds, temperature, similarity="dot"):
    """Y [B, C, T, H, W] of float32 x [B, C, T, H, W] and weight [P, C/n, C]; autograd gives the gradients."""
    mask = 0
    for path_weight, window, kind in zip(weight, pools, kinds, strict=True):
        of_each_sample = path_weight.expand(len(x), *path_weight.shape)
        reduced = _Product.apply(of_each_sample, x.flatten(2)).unflatten(2, x.shape[2:])  # [B, C/n, T, H, W]
        rows = literal.pool(reduced, window, kind)
        if similarity == "cosine":
            rows = rows / ((rows.square().sum(1, keepdim=True) + 1e-6) * rows.shape[2]).sqrt()
        rows = rows.flatten(3).flatten(1, 2)  # [B, E, N]
        mask = mask + torch.softmax(temperature * _Product.apply(rows.mT, rows), dim=1)
    return _Product.apply(x.flatten(3).flatten(1, 2), mask).view(x.shape)


def to_tf32(values):
    """The nearest numbers with 10 bits of mantissa, ties away from zero; the lowest 13 bits of the float are 0."""
    bits = values.contiguous().view(torch.int32)
    rounded = ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values)


class _Product(torch.autograd.Function):
    """a [B, I, K] times b [B, K, J]."""

    @staticmethod
    def forward(ctx, a, b):
        a, b = to_tf32(a), to_tf32(b)
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        grad = to_tf32(grad)
        return grad @ b.mT, a.mT @ grad
