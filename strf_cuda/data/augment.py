"""From uint8 clips to what a model takes, on the model's device: flips, random erasing, ImageNet normalisation.

The STRF paper trains with random horizontal flips and random erasing (supplement, "Hyperparameters Details"). A clip is
augmented as one: its frames share the flip and, unless asked otherwise, the erased box, for motion to stay what it was.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Zhong et al., "Random Erasing Data Augmentation", AAAI 2020 (arXiv:1708.04896): the ranges they recommend for re-ID
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
_ATTEMPTS = 100


def normalise(clips: Tensor) -> Tensor:
    """Scale 8-bit RGB to [0, 1], subtract ImageNet's mean and divide by its standard deviation.

    Args:
        clips: uint8 [B, T, H, W, 3], contiguous.

    Returns:
        float32 [B, 3, T, H, W], a view of [B, T, H, W, 3] memory: channels-last, as the folded 2D convolutions want it.
    """
    shift, scale = _row_constants(clips.shape[3], clips.device)
    rows = clips.flatten(3).to(torch.float32)  # [B, T, H, W * 3]
    return rows.sub_(shift).mul_(scale).view(clips.shape).permute(0, 4, 1, 2, 3)


@cache
def _row_constants(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of 8-bit values along a row of pixels, each [W * 3].

    Whole rows, since arithmetic over a last dimension of 3 is four to seven times slower on a CPU.
    """
    shift = 255 * torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    scale = 1 / (255 * torch.tensor(IMAGENET_STD, dtype=torch.float64))
    return tuple(constant.float().repeat(width).to(device) for constant in (shift, scale))


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers for augmenting the batch of one training step, on the CPU: the same for every device."""
    state = np.random.SeedSequence(seed, spawn_key=(step,)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class ClipAugmentation(nn.Module):
    """Random flips and random erasing of normalised clips in training mode; normalisation alone in evaluation mode.

    A clip is flipped left to right with probability `flip`. With probability `erase` a box is erased: its area uniform
    in 0.02-0.4 of the frame, its height over width uniform in 0.3-3.33, drawn again until it fits, its place uniform
    (Zhong et al. 2020). Erased pixels get ImageNet's mean, which is 0 after normalisation.

    Args:
        flip: probability for a clip.
        erase: probability for a clip, or for a frame with `erase_per_frame`.
        erase_per_frame: draw a box for each frame rather than one for the clip.
    """

    def __init__(self, flip: float = 0.5, erase: float = 0.5, erase_per_frame: bool = False):
        super().__init__()
        self.flip = flip
        self.erase = erase
        self.erase_per_frame = erase_per_frame

    def extra_repr(self) -> str:
        return f"flip={self.flip}, erase={self.erase}, erase_per_frame={self.erase_per_frame}"

    def forward(
        self, clips: Tensor, generator: torch.Generator | None = None, share: range | None = None, batch: int = 0
    ) -> Tensor:
        """Augment a batch; the input is left as it is.

        Args:
            clips: uint8 [B, T, H, W, 3], contiguous, on any device.
            generator: a CPU generator that all draws come from; torch's default one without it.
            share, batch: where `clips` are these rows of a batch of `batch` clips, the draws are made for all of it, so
                that a batch is augmented the same in however many processes.

        Returns:
            float32 [B, 3, T, H, W], a view of [B, T, H, W, 3] memory.
        """
        if not self.training:
            return normalise(clips)
        if share is None:
            share, batch = range(len(clips)), len(clips)
        flips = torch.rand(batch, generator=generator)[share.start : share.stop] < self.flip
        flipped = flips.nonzero()[:, 0].to(clips.device)
        clips = clips.index_copy(0, flipped, clips.index_select(0, flipped).flip(3))
        out = normalise(clips)

        own, time, height, width = clips.shape[:4]
        boxes_a_clip, frames_a_box = (time, 1) if self.erase_per_frame else (1, time)
        areas = out.permute(0, 2, 3, 4, 1).view(own * boxes_a_clip, frames_a_box, height, width, 3)
        boxes = draw_boxes(batch * boxes_a_clip, height, width, self.erase, generator)
        own_boxes = boxes[share.start * boxes_a_clip : share.stop * boxes_a_clip]
        for area, (top, left, rows, columns) in zip(areas, own_boxes, strict=True):
            area[:, top : top + rows, left : left + columns] = 0
        return out


def draw_boxes(
    count: int, height: int, width: int, probability: float, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Draw boxes to erase; the number of random values drawn does not depend on their values.

    Returns:
        `count` boxes [top, left, rows, columns] in pixels; without rows and columns where nothing is to be erased, also
        when none of a hundred attempts fits the frame, as in Zhong et al.'s code.
    """
    erased = torch.rand(count, generator=generator) < probability
    area, aspect = torch.rand(2, count, _ATTEMPTS, generator=generator, dtype=torch.float64)
    area = height * width * torch.lerp(*area.new_tensor(ERASED_AREA), area)
    aspect = torch.lerp(*aspect.new_tensor(ERASED_ASPECT), aspect)
    place = torch.rand(count, 2, generator=generator, dtype=torch.float64)

    sizes = torch.stack((area * aspect, area / aspect), -1).sqrt().round().long()  # [count, attempts, 2]
    limits = torch.tensor([height, width])
    fits = ((sizes > 0) & (sizes < limits)).all(-1)
    first = fits.int().argmax(1)
    size = sizes[torch.arange(count), first] * (erased & fits.any(1))[:, None]
    corner = (place * (limits - size + 1)).long()
    return torch.cat((corner, size), 1).tolist()
