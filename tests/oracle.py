"""The operator a second time, in NumPy and plain loops, straight from the paper."""

import numpy as np


def pool(reduced: np.ndarray, window, kind: str) -> np.ndarray:
    """Pools [C, T, H, W] with stride 1 and the same size; positions outside take no part."""
    channels, *lengths = reduced.shape
    out = np.empty_like(reduced)
    for c in range(channels):
        for position in np.ndindex(*lengths):
            box = tuple(
                slice(max(0, p - size // 2), p + size // 2 + 1) for p, size in zip(position, window, strict=True)
            )
            values = reduced[(c, *box)]
            out[(c, *position)] = values.max() if kind == "max" else values.mean()
    return out


def lengths(pooled: np.ndarray, similarity: str) -> np.ndarray:
    """What every position of T [C/n, T, H, W] is divided by, [T, H, W]."""
    if similarity == "dot":
        return np.ones_like(pooled[0])
    return np.sqrt(((pooled**2).sum(0) + pooled.dtype.type("1e-6")) * pooled.shape[1])


def factorized_attention(x, weight, pools, kinds, temperature, similarity="dot") -> np.ndarray:
    """Each path by itself, X times its mask, and the sum of the results (equations (1) to (7)); float64 arrays."""
    batch, channels, frames, height, width = x.shape
    out = np.zeros_like(x)
    for sample in range(batch):
        rows = x[sample].reshape(channels * frames, height * width)
        for path_weight, window, kind in zip(weight, pools, kinds, strict=True):
            reduced = np.einsum("rc,cthw->rthw", path_weight, x[sample])
            pooled = pool(reduced, window, kind)
            pooled = (pooled / lengths(pooled, similarity)).reshape(-1, height * width)
            covariance = temperature * pooled.T @ pooled
            weights = np.exp(covariance - covariance.max(0, keepdims=True))
            out[sample] += (rows @ (weights / weights.sum(0, keepdims=True))).reshape(x.shape[1:])
    return out
