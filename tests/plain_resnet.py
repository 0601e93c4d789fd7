"""The video ResNet written a second time with Conv3d and BatchNorm3d alone: no folding, no views, no hooks.

It reads the weights of a strf_cuda model by name, so a test can compare the two.
"""

import torch
import torch.nn.functional as F


def conv3d(weights, name, x, stride=1):
    weight = weights[f"{name}.weight"]
    if weight.dim() == 4:
        weight = weight.unsqueeze(2)
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, stride=(1, stride, stride), padding=padding)


def norm(weights, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(weights[f"{name}.{key}"] for key in keys), training=False)


def bottleneck(weights, name, x, stride, units):
    """`units` maps a layer's name to the module that stands in front of it."""

    def convolve(layer, y, stride=1):
        full = f"{name}.{layer}"
        return conv3d(weights, full, units[full](y) if full in units else y, stride)

    y = norm(weights, f"{name}.bn1", convolve("conv1", x)).relu()
    kind = units.get("kind")
    if f"{name}.temporal.weight" not in weights:
        y = convolve("conv2", y, stride)
    elif kind == "p3da":
        y = convolve("temporal", convolve("conv2", y, stride))
    elif kind == "p3db":
        y = convolve("conv2", y, stride) + convolve("temporal", y, stride)
    else:
        spatial = convolve("conv2", y, stride)
        y = spatial + convolve("temporal", spatial)
    y = norm(weights, f"{name}.bn3", convolve("conv3", norm(weights, f"{name}.bn2", y).relu()))
    if f"{name}.downsample.0.weight" in weights:
        x = norm(weights, f"{name}.downsample.1", conv3d(weights, f"{name}.downsample.0", x, stride))
    y = (x + y).relu()
    return units[f"{name}.appended"](y) if f"{name}.appended" in units else y


def features(weights, clips, depth, units):
    """Embeddings [B, F] in eval mode of clips [B, 3, T, H, W]."""
    x = norm(weights, "bn1", conv3d(weights, "conv1", clips, 2)).relu()
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, (blocks, stride) in enumerate(zip(depth, (1, 2, 2, 1), strict=True), start=1):
        for block in range(blocks):
            x = bottleneck(weights, f"layer{stage}.{block}", x, stride if block == 0 else 1, units)
    return norm(weights, "feature_norm", torch.amax(x, (3, 4)).mean(2))
