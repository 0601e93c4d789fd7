"""2D layers on clips: every layer takes and returns [B, C, T, H, W] and works on the frames folded into the batch.

A channels-last clip is the memory [B, T, H, W, C], which is also the memory of B*T channels-last images: folding and
unfolding are views, and 2D weights are those of an image network. Contiguous clips work too, at the price of a copy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fold(clips: Tensor) -> Tensor:
    """[B, C, T, H, W] as frames [B*T, C, H, W]; a view of a channels-last clip."""
    return clips.transpose(1, 2).flatten(0, 1)


def unfold(frames: Tensor, frames_per_clip: int) -> Tensor:
    """[B*T, C, H, W] as clips [B, C, T, H, W]; the inverse of `fold`."""
    return frames.unflatten(0, (-1, frames_per_clip)).transpose(1, 2)


class FrameConv2d(nn.Conv2d):
    """A 1 x k x k convolution: an ordinary 2D convolution of every frame."""

    def forward(self, clips: Tensor) -> Tensor:
        return unfold(super().forward(fold(clips)), clips.shape[2])


class FrameBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over batch, frames and positions."""

    def forward(self, clips: Tensor) -> Tensor:
        return unfold(super().forward(fold(clips)), clips.shape[2])


class FrameMaxPool2d(nn.MaxPool2d):
    """A spatial max-pool of every frame."""

    def forward(self, clips: Tensor) -> Tensor:
        return unfold(super().forward(fold(clips)), clips.shape[2])


class FrameReLU(nn.ReLU):
    """ReLU, in place where no gradient is wanted.

    What the layers above return are views, and a view that was changed in place makes the backward pass copy whole
    gradients (autograd's CopySlices): a tenth of a training step.
    """

    def forward(self, clips: Tensor) -> Tensor:
        return F.relu(clips, inplace=not torch.is_grad_enabled())


class TemporalConv(nn.Conv3d):
    """A 3 x 1 x 1 convolution without bias, computed as a 3 x 1 one over the two axes (frames, positions).

    Its weight [C_out, C_in, 3, 1, 1] is that of a Conv3d. A channels-last clip is read as it lies, and 2D convolutions
    are the better tuned ones.
    """

    def __init__(self, channels: int, spatial_stride: int = 1):
        super().__init__(channels, channels, (3, 1, 1), (1, spatial_stride, spatial_stride), (1, 0, 0), bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        _, step_h, step_w = self.stride
        seen = channels_last(clips[..., ::step_h, ::step_w])
        flat = F.conv2d(seen.flatten(3), self.weight.flatten(3), padding=(1, 0))
        return flat.unflatten(3, seen.shape[3:])


def channels_last(clips: Tensor) -> Tensor:
    """The clip in the memory order [B, T, H, W, C]; a copy only where it lies otherwise."""
    return clips.contiguous(memory_format=torch.channels_last_3d)
