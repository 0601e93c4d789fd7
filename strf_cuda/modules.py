"""The STRF unit as an nn.Module, and the two units it is compared with. All map [B, C, T, H, W] to the same shape."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from strf_cuda.backends.reference import multiply
from strf_cuda.errors import InputError, nearest
from strf_cuda.functional import check_pool, check_pool_kind, factorized_attention
from strf_cuda.similarity import check_temperature

TEMPORAL_PATHS = ("temporal_dynamic", "temporal_static")
SPATIAL_PATHS = ("spatial_fine", "spatial_coarse")
PATHS = TEMPORAL_PATHS + SPATIAL_PATHS
INTEGRATIONS = ("temporal_spatial", "spatial_temporal", "parallel")


class STRF(nn.Module):
    """The Spatio-Temporal Representation Factorization unit (paper, section 3).

    Its only parameter is `weight` [paths, channels/reduction, channels], one channel reduction per path, initialised
    as torch initialises a bias-free 1x1x1 convolution.

    Args:
        channels: C of the input [B, C, T, H, W].
        reduction: n of the channel reduction C -> C/n.
        resolutions: (r_tau, r_sigma), odd: pool windows of the dynamic/fine and of the static/coarse paths.
        pool: "max", "avg", or (temporal, spatial) to mix them (Figure 4(b)).
        integration: "temporal_spatial" or "spatial_temporal" (cascades, equation (8)), or "parallel".
        paths: any subset of `PATHS` (Table 4). A cascade half without paths is skipped.
        similarity: "cosine" (the default, since it is what works: docs/results.md) or "dot", the paper's letters.
        temperature: kappa of equation (3); None for 4 with "dot" and 16 with "cosine".
        recompute: keep only the input for the backward pass and compute the forward again there.
        backend: see `strf_cuda.factorized_attention`.

    Raises:
        InputError: channels not divisible by the reduction, even windows, unknown names, no paths, a temperature that
            the similarity does not take.
    """

    similarity = "dot"  # of a module that was pickled before there was another

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        resolutions: tuple[int, int] = (1, 3),
        pool: str | tuple[str, str] = "max",
        integration: str = "temporal_spatial",
        paths: Sequence[str] = PATHS,
        similarity: str = "cosine",
        temperature: float | None = None,
        recompute: bool = False,
        backend: str = "auto",
    ):
        super().__init__()
        if reduction < 1 or channels % reduction:
            raise InputError(f"{channels} channels are not divisible by the reduction {reduction}")
        if integration not in INTEGRATIONS:
            raise InputError(
                f"integration is {integration!r}, but it must be {', '.join(INTEGRATIONS)}"
                f"{nearest(str(integration), INTEGRATIONS)}"
            )
        self.channels, self.reduction = channels, reduction
        self.resolutions = tuple(resolutions)
        self.pool = (pool, pool) if isinstance(pool, str) else tuple(pool)
        self.integration = integration
        self.similarity, self.temperature = similarity, check_temperature(similarity, temperature)
        self.recompute, self.backend = recompute, backend
        self.paths = _ordered_paths(paths)
        self.pools = [_window(path, self.resolutions) for path in self.paths]
        self.pool_kinds = [_pool_kind(path, self.pool) for path in self.paths]
        self.weight = nn.Parameter(torch.empty(len(self.paths), channels // reduction, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.channels)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, T, H, W] to the same shape, dtype and layout."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._forward, x, use_reentrant=False, preserve_rng_state=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        for half in self.halves():
            x = factorized_attention(
                x,
                self.weight if len(half) == len(self.paths) else self.weight[half[0] : half[-1] + 1],
                [self.pools[k] for k in half],
                pool=[self.pool_kinds[k] for k in half],
                similarity=self.similarity,
                temperature=self.temperature,
                backend=self.backend,
            )
        return x

    def halves(self) -> list[range]:
        """Indices of the paths that share one multiplication, in the order of execution."""
        temporal = range(sum(path in TEMPORAL_PATHS for path in self.paths))
        spatial = range(len(temporal), len(self.paths))
        if self.integration == "parallel":
            return [range(len(self.paths))]
        halves = [temporal, spatial] if self.integration == "temporal_spatial" else [spatial, temporal]
        return [half for half in halves if half]

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, reduction={self.reduction}, resolutions={self.resolutions}, pool={self.pool}, "
            f"integration={self.integration}, paths={self.paths}, similarity={self.similarity}, "
            f"temperature={self.temperature}"
        )


class GramUnit(nn.Module):
    """STRF "without FAM" (Figure 6(a)): X times its own Gram matrix, without reduction, pools and soft-max.

        Y = X (X^T X) / ||X||_F^2 per sample

    The division keeps the size of Y at most that of X, so training does not overflow; the paper names none.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, T, H, W] to the same shape, dtype and layout."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.flatten(3).flatten(1, 2).float() if x.dtype != torch.float64 else x.flatten(3).flatten(1, 2)
            gram = rows.mT @ rows  # [B, N, N]
            energy = rows.square().sum((1, 2), keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
            return multiply(x, (gram / energy).to(x.dtype))


class NonLocalBlock(nn.Module):
    """The embedded-Gaussian non-local block (Wang et al., CVPR 2018) as video re-ID code bases insert it.

    Inner channels C/2; g, theta, phi and the output are 1x1x1 convolutions with bias; spatial max-pool 2x2 after g
    and phi, where the map is that large; soft-max without scaling; the last BatchNorm starts at zero, so the block
    starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        if channels % 2:
            raise InputError(f"a non-local block needs an even number of channels, but there are {channels}")
        inner = channels // 2
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, T, H, W] to the same shape."""
        pool = (1, min(2, x.shape[3]), min(2, x.shape[4]))
        query = self.theta(x).flatten(2).mT  # [B, T*H*W, C/2]
        key = F.max_pool3d(self.phi(x), pool).flatten(2).mT  # [B, T*H*W/4, C/2]
        value = F.max_pool3d(self.g(x), pool).flatten(2).mT
        y = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.norm(self.out(y.mT.unflatten(2, x.shape[2:])))


def _ordered_paths(paths: Sequence[str]) -> tuple[str, ...]:
    for path in paths:
        if path not in PATHS:
            raise InputError(f"path is {path!r}, but it must be one of {', '.join(PATHS)}{nearest(str(path), PATHS)}")
    if not paths or len(set(paths)) < len(paths):
        raise InputError(f"paths are {tuple(paths)}, but there must be at least one and none twice")
    return tuple(path for path in PATHS if path in paths)


def _window(path: str, resolutions: tuple[int, int]) -> tuple[int, int, int]:
    if len(resolutions) != 2:
        raise InputError(f"resolutions are {resolutions}, but there must be two: (dynamic/fine, static/coarse)")
    size = resolutions[path in ("temporal_static", "spatial_coarse")]
    return check_pool((size, 1, 1) if path in TEMPORAL_PATHS else (1, size, size))


def _pool_kind(path: str, pool: tuple[str, ...]) -> str:
    if len(pool) != 2:
        raise InputError(f"pool is {pool}, but it must be one name or two: (temporal, spatial)")
    return check_pool_kind(pool[path in SPATIAL_PATHS])
