"""The operator in plain PyTorch: the equations one by one, in any floating type, on any device.

Symbols of the paper's section 3.2: R = H(f), the channel reduction; T = G(R), the pooled reduction; S = C_dk of
equation (3); P = M_dk, the factorized attention mask; Y of equations (1), (5) and (7). The paths share X, so their
masks are added before the one multiplication by X. Every other backend is compared with this file in float64.

Similarity "dot" is the paper's equation (3) to the letter. "cosine" divides T by its length in every frame first, as
the codes do from which the paper takes its temperature (docs/paper.md).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Pool = tuple[int, int, int]

EPSILON = 1e-6  # of the squared length of a position, so that the gradient of an empty one is finite


def factorized_attention_reference(
    x: Tensor,
    weight: Tensor,
    pools: Sequence[Pool],
    pool_kinds: Sequence[str],
    temperature: float,
    similarity: str,
) -> Tensor:
    """Y = X (P_1 + ... + P_P) for x [B, C, T, H, W] and weight [P, C/n, C]; Y has x's shape, dtype and layout."""
    masks = factorized_masks(x, weight, pools, pool_kinds, temperature, similarity)
    return multiply(x, sum(masks[1:], start=masks[0]).to(x.dtype))


def factorized_masks(
    x: Tensor,
    weight: Tensor,
    pools: Sequence[Pool],
    pool_kinds: Sequence[str],
    temperature: float,
    similarity: str,
) -> list[Tensor]:
    """The masks P_k [B, N, N], one per path; column j holds the weights that make output position j and sums to 1."""
    # The soft-max is done in float32 for the half types, since the logits of un-normalised products are large.
    accumulate = torch.float64 if x.dtype == torch.float64 else torch.float32
    masks = []
    for path_weight, pool, kind in zip(weight, pools, pool_kinds, strict=True):
        reduced = reduce_channels(x, path_weight)  # R [B, C/n, T, H, W]
        pooled = pool_positions(reduced, pool, kind)  # T [B, C/n, T, H, W]
        wide = pooled.to(accumulate)
        if similarity == "cosine":
            wide = normalise_positions(wide)  # U [B, C/n, T, H, W]
        rows = wide.flatten(3).flatten(1, 2)  # [B, E, N], E = C/n * T
        covariance = (temperature * rows).transpose(1, 2) @ rows  # S [B, N, N], equation (3)
        masks.append(torch.softmax(covariance, dim=-2))
    return masks


def reduce_channels(x: Tensor, path_weight: Tensor) -> Tensor:
    """R = W x: the 1x1x1 convolution H of equation (2), for one path's weight [C/n, C]."""
    if is_channels_last(x):
        return F.linear(x.permute(0, 2, 3, 4, 1), path_weight).permute(0, 4, 1, 2, 3)
    return (path_weight @ x.flatten(2)).unflatten(2, x.shape[2:])


def pool_positions(reduced: Tensor, pool: Pool, kind: str) -> Tensor:
    """T = G(R): stride 1, same size, padding takes no part (equations (4) and (6))."""
    if pool == (1, 1, 1):
        return reduced
    padding = tuple(size // 2 for size in pool)
    if kind == "max":
        return F.max_pool3d(reduced, pool, stride=1, padding=padding)
    if reduced.dtype in (torch.bfloat16, torch.float16):  # torch averages no half types on the CPU
        reduced = reduced.float()
    mean = F.avg_pool3d(F.pad(reduced, [p for p in reversed(padding) for _ in "lr"]), pool, 1)  # padding counts as 0
    return mean * (math.prod(pool) / _real_elements(reduced, pool))


def normalise_positions(pooled: Tensor) -> Tensor:
    """U = t / sqrt((|t|^2 + 1e-6) T) for the reduced channels t of every frame and position of T [B, C/n, T, H, W].

    The product of two columns is then the mean over the frames of the cosines between their positions.
    """
    square = pooled.square().sum(1, keepdim=True) + EPSILON
    return pooled / (square * pooled.shape[2]).sqrt()


def _real_elements(reduced: Tensor, pool: Pool) -> Tensor:
    """How many elements that are not padding each average is over, [T, H, W]."""
    counts = []
    for length, size in zip(reduced.shape[2:], pool, strict=True):
        positions = torch.arange(length, device=reduced.device)
        first, last = (positions - size // 2).clamp(min=0), (positions + size // 2).clamp(max=length - 1)
        counts.append((last - first + 1).to(reduced.dtype))
    t, h, w = counts
    return t[:, None, None] * h[:, None] * w


def multiply(x: Tensor, mask: Tensor) -> Tensor:
    """X M for mask [B, N, N]: every output position is a weighted sum of x's positions, the same for all rows of X."""
    if is_channels_last(x):
        frames = x.permute(0, 2, 3, 4, 1).flatten(2, 3)  # [B, T, N, C], the memory as it lies
        products = [mask.transpose(1, 2) @ frame for frame in frames.unbind(1)]  # Y_t = M^T X_t
        return torch.stack(products, dim=1).unflatten(2, x.shape[3:]).permute(0, 4, 1, 2, 3)
    rows = x.flatten(3).flatten(1, 2)  # X [B, D, N], D = C * T
    return (rows @ mask).view(x.shape)


def is_channels_last(x: Tensor) -> bool:
    """Whether x [B, C, T, H, W] lies in memory as [B, T, H, W, C]; a tensor that is both counts as contiguous."""
    # By strides, since torch.vmap refuses to be asked for a memory format.
    expected = 1
    for dim in (1, 4, 3, 2, 0):
        if x.shape[dim] != 1:
            if x.stride(dim) != expected:
                return False
            expected *= x.shape[dim]
    return not x.is_contiguous()
