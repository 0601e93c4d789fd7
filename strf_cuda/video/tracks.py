"""The boxes of a tracker that can be cut out, and how many cannot, for which reason."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from strf_cuda.errors import InputError
from strf_cuda.video.boxes import Form, in_pixels
from strf_cuda.video.table import read_table

_LARGEST = 2.0**53  # what float64 counts to; trackers number what they have not linked by the last of 64 bits
_MOST_NAMED = 8
_UNTRACKED = "of no track (id below 0, or none)"


@dataclass(frozen=True)
class Tracks:
    """Boxes of a tracker, in the order of its file.

    Attributes:
        frames: int64 [n], as the file counts them.
        ids: int64 [n], at least 0.
        boxes: float64 [n, 4], left, top, width and height in pixels.
        first_frame: the number of the video's first frame.
        left_out: other boxes of the file, by reason.
        notes: sentences that the user should read.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    first_frame: int = 1
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    def without(self, wrong: np.ndarray, reason: str) -> "Tracks":
        """Leaves boxes out; `wrong` is bool [n]."""
        left_out = {**self.left_out, reason: int(wrong.sum())} if wrong.any() else self.left_out
        kept = ~wrong
        return replace(self, frames=self.frames[kept], ids=self.ids[kept], boxes=self.boxes[kept], left_out=left_out)


def told(left_out: Mapping[str, int]) -> str:
    """How many boxes were left out, and why."""
    counts = left_out.items()
    return ", ".join(f"{count:,} {'box' if count == 1 else 'boxes'} {reason}" for reason, count in counts if count)


def read_tracks(
    path: str | os.PathLike,
    *,
    height: int,
    width: int,
    video: str | None = None,
    first_frame: int | None = None,
    classes: Sequence[int] | None = None,
    min_confidence: float | None = None,
    boxes: Form | None = None,
) -> Tracks:
    """Reads the file of any tracker; boxes that cannot be cut out are left out and counted.

    Args:
        path: the file, or a folder of Ultralytics' labels.
        height, width: of the video's frames in pixels.
        video: its name without the ending.
        first_frame: the number of the video's first frame in the file; None takes 0 where a box has it, and else 1.
        classes: take only lines of one of these classes.
        min_confidence: take only lines of at least this confidence.
        boxes: what a box's four numbers are; None goes by the header, and takes sizes without one.

    Raises:
        InputError: the file cannot be read, its boxes are not what they are taken for, or nothing is left of it.
    """
    path = Path(path)
    table = read_table(path, video)
    left_out, notes = Counter(table.left_out), list(table.notes)
    values = table.values

    def leave_out(wrong: np.ndarray, reason: str) -> None:
        nonlocal values
        left_out[reason] += int(wrong.sum())
        values = values[~wrong]

    leave_out(~(_whole(values[:, 0]) & np.isfinite(values[:, 2:6]).all(1)), "without a number of frame or box")
    leave_out(~(_whole(values[:, 1]) & (values[:, 1] >= 0)), _UNTRACKED)
    if first_frame is None:
        first_frame = 0 if (values[:, 0] == 0).any() else 1
        if first_frame == 0:
            notes.append(f"{path.name} counts frames from 0")
    leave_out(values[:, 0] < first_frame, f"before the first frame, {first_frame}")
    if classes is not None and len(values):
        leave_out(~_of_classes(path, values, classes), f"of other classes than {', '.join(map(str, classes))}")
    elif note := _note_on_classes(path, values):
        notes.append(note)
    if min_confidence is not None and len(values):
        leave_out(~_sure(path, values, min_confidence), f"of a confidence below {min_confidence:g}")
    values[:, 2:6], more = in_pixels(values[:, 2:6], boxes or table.form, height, width, path)
    leave_out((values[:, 4:6] <= 0).any(1), "of no width or height")
    leave_out(_seen_before(values), "of a track that has a box in that frame already")
    if not len(values):
        advice = "; give what the tracker writes, which links the boxes of a person" if left_out[_UNTRACKED] else ""
        raise InputError(f"nothing is left of {path}: {told(left_out)}{advice}")
    frames, ids = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    counts = {reason: count for reason, count in left_out.items() if count}
    return Tracks(frames, ids, values[:, 2:6].copy(), first_frame, counts, notes + more)


def _whole(numbers: np.ndarray) -> np.ndarray:
    return (numbers == np.floor(numbers)) & (np.abs(numbers) < _LARGEST)


def _of_classes(path: Path, values: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Which lines are of one of the classes."""
    found = values[:, 7]
    if np.isnan(found).all():
        raise InputError(f"{path} names no classes by number: they stand in column 8; leave --classes out")
    taken = np.isin(found, classes)
    if not taken.any():
        wanted = ", ".join(map(str, classes))
        raise InputError(f"no line of {path} is of class {wanted}: it has {_named(found)}")
    return taken


def _note_on_classes(path: Path, values: np.ndarray) -> str | None:
    """In ground truth cars and reflections have tracks as well."""
    found = np.unique(values[np.isfinite(values[:, 7]), 7])
    if len(found) < 2 or found[0] < 0 or (found != np.floor(found)).any():
        return None
    return (
        f"{path.name} has the classes {_named(found)}, and all are taken: --classes '[{found[0]:g}]' takes class "
        f"{found[0]:g}"
    )


def _named(values: np.ndarray) -> str:
    """The first few of them."""
    values = np.unique(values[np.isfinite(values)])
    return ", ".join(f"{value:g}" for value in values[:_MOST_NAMED]) + (", ..." if len(values) > _MOST_NAMED else "")


def _sure(path: Path, values: np.ndarray, min_confidence: float) -> np.ndarray:
    """Which lines have that confidence."""
    confidence = values[:, 6]
    if (np.isnan(confidence) | (confidence == -1)).all():
        raise InputError(f"{path} has no confidence: column 7 is missing or -1 throughout; leave --min_confidence out")
    return confidence >= min_confidence


def _seen_before(values: np.ndarray) -> np.ndarray:
    """Which lines are of a track and frame that an earlier line is of too, as of a file that was written twice."""
    again = np.ones(len(values), bool)
    again[np.unique(values[:, :2], axis=0, return_index=True)[1]] = False
    return again
