"""The operator as one would first write it in PyTorch, in the type of its input: what rounding errors are measured by.

It shares no code with the package. It is written to round seldom, so that comparisons with it are strict: the soft-max
is in float32 at least, and the paths' masks are added before they are rounded once.
"""

import torch
import torch.nn.functional as F


def factorized_attention(x, weight, pools, kinds, temperature):
    """Y [B, C, T, H, W] of x [B, C, T, H, W] and weight [P, C/n, C]; autograd gives the gradients."""
    wide = torch.promote_types(x.dtype, torch.float32)
    mask = 0
    for path_weight, window, kind in zip(weight, pools, kinds, strict=True):
        reduced = torch.einsum("rc,bcthw->brthw", path_weight, x)
        rows = _pool(reduced, window, kind).flatten(3).flatten(1, 2).to(wide)  # [B, E, N]
        mask = mask + torch.softmax(temperature * torch.einsum("bei,bej->bij", rows, rows), dim=1)
    return torch.einsum("bcti,bij->bctj", x.flatten(3), mask.to(x.dtype)).unflatten(3, x.shape[3:])


def _pool(reduced, window, kind):
    padding = [size // 2 for size in window]
    if kind == "max":
        return F.max_pool3d(reduced, window, stride=1, padding=padding)
    ones = reduced.new_ones(1, 1, *window)
    total = F.conv3d(reduced.flatten(0, 1)[:, None], ones, padding=padding).view_as(reduced)
    return total / F.conv3d(reduced.new_ones(1, 1, *reduced.shape[2:]), ones, padding=padding)
