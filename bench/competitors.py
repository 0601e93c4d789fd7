"""The ways to compute the operator: strf_cuda's, the paper's equations as one would type them, and better ones.

All take x [B, C, T, H, W], weight [P, C/n, C], P pool windows (maximum pools) and the similarity, whose usual
temperature they use, and return Y with x's shape.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from bench.problems import HALVES, POOLS, Problem
from strf_cuda import factorized_attention
from strf_cuda.backends import backends
from strf_cuda.backends.reference import EPSILON, Pool, is_channels_last
from strf_cuda.similarity import TEMPERATURES

Operator = Callable[[Tensor, Tensor, Sequence[Pool], str], Tensor]
BACKENDS = {"cpu": ("cpu", "reference"), "cuda": ("cuda", "triton", "reference")}  # which serve a device's tensors


def literal(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str) -> Tensor:
    """Each path by itself, in the layers and functions that the paper's text names; the results are added."""
    rows = x.flatten(3).flatten(1, 2)  # X [B, D, N]
    outputs = []
    for path_weight, pool in zip(weight, pools, strict=True):
        reduced = F.conv3d(x, path_weight[:, :, None, None, None])  # [B, C/n, T, H, W]
        pooled = F.max_pool3d(reduced, pool, stride=1, padding=[size // 2 for size in pool])
        if similarity == "cosine":
            pooled = normalised(pooled)
        pooled = pooled.flatten(3).flatten(1, 2)  # [B, E, N]
        covariance = TEMPERATURES[similarity] * torch.bmm(pooled.mT, pooled)  # [B, N, N], symmetric
        outputs.append(torch.bmm(rows, torch.softmax(covariance, dim=-1).mT))
    return add(outputs).view(x.shape)


def masks_summed(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str) -> Tensor:
    """The strongest plain PyTorch we know: one reduction and one soft-max for all paths, masks added, one product."""
    masks = torch.softmax(_covariances(x, weight, pools, similarity), dim=-1)
    mask = masks.sum(1)  # [B, N, N], rows make output positions
    if is_channels_last(x):
        frames = x.permute(0, 2, 3, 4, 1).flatten(2, 3)  # [B, T, N, C], the memory as it lies
        products = [mask @ frame for frame in frames.unbind(1)]
        return torch.stack(products, dim=1).unflatten(2, x.shape[3:]).permute(0, 4, 1, 2, 3)
    return (x.flatten(3).flatten(1, 2) @ mask.mT).view(x.shape)


def sdpa(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str) -> Tensor:
    """Each path one call of torch's scaled_dot_product_attention with q = k = U_k^T and v = X^T."""
    return _attention(x, weight, pools, similarity, F.scaled_dot_product_attention)


def flex(attention: Callable) -> Operator:
    """Each path one call of `attention`, a compiled flex_attention."""
    return lambda x, weight, pools, similarity: _attention(x, weight, pools, similarity, attention)


def competitors(compiled: bool) -> dict[str, Operator]:
    """The ways that are not ours, by name; with `compiled` also those through torch.compile.

    These compile at their first call. Call torch.compiler.reset() between problems: after eight sizes torch.compile
    would refuse more.
    """
    found = {"literal code": literal, "masks summed": masks_summed, "SDPA": sdpa}
    if compiled:
        options = {"fullgraph": True, "dynamic": False}
        found["literal code, torch.compile"] = torch.compile(literal, **options)
        found["masks summed, torch.compile"] = torch.compile(masks_summed, **options)
        found["FlexAttention"] = flex(torch.compile(flex_attention, **options))
    return found


def usable_backends(device: str) -> list[str]:
    """strf_cuda's backends that run here on this device's tensors, the one that "auto" takes first."""
    return [name for name in BACKENDS[device] if backends()[name] == "usable"]


def ours(backend: str) -> Operator:
    """strf_cuda's operator by one of its backends."""
    return lambda x, weight, pools, similarity: factorized_attention(
        x, weight, pools, similarity=similarity, backend=backend
    )


def solve(operator: Operator, problem: Problem, x: Tensor, weight: Tensor) -> Tensor:
    """Y of all four paths in parallel, or of the cascade of two calls."""
    for first, last in HALVES[problem.integration]:
        x = operator(x, weight[first:last], POOLS[first:last], problem.similarity)
    return x


def add(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors."""
    return sum(terms[1:], start=terms[0])


def normalised(pooled: Tensor) -> Tensor:
    """U of T [B, C/n, T, H, W]: each position divided by its length, the product of two columns a mean over frames."""
    square = pooled.square().sum(1, keepdim=True) + EPSILON
    return pooled / (square * pooled.shape[2]).sqrt()


def _attention(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str, attention: Callable) -> Tensor:
    batch, channels, frames, height, width = x.shape
    # Fused attention kernels want the last dimension contiguous.
    value = x.permute(0, 3, 4, 2, 1).reshape(batch, 1, height * width, frames * channels)  # X^T
    paths = [pooled.mT.contiguous()[:, None] for pooled in _pooled(x, weight, pools, similarity)]  # [B, 1, N, E]
    outputs = [attention(query, query, value, scale=TEMPERATURES[similarity]) for query in paths]  # [B, 1, N, T C]
    return add(outputs).view(batch, height, width, frames, channels).permute(0, 4, 3, 1, 2)


def _covariances(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str) -> Tensor:
    """S [B, P, N, N] of all paths."""
    rows = torch.stack(_pooled(x, weight, pools, similarity), dim=1)  # [B, P, E, N]
    return (TEMPERATURES[similarity] * rows).mT @ rows


def _pooled(x: Tensor, weight: Tensor, pools: Sequence[Pool], similarity: str) -> list[Tensor]:
    """U_k [B, E, N] of each path, from one reduction for all and without calling a pool that changes nothing."""
    filters = weight.flatten(0, 1)  # [P C/n, C]
    if is_channels_last(x):
        reduced = F.linear(x.permute(0, 2, 3, 4, 1), filters).permute(0, 4, 1, 2, 3).contiguous()
    else:
        reduced = F.conv3d(x, filters[:, :, None, None, None])
    parts = reduced.split(weight.shape[1], dim=1)
    pooled = [
        part if pool == (1, 1, 1) else F.max_pool3d(part, pool, 1, [size // 2 for size in pool])
        for part, pool in zip(parts, pools, strict=True)
    ]
    if similarity == "cosine":
        pooled = [normalised(part) for part in pooled]
    return [part.flatten(3).flatten(1, 2) for part in pooled]
