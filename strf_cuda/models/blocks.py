"""The bottleneck of ResNet-50 with a 2D, 3D or pseudo-3D convolution in its middle (paper, Figure 3(B)).

S is the 1x3x3 convolution, which carries the stride, and Tm the 3x1x1 one; BatchNorm and ReLU follow the whole:

    c2d  S(x)            p3da  Tm(S(x))          p3dc  s + Tm(s), s = S(x)
    i3d  3x3x3 (x)       p3db  S(x) + Tm(x)

Every kind starts as the C2D block with the same 2D weights: the 3x3x3 kernel holds them in its middle frame, Tm is the
identity in p3da and zero in p3db and p3dc. Names of layers are torchvision's, so ImageNet weights fit.
"""

import torch
from torch import Tensor, nn

from strf_cuda.models.frames import FrameBatchNorm2d, FrameConv2d, FrameReLU, TemporalConv

KINDS = ("c2d", "i3d", "p3da", "p3db", "p3dc")


class Bottleneck(nn.Module):
    """1x1, middle, 1x1 convolutions and the shortcut, on [B, C, T, H, W]."""

    expansion = 4

    def __init__(self, kind: str, in_channels: int, planes: int, stride: int):
        super().__init__()
        out_channels = planes * self.expansion
        self.kind = kind
        self.conv1 = FrameConv2d(in_channels, planes, 1, bias=False)
        self.bn1 = FrameBatchNorm2d(planes)
        if kind == "i3d":
            self.conv2 = nn.Conv3d(planes, planes, 3, (1, stride, stride), 1, bias=False)
        else:
            self.conv2 = FrameConv2d(planes, planes, 3, stride, 1, bias=False)
        if kind.startswith("p3d"):
            self.temporal = TemporalConv(planes, stride if kind == "p3db" else 1)
        self.bn2 = FrameBatchNorm2d(planes)
        self.conv3 = FrameConv2d(planes, out_channels, 1, bias=False)
        self.bn3 = FrameBatchNorm2d(out_channels)
        self.relu = FrameReLU()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                FrameConv2d(in_channels, out_channels, 1, stride, bias=False), FrameBatchNorm2d(out_channels)
            )
        self.appended = nn.Identity()  # a non-local block takes this place
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, FrameConv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.kind == "i3d":
            middle = torch.empty_like(self.conv2.weight[:, :, 0])
            inflate_(self.conv2, nn.init.kaiming_normal_(middle, mode="fan_out", nonlinearity="relu"))
        self.reset_temporal_parameters()

    def reset_temporal_parameters(self) -> None:
        """Sets the 3x1x1 convolution, where there is one, so that the block computes what its C2D self does."""
        if self.kind == "p3da":
            nn.init.dirac_(self.temporal.weight)
        elif self.kind.startswith("p3d"):
            nn.init.zeros_(self.temporal.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self._middle(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.appended((out + shortcut).relu_())

    def _middle(self, x: Tensor) -> Tensor:
        spatial = self.conv2(x)
        if self.kind == "p3da":
            return self.temporal(spatial)
        if self.kind == "p3db":
            return spatial + self.temporal(x)
        if self.kind == "p3dc":
            return spatial + self.temporal(spatial)
        return spatial

    def unit_place(self, placement: str) -> str:
        """The layer that a unit stands in front of: the 3x1x1 convolution ("temporal") or the one with the stride."""
        return "temporal" if placement == "temporal" and self.kind.startswith("p3d") else "conv2"


@torch.no_grad()
def inflate_(conv: nn.Conv3d, weight: Tensor) -> None:
    """Sets a k x 3 x 3 convolution to a 2D one [C_out, C_in, 3, 3] in its middle frame and zero elsewhere."""
    conv.weight.zero_()
    conv.weight[:, :, conv.kernel_size[0] // 2] = weight
