"""The loaders that bench.data compares: but for one, each gives clips that are ready for a model, on its device.

All read the same random clips of the same tracklets, by the package's own sampler, with the same probabilities of a
flip and of an erased box.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from strf_cuda.data.augment import IMAGENET_MEAN, IMAGENET_STD, ClipAugmentation, draw_boxes
from strf_cuda.data.clips import training_frames
from strf_cuda.data.loader import training_loader
from strf_cuda.data.sampler import ClipRequest, PersonClipSampler
from strf_cuda.data.tracklets import Tracklet

SEED, EPOCH = 0, 0


@dataclass(frozen=True)
class Task:
    """What is loaded: batches of people x clips clips."""

    people: int = 8
    clips: int = 4
    frames: int = 4
    stride: int = 8
    height: int = 256
    width: int = 128
    flip: float = 0.5
    erase: float = 0.5

    @property
    def frames_a_batch(self) -> int:
        return self.people * self.clips * self.frames


Contender = Callable[[Sequence[Tracklet], Task, int, str], Iterator[Tensor]]


def alone(tracklets: Sequence[Tracklet], task: Task, workers: int, device: str) -> Iterator[Tensor]:
    """The package's training loader: uint8 clips [B, T, H, W, 3] in the training process."""
    loader = training_loader(
        tracklets, people=task.people, clips=task.clips, height=task.height, width=task.width, frames=task.frames,
        stride=task.stride, seed=SEED, epoch=EPOCH, workers=workers,
    )  # fmt: skip
    for batch in loader:
        yield batch["clip"]


def ours(tracklets: Sequence[Tracklet], task: Task, workers: int, device: str) -> Iterator[Tensor]:
    """The package's training loader, and its augmentation on the model's device."""
    augmentation = ClipAugmentation(task.flip, task.erase).train()
    for clips in alone(tracklets, task, workers, device):
        yield augmentation(clips.to(device, non_blocking=True))


class _Clips(Dataset):
    """Clips as float tensors [3, T, H, W], made in whatever process reads them."""

    def __init__(self, tracklets: Sequence[Tracklet], task: Task):
        self.tracklets = tracklets
        self.task = task

    def pictures(self, request: ClipRequest) -> tuple[list[Image.Image], np.random.Generator]:
        tracklet = self.tracklets[request.tracklet]
        random = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(EPOCH, request.draw)))
        chosen = training_frames(len(tracklet), self.task.frames, self.task.stride, random)
        return [Image.open(tracklet.paths[frame]).convert("RGB") for frame in chosen.tolist()], random


class PlainClips(_Clips):
    """What anyone writes: open, resize, flip, float tensor, normalise."""

    def __getitem__(self, request: ClipRequest) -> tuple[Tensor, int]:
        task = self.task
        pictures, random = self.pictures(request)
        if random.random() < task.flip:
            pictures = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]
        resized = [np.asarray(picture.resize((task.width, task.height), Image.BICUBIC)) for picture in pictures]
        clip = torch.from_numpy(np.stack(resized)).permute(3, 0, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return (clip - mean) / std, request.tracklet


class ReidClips(_Clips):
    """As published re-identification code does it: a chain of transforms for each frame, then a stack.

    After the description of AP3D's loader (github.com/guxinqian/AP3D): bicubic resize, flip, tensor, normalisation and
    random erasing, all in the workers, and clips that travel as float32.
    """

    def __getitem__(self, request: ClipRequest) -> tuple[Tensor, int]:
        task = self.task
        pictures, random = self.pictures(request)
        flip = random.random() < task.flip
        ((top, left, rows, columns),) = draw_boxes(1, task.height, task.width, task.erase)
        frames = []
        for picture in pictures:
            picture = picture.resize((task.width, task.height), Image.BICUBIC)
            if flip:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
            for channel, mean, std in zip(frame, IMAGENET_MEAN, IMAGENET_STD, strict=True):
                channel.sub_(mean).div_(std)
            frame[:, top : top + rows, left : left + columns] = 0
            frames.append(frame)
        return torch.stack(frames).permute(1, 0, 2, 3), request.tracklet


def of_clips(clips: type[_Clips]) -> Contender:
    """The contender that a data set of float clips makes with torch's own loader and collation."""

    def load(tracklets: Sequence[Tracklet], task: Task, workers: int, device: str) -> Iterator[Tensor]:
        persons = [tracklet.person_id for tracklet in tracklets]
        sampler = PersonClipSampler(persons, task.people, task.clips, SEED, EPOCH)
        pinned = device == "cuda"
        for batch, _ in DataLoader(
            clips(tracklets, task), batch_sampler=sampler, num_workers=workers, pin_memory=pinned
        ):
            yield batch.to(device, non_blocking=True)

    return load
