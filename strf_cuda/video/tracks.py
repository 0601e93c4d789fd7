"""Reads the boxes that a tracker has written in the format of the MOTChallenge (motchallenge.net/instructions).

    frame,id,left,top,width,height,confidence,x,y,z                     results of trackers
    frame,id,left,top,width,height,considered,class,visibility          ground truth

Commas or white space; of the columns after the sixth only confidence and class are read, and only when asked for.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from strf_cuda.data.indexing import and_more
from strf_cuda.errors import InputError

FORMAT = "frame,id,left,top,width,height[,confidence,...]"
_LARGEST = 2**31 - 1
_MOST_NAMED = 8
_EMPTY_CELL = re.compile(r",[^\S\n]*,")


@dataclass(frozen=True)
class Tracks:
    """Boxes of a tracks file, in the order of its lines.

    Attributes:
        frames: int64 [n], as the file counts them.
        ids: int64 [n], at least 0.
        boxes: float64 [n, 4], left, top, width and height in pixels.
        lines: int64 [n], where they stand in the file, from 1.
        left_out: boxes that the options leave out, by reason.
        notes: sentences that the user should read.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    lines: np.ndarray
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)


def read_tracks(
    path: str | os.PathLike,
    *,
    first_frame: int = 1,
    classes: Sequence[int] | None = None,
    min_confidence: float | None = None,
) -> Tracks:
    """Reads and checks a tracks file.

    Args:
        path: the file, any tracker's.
        first_frame: the number of the video's first frame in the file.
        classes: take only lines with one of these numbers in column 8.
        min_confidence: take only lines with at least this in column 7.

    Raises:
        InputError: the file cannot be read, has another format, holds what no box can be, or nothing is left of it;
            the sentence names the line.
    """
    path = Path(path)
    lines, values = _read_numbers(path)
    if not len(values):
        raise InputError(f"{path} is empty: it must hold a line {FORMAT} for each box")
    _check(path, lines, values, first_frame)
    taken = np.ones(len(values), bool)
    left_out, notes = {}, []
    if classes is not None:
        taken &= _of_classes(path, values, classes)
        left_out[f"of other classes than {', '.join(map(str, classes))}"] = int((~taken).sum())
    elif note := _note_on_classes(path, values):
        notes.append(note)
    if min_confidence is not None:
        sure = _sure(path, values, min_confidence)
        left_out[f"of a confidence below {min_confidence:g}"] = int((taken & ~sure).sum())
        taken &= sure
    left_out = {reason: count for reason, count in left_out.items() if count}
    if not taken.any():
        reasons = " and ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise InputError(f"nothing is left of the {len(values):,} boxes of {path}: {reasons}")
    lines, values = lines[taken], values[taken]
    frames, ids = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    _check_distinct(path, lines, frames, ids)
    return Tracks(frames, ids, values[:, 2:6].copy(), lines, left_out, notes)


def _read_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the lines that are not blank [n], and their values [n, columns]."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the tracks {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text: give the tracker's text file, a line {FORMAT} for each box") from None
    if text.lstrip()[:1] in ("{", "["):
        raise InputError(f"{path} looks like JSON: give the tracker's text file, a line {FORMAT} for each box")
    rows = text.split("\n")
    numbers = [number for number, row in enumerate(rows, start=1) if row.strip()]
    rows = [rows[number - 1] for number in numbers]
    if not rows:
        return np.empty(0, np.int64), np.empty((0, 6))
    try:
        values = np.loadtxt((row.replace(",", " ") for row in rows), ndmin=2, comments=None)
    except ValueError:
        values = np.empty((0, 0))
    if values.shape[1] < 6 or _EMPTY_CELL.search(text):
        raise _not_numbers(path, numbers, rows)
    return np.array(numbers), values


