"""What the commands that draw pictures have in common: their options, models and clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strf_cuda.config import DataConfig, DataName
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.settings import data_settings, other_split_notes

if TYPE_CHECKING:
    import numpy as np
    import torch

    from strf_cuda.data.tracklets import Tracklet, TrackletDataset
    from strf_cuda.trained import TrainedModel

FRAME_HEIGHT = 176  # of a frame in the picture, in pixels


@dataclass
class TrackletPictureConfig:
    """Draws a picture of what a trained model makes of some tracklets.

    Args:
        checkpoint: a trained model: a checkpoint file of strf_cuda.train, or what strf_cuda.trained.open_model takes
        out: PNG file; null puts it beside the checkpoint, named after the picture
        data: data set, null for the run's
        root: folder or CSV file of the data set, null for the run's
        split: which of ten official splits, null for the run's
        query: number of a query of the data set, from 0, or a list of them; null for some of every challenge
        tracklet: a folder of frames or a single picture, shown instead of queries
        stride: distance in frames between the frames of a clip, null for that of training
        device: auto takes a GPU if there is one
    """

    checkpoint: str
    out: str | None = None
    data: DataName | None = None
    root: str | None = None
    split: int | None = None
    query: int | tuple[int, ...] | None = None
    tracklet: str | None = None
    stride: int | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"


@dataclass(frozen=True)
class Shown:
    """One clip that is drawn: its tracklet, which frames of it, and what the picture says of it."""

    tracklet: "Tracklet"
    frames: list[int]
    label: str
    notes: list[str]

    def read(self, height: int, width: int) -> "np.ndarray":
        """The frames, uint8 [T, height, width, 3]."""
        import numpy as np

        from strf_cuda.data.frames import read_frame

        return np.stack([read_frame(self.tracklet.paths[frame], height, width) for frame in self.frames])


def check_picture(config: TrackletPictureConfig) -> None:
    """Raises an `InputError` for options that no picture can have."""
    check_png(config.out)
    if config.tracklet is not None:
        for name in ("query", "data", "root", "split"):
            if getattr(config, name) is not None:
                raise InputError(f"--tracklet takes frames from a folder, and so no --{name}: leave one of them out")
    if config.stride is not None and config.stride < 1:
        raise InputError(f"stride is {config.stride}, but it must be 1 or more")
    check_query(config.query)


def check_png(out: str | None) -> None:
    """Raises an `InputError` for a file that is to be no PNG."""
    if out is not None and Path(out).suffix.lower() != ".png":
        raise InputError(f"out is {out}, but the picture is a .png file")


def check_query(query: int | tuple[int, ...] | None) -> None:
    """Raises an `InputError` for a list of no queries."""
    if query == ():
        raise InputError("query is an empty list: give at least one number, or leave it out")


def picture_path(out: str | None, checkpoint: str, name: str) -> Path:
    """Where the picture goes: `out`, or else `name` beside the model, or here if that is not on this machine.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    from strf_cuda.files import writable_folder

    beside = expanded(checkpoint).parent
    path = expanded(out) if out else (beside if beside.is_dir() else Path()) / name
    writable_folder(path.parent)
    return path


def open_models(sources: Sequence[str], device: str) -> tuple[list["TrainedModel"], "torch.device"]:
    """The models on their device."""
    from strf_cuda.devices import resolve_device
    from strf_cuda.trained import open_model

    found = resolve_device(device)
    trained = [open_model(source) for source in sources]
    for each in trained:
        each.model.to(found)
    return trained, found


def open_test_set(data: DataConfig, trained: DataConfig) -> tuple["TrackletDataset", list[str]]:
    """The data set, and notes on it as the test of a model that was trained on `trained`."""
    from strf_cuda.data import open_dataset

    dataset = open_dataset(data.name, data.root, data.split)
    return dataset, [*dataset.notes, *other_split_notes(data, trained)]


def shown_clips(config: TrackletPictureConfig, trained: DataConfig, count: int) -> tuple[str, list[Shown]]:
    """What the clips are from, in words, and the clips: of the folder, the queries asked for, or `count` others."""
    from strf_cuda.chosen import checked_queries, shown_clip, spread_over_challenges
    from strf_cuda.data.folder import read_tracklet
    from strf_cuda.pictures import tracklet_label

    stride = config.stride or trained.stride

    def clip(tracklet: "Tracklet", label: str, challenge: str | None = None) -> Shown:
        frames = shown_clip(len(tracklet), trained.frames, stride)
        notes = [] if challenge in (None, "none") else [challenge]
        notes.append(f"frames {', '.join(str(frame + 1) for frame in frames)} of {len(tracklet)}")
        return Shown(tracklet, frames, label, notes)

    if config.tracklet is not None:
        tracklet = read_tracklet(config.tracklet)
        return config.tracklet, [clip(tracklet, expanded(config.tracklet).resolve().name)]
    data = data_settings(trained, name=config.data, root=config.root, split=config.split)
    dataset, notes = open_test_set(data, trained)
    for note in notes:
        print(f"note: {note}")
    if config.query is None:
        chosen = spread_over_challenges(dataset.query, count)
    else:
        chosen = checked_queries(listed(config.query), dataset.query)
    if not chosen:
        raise InputError(f"the data set {dataset.name} has no queries to show: give a --tracklet")
    names = dataset.person_names, dataset.camera_names
    return dataset.name, [
        clip(dataset.query[index], f"query {index}: {tracklet_label(dataset.query[index], *names)}", query.challenge)
        for index, query in ((index, dataset.query[index]) for index in chosen)
    ]


def clip_tensor(shown: Sequence[Shown], data: DataConfig, device: "torch.device") -> "torch.Tensor":
    """The clips as a model of this frame size takes them: [B, 3, T, H, W]."""
    import numpy as np
    import torch

    from strf_cuda.data.augment import normalise

    pixels = np.stack([clip.read(data.height, data.width) for clip in shown])
    return normalise(torch.from_numpy(pixels).to(device))


def frame_size(data: DataConfig) -> tuple[int, int]:
    """Height and width of a frame in the picture: the shape of the model's frames."""
    return FRAME_HEIGHT, round(FRAME_HEIGHT * data.width / data.height)


def listed(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """One number, or several, as several."""
    return (value,) if isinstance(value, int) else value
