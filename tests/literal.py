"""The operator as one would first write it in PyTorch, in the type of its input: what rounding errors are measured by.

It shares no code with the package. It is written to round seldom, so that comparisons with it are strict: averages and
the soft-max are in float32 at least, and the paths' masks are added before they are rounded once.
"""

import torch
import torch.nn.functional as F


def factorized_attention(x, weight, pools, kinds, temperature, similarity="dot"):
    """Y [B, C, T, H, W] of x [B, C, T, H, W] and weight [P, C/n, C]; autograd gives the gradients."""
    mask = 0
    for path_weight, window, kind in zip(weight, pools, kinds, strict=True):
        reduced = (path_weight @ x.flatten(2)).unflatten(2, x.shape[2:])  # [B, C/n, T, H, W]
        rows = pool(reduced, window, kind)
        if similarity == "cosine":
            wide = rows.to(torch.promote_types(rows.dtype, torch.float32))  # squares soon overflow in float16
            square = wide.square().sum(1, keepdim=True) + 1e-6
            rows = (wide / (square * rows.shape[2]).sqrt()).to(rows.dtype)
        rows = rows.flatten(3).flatten(1, 2)  # [B, E, N]
        mask = mask + torch.softmax(temperature * torch.einsum("bei,bej->bij", rows, rows), dim=1)
    return torch.einsum("bcti,bij->bctj", x.flatten(3), mask.to(x.dtype)).unflatten(3, x.shape[3:])


def pool(reduced, window, kind):
    """Maximum or average of R [B, C/n, T, H, W], stride 1, same size, padding takes no part; float32 at least."""
    wide = torch.promote_types(reduced.dtype, torch.float32)
    if kind == "max":
        return F.max_pool3d(reduced, window, stride=1, padding=[size // 2 for size in window]).to(wide)

    def total(values):
        around = [size // 2 for size in reversed(window) for _ in range(2)]
        return F.avg_pool3d(F.pad(values, around), window, stride=1, divisor_override=1)

    return total(reduced.to(wide)) / total(torch.ones_like(reduced, dtype=wide))
