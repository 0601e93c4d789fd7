"""The video ResNet of the paper's Figure 3(A): trunk, units, and the re-identification head."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strf_cuda.errors import InputError, nearest
from strf_cuda.models.blocks import KINDS, Bottleneck
from strf_cuda.models.frames import FrameBatchNorm2d, FrameConv2d, FrameMaxPool2d, FrameReLU, channels_last, fold
from strf_cuda.models.insertion import insert_units
from strf_cuda.modules import STRF, GramUnit, NonLocalBlock

UNITS = ("strf", "gram", "nonlocal")
PLACEMENTS = ("temporal", "spatial")
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by rank
TEMPORAL_STAGES = (2, 3)  # the stages whose blocks are I3D or P3D in every baseline


class VideoResNet(nn.Module):
    """ResNet with bottlenecks on clips [B, 3, T, H, W], without temporal down-sampling and with last stride 1.

    Head: spatial max-pool of every frame, mean over frames, BatchNorm1d; that feature feeds the losses and the
    classifier.
    """

    def __init__(self, kinds: Sequence[Sequence[str]], num_classes: int, width: int):
        super().__init__()
        self.conv1 = FrameConv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = FrameBatchNorm2d(width)
        self.relu = FrameReLU()
        self.maxpool = FrameMaxPool2d(3, 2, 1)
        channels = width
        for stage, (stage_kinds, stride) in enumerate(zip(kinds, (1, 2, 2, 1), strict=True), start=1):
            planes = width * 2 ** (stage - 1)
            blocks = []
            for index, kind in enumerate(stage_kinds):
                blocks.append(Bottleneck(kind, channels, planes, stride if index == 0 else 1))
                channels = planes * Bottleneck.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.feature_norm = nn.BatchNorm1d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.feature_norm.weight, 1.0, 0.02)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def to(self, *args, memory_format: torch.memory_format | None = None, **kwargs) -> "VideoResNet":
        """As `nn.Module.to`; both channels-last formats mean the one of each weight's rank, 2D and 3D ones alike."""
        if memory_format not in CHANNELS_LAST.values():
            return super().to(*args, memory_format=memory_format, **kwargs)
        super().to(*args, **kwargs)
        return self._apply(
            lambda tensor: tensor.contiguous(memory_format=CHANNELS_LAST.get(tensor.dim(), torch.preserve_format))
        )

    @property
    def feature_size(self) -> int:
        """Length of the embedding, 2048 at width 64."""
        return self.feature_norm.num_features

    def feature_maps(self, clips: Tensor) -> Tensor:
        """The last stage's output [B, C, T, H/16, W/16]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(channels_last(clips)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Clips [B, 3, T, H, W] to features [B, feature_size]; in training to (logits [B, num_classes], features)."""
        maps = self.feature_maps(clips)
        frames = F.max_pool2d(fold(maps), maps.shape[3:]).flatten(1)  # [B*T, C]
        features = self.feature_norm(frames.unflatten(0, (-1, maps.shape[2])).mean(1))
        return (self.classifier(features), features) if self.training else features


def create_model(
    kind: str,
    num_classes: int,
    *,
    unit: str | None = "strf",
    stages: Sequence[int] = (2, 3),
    placement: str = "temporal",
    width: int = 64,
    depth: Sequence[int] = (3, 4, 6, 3),
    unit_options: Mapping[str, Any] | None = None,
) -> VideoResNet:
    """Builds a video ResNet of the paper's Table 2, or a smaller one.

    I3D and P3D blocks are blocks 0, 2, 4, ... of stages 2 and 3 (up to 0, 2, 4); STRF units stand in the same blocks
    of `stages`, and make a block of another stage one of `kind` too. Non-local blocks follow blocks 1, 3, 5.

    Args:
        kind: "c2d", "i3d", "p3da", "p3db" or "p3dc".
        num_classes: people in training.
        unit: "strf", "gram" (STRF without FAM, Figure 6(a)), "nonlocal", or None for the baseline.
        stages: the stages 1 to 4 that get units (Table 5).
        placement: the unit in front of the 3x1x1 ("temporal") or the 1x3x3 convolution ("spatial"; supplement, Figure
            2). C2D and I3D blocks have one convolution, and the unit stands in front of that.
        width: channels of the first convolution; features have 32 * width.
        depth: blocks in each of the four stages.
        unit_options: keyword arguments of `strf_cuda.STRF`.

    Raises:
        InputError: an unknown name or stage, a depth without four stages, channels that the reduction does not divide.
    """
    _check(kind, num_classes, unit, stages, placement, width, depth)
    temporal_stages = {*TEMPORAL_STAGES, *(stages if unit in ("strf", "gram") else ())}
    kinds = [
        [kind if stage in temporal_stages and _is_temporal_block(index) else "c2d" for index in range(blocks)]
        for stage, blocks in enumerate(depth, start=1)
    ]
    model = VideoResNet(kinds, num_classes, width)
    units = {}
    for stage in sorted(set(stages)):
        for index, block in enumerate(getattr(model, f"layer{stage}")):
            if unit == "nonlocal" and index % 2 and index < 6:
                block.appended = NonLocalBlock(block.conv3.out_channels)
            elif unit in ("strf", "gram") and _is_temporal_block(index):
                channels = block.conv2.in_channels
                units[f"layer{stage}.{index}.{block.unit_place(placement)}"] = (
                    STRF(channels, **(unit_options or {})) if unit == "strf" else GramUnit()
                )
    return insert_units(model, units)


def _is_temporal_block(index: int) -> bool:
    return index in (0, 2, 4)


def _check(kind, num_classes, unit, stages, placement, width, depth) -> None:
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, but it must be one of {', '.join(KINDS)}{nearest(str(kind), KINDS)}")
    if unit is not None and unit not in UNITS:
        raise InputError(f"unit is {unit!r}, but it must be one of {', '.join(UNITS)}, none{nearest(str(unit), UNITS)}")
    if placement not in PLACEMENTS:
        raise InputError(f"placement is {placement!r}, but it must be {' or '.join(PLACEMENTS)}")
    if any(stage not in (1, 2, 3, 4) for stage in stages):
        raise InputError(f"stages are {tuple(stages)}, but a ResNet has the stages 1, 2, 3 and 4")
    if len(depth) != 4 or any(blocks < 1 for blocks in depth):
        raise InputError(f"depth is {tuple(depth)}, but it must give at least one block for each of four stages")
    if unit == "nonlocal" and all(depth[stage - 1] < 2 for stage in stages):
        raise InputError(
            f"a non-local block follows the second block of a stage, but with depth {tuple(depth)} the stages "
            f"{tuple(stages)} have one block each: give them more"
        )
    if width < 1 or num_classes < 1:
        raise InputError(f"width is {width} and num_classes {num_classes}, but both must be at least 1")
