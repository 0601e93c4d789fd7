"""A video ResNet of strf_cuda as one would type it in PyTorch: 3D layers on clips, STRF units by the literal code."""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from bench.competitors import literal
from strf_cuda.models import VideoResNet
from strf_cuda.models.frames import FrameBatchNorm2d, FrameConv2d, FrameMaxPool2d, FrameReLU, TemporalConv
from strf_cuda.modules import STRF


class PlainVideoResNet(nn.Module):
    """Computes what `model` does, from a copy of its weights, in whatever memory order the clips have."""

    def __init__(self, model: VideoResNet):
        super().__init__()
        self.net = _with_plain_layers(copy.deepcopy(model))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Clips [B, 3, T, H, W] to what a `VideoResNet` returns."""
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(clips))))
        maps = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        frames = F.max_pool3d(maps, (1, *maps.shape[3:])).flatten(2)  # [B, C, T]
        features = net.feature_norm(frames.mean(2))
        return (net.classifier(features), features) if self.training else features


class LiteralSTRF(nn.Module):
    """The unit by `bench.competitors.literal`, for units with maximum pools and the temperature of their similarity."""

    def __init__(self, unit: STRF):
        super().__init__()
        self.weight, self.pools, self.halves = unit.weight, unit.pools, unit.halves()
        self.similarity = unit.similarity

    def forward(self, x: Tensor) -> Tensor:
        for half in self.halves:
            first, last = half[0], half[-1] + 1
            x = literal(x, self.weight[first:last], self.pools[first:last], self.similarity)
        return x


def _with_plain_layers(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _plain(child) or _with_plain_layers(child))
    return module


def _plain(layer: nn.Module) -> nn.Module | None:
    """What computes the same as a layer on frames, and the unit in front of it, in 3D layers; None for other layers."""
    if isinstance(layer, FrameReLU):
        return nn.ReLU(inplace=True)
    if isinstance(layer, FrameMaxPool2d):
        return nn.MaxPool3d(*_in_3d(layer))
    if isinstance(layer, FrameBatchNorm2d):
        made = nn.BatchNorm3d(layer.num_features, layer.eps, layer.momentum)
        made.load_state_dict(layer.state_dict(), assign=True)
        return made
    if not isinstance(layer, FrameConv2d | TemporalConv):
        return None
    sizes = _in_3d(layer) if isinstance(layer, FrameConv2d) else (layer.kernel_size, layer.stride, layer.padding)
    made = nn.Conv3d(layer.in_channels, layer.out_channels, *sizes, bias=False)
    made.weight.data = layer.weight.detach().view(made.weight.shape)
    return nn.Sequential(LiteralSTRF(layer.unit), made) if hasattr(layer, "unit") else made


def _in_3d(layer: nn.Module) -> list[tuple[int, int, int]]:
    """Kernel, stride and padding of a layer that leaves the frames apart."""
    given = ((1, layer.kernel_size), (1, layer.stride), (0, layer.padding))
    return [(alone, *(value if isinstance(value, tuple) else (value, value))) for alone, value in given]
