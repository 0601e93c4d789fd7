"""Data sets of clips and the loaders that read them, in worker processes or in the main one.

Whatever is random about a training clip is a function of (seed, epoch, draw), never of the process that reads it or of
global random state: an epoch read again, with any number of workers, gives the same batches. Faults in the files travel
from the workers as data and are raised, or warned about, in the main process, where a user sees them as one sentence.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from strf_cuda.data.clips import clip_count, evaluation_clips, training_frames, whole_clips
from strf_cuda.data.frames import read_frame
from strf_cuda.data.sampler import ClipRequest, PersonClipSampler
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError


class _ClipDataset(Dataset):
    """Tracklets read as clips."""

    def __init__(self, tracklets: Sequence[Tracklet], height: int, width: int):
        if not tracklets:
            raise InputError("there are no tracklets to read clips from: the list is empty")
        for index, tracklet in enumerate(tracklets):
            if len(tracklet) == 0:
                raise InputError(
                    f"tracklet {index} (person {tracklet.person_id}, camera {tracklet.camera_id}) has no frames: "
                    "remove it from the data set"
                )
        self.tracklets = tracklets
        self.height = height
        self.width = width

    def __getitems__(self, keys: list) -> list | InputError:
        """Read a batch for a loader; a fault is returned, since raised in a worker it would come out as a traceback."""
        try:
            return [self[key] for key in keys]
        except InputError as fault:
            return fault

    def _empty_clip(self, frames: int) -> np.ndarray:
        return np.empty((frames, self.height, self.width, 3), np.uint8)


class TrainingClips(_ClipDataset):
    """Random clips of tracklets, by the frame rules of `training_frames`.

    `dataset[ClipRequest(tracklet, draw)]` is a dict with
        clip: uint8 [frames, height, width, 3]
        label: the person's position in `classes`
        camera: the camera's number
        index: the tracklet's index
        skipped: a sentence for each frame that could not be read

    Args:
        stride: distance in frames between neighbouring frames of a clip.
        seed, epoch: with the request's `draw`, all that the choice of frames depends on.
        on_corrupt: what a frame that cannot be read does: "error" raises InputError; "skip" draws the clip anew from
            the tracklet's other frames. No unreadable frame is remembered, or a clip would depend on what its worker
            read before.

    Attributes:
        classes: the person ids in ascending order.

    Raises:
        InputError: an empty list, an empty tracklet; on reading, an unreadable frame, or with "skip" a tracklet that
            has no other.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        *,
        height: int,
        width: int,
        frames: int,
        stride: int,
        seed: int,
        epoch: int,
        on_corrupt: Literal["error", "skip"] = "error",
    ):
        super().__init__(tracklets, height, width)
        self.frames = frames
        self.classes = sorted({tracklet.person_id for tracklet in tracklets})
        self._labels = {person: label for label, person in enumerate(self.classes)}
        self._stride = stride
        self._seed = seed
        self._epoch = epoch
        self._skip_corrupt = on_corrupt == "skip"

    def __len__(self) -> int:
        return len(self.tracklets)

    def __getitem__(self, request: ClipRequest) -> dict[str, Any]:
        tracklet = self.tracklets[request.tracklet]
        random = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self._epoch, request.draw)))
        clip, skipped = self._draw_clip(tracklet, random)
        return {
            "clip": torch.from_numpy(clip),
            "label": self._labels[tracklet.person_id],
            "camera": tracklet.camera_id,
            "index": request.tracklet,
            "skipped": skipped,
        }

    def _draw_clip(self, tracklet: Tracklet, random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
        clip = self._empty_clip(self.frames)
        skipped = []
        candidates = np.arange(len(tracklet))
        while len(candidates):
            chosen = candidates[training_frames(len(candidates), self.frames, self._stride, random)]
            for pixels, frame in zip(clip, chosen.tolist(), strict=True):
                try:
                    read_frame(tracklet.paths[frame], self.height, self.width, out=pixels)
                except InputError as fault:
                    if not self._skip_corrupt:
                        raise InputError(
                            f"{fault}; with data.on_corrupt skip, another frame of its tracklet is drawn instead"
                        ) from fault
                    skipped.append(str(fault))
                    candidates = candidates[candidates != frame]
                    break
            else:
                return clip, skipped
        raise InputError(
            f"none of the {len(tracklet)} frames of a tracklet of person {tracklet.person_id}, camera "
            f"{tracklet.camera_id} can be read; one of them: {skipped[0]}"
        )


class EvaluationClips(_ClipDataset):
    """All clips of all tracklets, in order. A batch may go across tracklets, so long ones cost no more memory.

    `dataset[i]` is (clip uint8 [frames, height, width, 3], index of its tracklet).

    Args:
        frames: in a clip, by the rules of `evaluation_clips`; "all" for the clips of `whole_clips`.
        stride: distance in frames between neighbouring frames of a clip; 1 is the paper's protocol.
        shuffle_frames: permute the frames within each clip, the same way on every run: a control that keeps appearance
            and destroys dynamics.

    Raises:
        InputError: an empty list, an empty tracklet; on reading, an unreadable frame.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        *,
        height: int,
        width: int,
        frames: int | Literal["all"],
        stride: int = 1,
        shuffle_frames: bool = False,
    ):
        super().__init__(tracklets, height, width)
        self._stride = stride
        self._shuffle_frames = shuffle_frames
        self._frames = frames
        if frames == "all":
            counts = [min(stride, len(tracklet)) for tracklet in tracklets]
        else:
            counts = [clip_count(len(tracklet), frames) for tracklet in tracklets]
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batches(self, frames: int, tracklets: range | None = None) -> list[list[int]]:
        """The clips in batches of one length: up to `frames` frames, or a single clip where that has more.

        The longest clips come first, so that too little memory shows at once; clips of one length keep their order.

        Args:
            tracklets: consecutive ones whose clips are wanted; all without it.
        """
        tracklets = range(len(self.tracklets)) if tracklets is None else tracklets
        begin, end = (int(self._ends[index - 1]) if index else 0 for index in (tracklets.start, tracklets.stop))
        if self._frames == "all":
            chosen = (self.tracklets[index] for index in tracklets)
            lengths = np.concatenate([list(map(len, self._clips_of(tracklet))) for tracklet in chosen])
        else:
            lengths = np.full(end - begin, self._frames)
        order = np.argsort(-lengths, kind="stable")
        batches = []
        for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            size = max(1, frames // int(lengths[same[0]]))
            batches += [(begin + same[first : first + size]).tolist() for first in range(0, len(same), size)]
        return batches

    def _clips_of(self, tracklet: Tracklet) -> Sequence[np.ndarray]:
        if self._frames == "all":
            return whole_clips(len(tracklet), self._stride)
        return evaluation_clips(len(tracklet), self._frames, self._stride)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        position = int(np.searchsorted(self._ends, index, side="right"))
        tracklet = self.tracklets[position]
        chosen = self._clips_of(tracklet)[index - self._ends[position]]  # counted from the tracklet's end
        if self._shuffle_frames:
            chosen = np.random.default_rng(index).permutation(chosen)
        clip = self._empty_clip(len(chosen))
        for pixels, frame in zip(clip, chosen.tolist(), strict=True):
            read_frame(tracklet.paths[frame], self.height, self.width, out=pixels)
        return torch.from_numpy(clip), position


class ClipLoader(DataLoader):
    """A DataLoader that raises the workers' faults here and warns, once for each frame, of those that were skipped."""

    def __iter__(self) -> Iterator:
        for batch in super().__iter__():
            if isinstance(batch, InputError):
                raise InputError(str(batch))
            if isinstance(batch, dict):
                for sentence in batch.pop("skipped"):
                    _warn_once(sentence)
            yield batch


def training_loader(
    tracklets: Sequence[Tracklet],
    *,
    people: int,
    clips: int,
    height: int,
    width: int,
    frames: int,
    stride: int,
    seed: int,
    epoch: int,
    workers: int,
    on_corrupt: Literal["error", "skip"] = "error",
    process: int = 0,
    processes: int = 1,
) -> ClipLoader:
    """Batches of one training epoch: people x clips random clips, see `PersonClipSampler` and `TrainingClips`.

    Returns:
        A loader of dicts with clip uint8 [clips, frames, height, width, 3] (the memory of a channels-last float clip)
        and label, camera, index, each int64 [clips], of the people * clips that this process reads.

    Raises:
        InputError: as the sampler and the data set; an unreadable frame while iterating.
    """
    dataset = TrainingClips(
        tracklets,
        height=height,
        width=width,
        frames=frames,
        stride=stride,
        seed=seed,
        epoch=epoch,
        on_corrupt=on_corrupt,
    )
    person_ids = [tracklet.person_id for tracklet in tracklets]
    sampler = PersonClipSampler(person_ids, people, clips, seed, epoch, process, processes)
    return ClipLoader(dataset, batch_sampler=sampler, collate_fn=_collate_training, **_loading(workers))


def evaluation_loader(
    tracklets: Sequence[Tracklet],
    *,
    batch_frames: int,
    height: int,
    width: int,
    frames: int | Literal["all"],
    workers: int,
    stride: int = 1,
    shuffle_frames: bool = False,
    parts: Sequence[int] | None = None,
    process: int = 0,
    processes: int = 1,
) -> ClipLoader:
    """All clips of the tracklets in batches of `batch_frames` frames, see `EvaluationClips`.

    With several processes the batches are the same as with one and are dealt out in turn.

    Args:
        parts: the sizes of consecutive parts of the tracklets; no batch goes across them. One part without it.

    Returns:
        A loader of pairs (clips uint8 [batch, frames, height, width, 3], tracklet indexes int64 [batch]).

    Raises:
        InputError: as the data set; an unreadable frame while iterating.
    """
    dataset = EvaluationClips(
        tracklets, height=height, width=width, frames=frames, stride=stride, shuffle_frames=shuffle_frames
    )
    ends = np.cumsum([len(tracklets)] if parts is None else parts).tolist()
    batches = []
    for first, end in zip([0, *ends], ends, strict=False):
        batches += dataset.batches(batch_frames, range(first, end))[process::processes]
    return ClipLoader(dataset, batch_sampler=batches, collate_fn=_collate, **_loading(workers))


def _loading(workers: int) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator(),  # of its own, or starting an epoch would draw from torch's global one
        "worker_init_fn": _say_nothing_of_a_closed_connection,
    }


def _say_nothing_of_a_closed_connection(_: int) -> None:
    """For a worker: no traceback when the main process ends while it fetches a batch, on which it has its own sentence.

    The thread of `multiprocessing.resource_sharer` that hands the batches over would print one, by `sys.excepthook`.
    """
    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, EOFError | ConnectionError):
            before(kind, error, trace)

    sys.excepthook = show


def _collate(samples: list | InputError) -> Any:
    return samples if isinstance(samples, InputError) else default_collate(samples)


def _collate_training(samples: list[dict] | InputError) -> dict | InputError:
    if isinstance(samples, InputError):
        return samples
    skipped = [sentence for sample in samples for sentence in sample.pop("skipped")]
    return {**default_collate(samples), "skipped": skipped}


@cache
def _warn_once(sentence: str) -> None:
    warnings.warn(f"{sentence} (skipped: another frame of the tracklet was drawn)", stacklevel=2)
