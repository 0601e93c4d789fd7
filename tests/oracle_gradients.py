"""The operator's gradients in NumPy and plain loops: the chain rule over oracle.py's equations, in any float type."""

import numpy as np

import oracle


def gradients(grad, x, weight, pools, kinds, temperature, similarity="dot", *, magnitudes=False):
    """Gradients of sum(grad * Y) for x [B, C, T, H, W] and weight [P, C/n, C].

    With `magnitudes` every term is counted with its absolute value: what a sum's rounding error is proportional to.
    """
    size, sign = (np.abs, 1) if magnitudes else (np.asarray, -1)
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    for sample in range(len(x)):
        values = x[sample]
        positions = values.shape[2] * values.shape[3]
        rows, grad_rows = (size(array).reshape(-1, positions) for array in (values, grad[sample]))
        grad_mask = rows.T @ grad_rows  # [N, N], the same for all paths
        for path, (path_weight, window, kind) in enumerate(zip(weight, pools, kinds, strict=True)):
            reduced = np.einsum("rc,cthw->rthw", path_weight, values)
            pooled = oracle.pool(reduced, window, kind)
            length = oracle.lengths(pooled, similarity)
            unit = pooled / length
            pooled = unit.reshape(-1, positions)
            covariance = temperature * pooled.T @ pooled
            mask = np.exp(covariance - covariance.max(0, keepdims=True))
            mask /= mask.sum(0, keepdims=True)
            grad_covariance = mask * (grad_mask + sign * (mask * grad_mask).sum(0))
            grad_pooled = size(temperature * pooled) @ (grad_covariance + grad_covariance.T)
            grad_pooled = grad_pooled.reshape(reduced.shape)
            if similarity == "cosine":  # what lies along a position is taken away
                along = (size(unit) * grad_pooled).sum(0) * reduced.shape[1]
                grad_pooled = (grad_pooled + sign * size(unit) * along) / length
            grad_reduced = _pool_gradient(grad_pooled, reduced, window, kind)
            grad_weight[path] += np.einsum("rthw,cthw->rc", grad_reduced, size(values))
            grad_x[sample] += (grad_rows @ mask.T).reshape(values.shape)
            grad_x[sample] += np.einsum("rc,rthw->cthw", size(path_weight), grad_reduced)
    return grad_x, grad_weight


def first_of_the_largest(reduced, position, window) -> tuple[int, int, int]:
    """Where in `reduced` [T, H, W] the maximum around `position` is; among equal ones the first in (t, h, w) order."""
    box = _box(position, window)
    offsets = np.unravel_index(reduced[box].argmax(), reduced[box].shape)
    return tuple(int(part.start + offset) for part, offset in zip(box, offsets, strict=True))


def _pool_gradient(grad_pooled, reduced, window, kind):
    grad_reduced = np.zeros_like(reduced)
    for row, position in ((row, place) for row in range(len(reduced)) for place in np.ndindex(*reduced.shape[1:])):
        value = grad_pooled[(row, *position)]
        if kind == "max":
            grad_reduced[(row, *first_of_the_largest(reduced[row], position, window))] += value
        else:
            box = (row, *_box(position, window))
            grad_reduced[box] += value / grad_reduced[box].size
    return grad_reduced


def _box(position, window):
    return tuple(slice(max(0, p - size // 2), p + size // 2 + 1) for p, size in zip(position, window, strict=True))