def _not_numbers(path: Path, numbers: list[int], rows: list[str]) -> InputError:
    """A sentence about the first line that is in another format, or unlike the lines before it."""
    columns = None
    for number, row in zip(numbers, rows, strict=True):
        cells = row.strip().rstrip(",").split(",") if "," in row else row.split()
        cells = [part for cell in cells for part in cell.split() or [""]]
        shown = repr(row.strip()[:80])
        if len(cells) < 6 or not all(map(_is_number, cells)):
            header = "; remove the header" if number == numbers[0] and not any(map(_is_number, cells)) else ""
            return InputError(f"line {number} of {path} is {shown}, but {FORMAT} is expected{header}")
        if columns is not None and len(cells) != columns:
            return InputError(f"line {number} of {path}, {shown}, has {len(cells)} columns, those before it {columns}")
        columns = len(cells)
    return InputError(f"{path} is in another format: lines {FORMAT} are expected")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check(path: Path, lines: np.ndarray, values: np.ndarray, first_frame: int) -> None:
    """Every line is a box of a track."""

    def refuse(wrong: np.ndarray, what: str, column: int, advice: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            value = f"{values[row, column]:.15g}"
            more = and_more(int(wrong.sum()))
            raise InputError(f"line {lines[row]} of {path} has the {what} {value}{more}: {advice}")

    names = ("frame", "id", "left", "top", "width", "height")
    for column, name in enumerate(names):
        refuse(~np.isfinite(values[:, column]), name, column, "it must be a number")
    for column, name in enumerate(names[:2]):
        one = values[:, column]
        refuse((one != np.floor(one)) | (np.abs(one) > _LARGEST), name, column, "it must be a whole number below 2^31")
    advice = f"the first frame has the number {first_frame}"
    if first_frame == 1:
        advice += "; where the tracks count from 0, give --first_frame 0"
    refuse(values[:, 0] < first_frame, "frame", 0, advice)
    refuse(values[:, 1] < 0, "id", 1, "these are detections that no tracker has linked, give its output")
    for column, name in ((4, "width"), (5, "height")):
        refuse(values[:, column] <= 0, name, column, "a box has at least a pixel")


def _of_classes(path: Path, values: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Which lines are of one of the classes."""
    if values.shape[1] < 8:
        raise InputError(f"{path} names no classes: it has {values.shape[1]} columns, and classes stand in column 8")
    taken = np.isin(values[:, 7], classes)
    if not taken.any():
        wanted = ", ".join(map(str, classes))
        raise InputError(f"no line of {path} is of class {wanted}: column 8 holds {_named(np.unique(values[:, 7]))}")
    return taken


def _note_on_classes(path: Path, values: np.ndarray) -> str | None:
    """In ground truth cars and reflections have tracks as well."""
    if values.shape[1] not in (8, 9):
        return None
    found = np.unique(values[:, 7])
    if len(found) < 2 or (found != np.floor(found)).any():
        return None
    return f"{path.name} has the classes {_named(found)} in column 8, and all are taken: --classes '[1]' takes class 1"


def _named(values: np.ndarray) -> str:
    """The first few of them."""
    return ", ".join(f"{value:g}" for value in values[:_MOST_NAMED]) + (", ..." if len(values) > _MOST_NAMED else "")


def _sure(path: Path, values: np.ndarray, min_confidence: float) -> np.ndarray:
    """Which lines have that confidence."""
    if values.shape[1] < 7:
        raise InputError(f"{path} has no confidence: it has {values.shape[1]} columns, and it stands in column 7")
    if (values[:, 6] == -1).all():
        raise InputError(f"{path} has no confidence: column 7 is -1 throughout; leave --min_confidence out")
    return values[:, 6] >= min_confidence


def _check_distinct(path: Path, lines: np.ndarray, frames: np.ndarray, ids: np.ndarray) -> None:
    """A track has one box in a frame."""
    order = np.lexsort((lines, frames, ids))
    same = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    if same.any():
        first, second = order[same.argmax() :][:2]
        raise InputError(
            f"lines {lines[first]} and {lines[second]} of {path} are both track {ids[first]} in frame {frames[first]}"
            f"{and_more(int(same.sum()))}: a track has one box in a frame; was the file written twice?"
        )
