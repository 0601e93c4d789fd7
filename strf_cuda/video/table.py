"""Reads what a tracker has written into numbers: lines of columns with or without a header, or folders of labels.

    frame,id,left,top,width,height,confidence,x,y,z              ByteTrack, DeepSORT and others, for the MOTChallenge
    frame,id,left,top,width,height,confidence,class,detection    BoxMOT
    frame,id,left,top,width,height,considered,class,visibility   ground truth of the MOTChallenge
    class x y width height [confidence] id                       Ultralytics: a file a frame, shares of the frame

Commas, semicolons, tabs or spaces divide columns. Trackers keep to the first six columns; where a header names them,
its names say where they are and what the box's numbers are.
"""

import codecs
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from strf_cuda.errors import InputError
from strf_cuda.video.boxes import MEANING, Form

FORMAT = "frame,id,left,top,width,height[,confidence,...]"
_COLUMNS = 8
_LABEL_FILE = re.compile(r"(.*?)_?(\d+)\.txt")

# What headers call the columns, in small letters without anything else and without bb, bbox or box before it.
_NAMES = {
    "frame": "frame frameid frameidx frameindex framenumber framenum frameno image imageid",
    "id": "id trackid trackerid objectid targetid personid identity track",
    "confidence": "confidence conf score",
    "class": "class classid cls clsid category categoryid",
}
_NEAR = ("left top", "xmin ymin", "x0 y0", "x1 y1", "x y", "l t", "xtl ytl")
_CENTERS = ("xcenter ycenter", "xcentre ycentre", "centerx centery", "xc yc", "cx cy")
_FAR = ("right bottom", "xmax ymax", "x2 y2", "x1 y1", "r b", "xbr ybr")
_SIZES = ("width height", "w h")


@dataclass(frozen=True)
class Table:
    """The lines of a tracker's file.

    Attributes:
        values: float64 [n, 8], frame, id, the four numbers of the box, confidence and class; NaN where there is none.
        form: what the four numbers are, where a header or the kind of file says so.
        left_out: lines that hold no box, by reason.
        notes: sentences that the user should read.
    """

    values: np.ndarray
    form: Form | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_table(path: Path, video: str | None = None) -> Table:
    """Reads a tracker's file, or a folder of Ultralytics' labels.

    Args:
        video: the video's name without its ending, by which labels of several videos in a folder are told apart.

    Raises:
        InputError: it cannot be read, or no line of it is a box.
    """
    if path.is_dir():
        return _read_labels(path / "labels" if (path / "labels").is_dir() else path, video)
    text = _read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        raise InputError(f"{path} looks like JSON: give the tracker's text file, a line {FORMAT} for each box")
    header, places, needed, form, notes = None, list(range(_COLUMNS)), 6, None, []
    values, begin, few = array("d"), [], 0
    for line in text.split("\n"):
        comment = line.lstrip().startswith("#")
        cells = _cells(line.partition("#")[2] if comment else line)
        if header is None and not begin and len(cells) >= 6 and np.isnan([_number(cell) for cell in cells[:6]]).all():
            header = cells
            places, form, note = _named_columns(cells)
            needed = max(places[:1] + places[2:6]) + 1  # where an id comes last, it may be missing
            notes += [f"the header of {path.name} {note}"] if note else []
        elif cells and cells != header and not comment:
            if len(begin) < 100:
                begin.append(cells)
            if len(cells) < needed:
                few += 1
            else:
                values.extend([_number(cells[place]) if place < len(cells) else np.nan for place in places])
    if not begin:
        raise InputError(f"{path} is empty: it must hold a line {FORMAT} for each box")
    if header is None and _are_labels(begin):
        raise _without_frames(path)
    rows = np.array(values).reshape(-1, _COLUMNS)
    if not np.isfinite(rows[:, [0, 2, 3, 4, 5]]).all(1).any():
        begins = text.strip().splitlines()[0][:80]
        raise InputError(f"{path} holds no box: it begins with {begins!r}, but {FORMAT} is expected")
    return Table(rows, form, {"of too few columns": few}, notes)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the tracks {path}: {error.strerror}") from None
    try:
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # a header in another alphabet does no harm to numbers
    if "\0" in text:
        raise InputError(f"{path} is no text: give the tracker's text file, a line {FORMAT} for each box")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cells(line: str) -> list[str]:
    """A line's cells, without empty ones at its end; beside semicolons and tabs a comma is a decimal point."""
    separator = next((each for each in ";\t," if line.count(each) >= 5), None)
    cells = line.replace('"', "").rstrip(" \t,;").split(separator)
    return cells if separator in (",", None) else [cell.strip(" ,").replace(",", ".") for cell in cells]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _named_columns(header: Sequence[str]) -> tuple[list[int], Form | None, str]:
    """Where the eight columns are, what the box's numbers are, and what the user should read of it."""
    names = [re.sub(r"^b?box|^bb", "", re.sub(r"[^a-z0-9]", "", name.lower())) for name in header]

    def first(choices: Sequence[str], without: Sequence[int] = ()) -> list[int]:
        for choice in choices:
            found = [names.index(name) for name in choice.split() if name in names]
            if len(found) == len(choice.split()) and not set(found) & set(without):
                return found
        return []

    frame, track, sure, kind = (first(synonyms.split()) for synonyms in _NAMES.values())
    centers = first(_CENTERS)
    near = centers or first(_NEAR)
    far = [] if centers else first(_FAR, without=near)
    rest = far or first(_SIZES)
    if not (frame and track and near and rest):
        return list(range(_COLUMNS)), None, f"does not name what is needed: columns are taken as {FORMAT}"
    nowhere = [len(header)]
    places = [*frame, *track, *near, *rest, *(sure or nowhere), *(kind or nowhere)]
    form = "centers" if centers else "corners" if far else "sizes"
    return places, form, f"says that boxes are {MEANING[form]}" if form != "sizes" else ""


def _are_labels(rows: Sequence[Sequence[str]]) -> bool:
    """Lines `class x y width height ...` in shares of the frame, where a file of tracks has id and pixels."""
    values = np.array([[_number(cell) for cell in row[1:5]] for row in rows[:100] if 5 <= len(row) <= 7])
    return len(values) > 0 and bool(((values >= 0) & (values <= 1)).all() and (values[:, 0] % 1 > 0).any())


def _without_frames(path: Path) -> InputError:
    return InputError(
        f"{path} looks like labels of Ultralytics, which name no frame: give the folder of a file for each frame, as "
        "model.track(VIDEO, save_txt=True) writes it for a video, not for its frames one by one"
    )


def _read_labels(folder: Path, video: str | None) -> Table:
    """Files NAME_FRAME.txt of lines `class x y width height [confidence] [id]`, without an id where none was given."""
    files: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        if match := _LABEL_FILE.fullmatch(path.name):
            files.setdefault(match[1], []).append((int(match[2]), path))
    if not files:
        raise InputError(
            f"{folder} is a folder without labels such as {video or 'cam1'}_1.txt: give the tracker's text file, or "
            "the folder of labels that Ultralytics has written"
        )
    if video not in files and len(files) > 1:
        raise InputError(f"{folder} holds labels of {', '.join(sorted(files)[:8])}, and none of {video}")
    frames = sorted(files[video] if video in files else next(iter(files.values())))
    if len(frames) == 1:
        raise _without_frames(frames[0][1])
    rows = [(frame, _cells(line)) for frame, path in frames for line in _read_text(path).split("\n") if line.strip()]
    boxes = [(frame, [_number(cell) for cell in cells]) for frame, cells in rows if 5 <= len(cells) <= 7]
    sixth = [cells[5] for _, cells in boxes if len(cells) == 6]
    ids = all(len(cells) < 7 for _, cells in boxes) and not (np.array(sixth) % 1).any()
    values = np.full((len(boxes), _COLUMNS), np.nan)
    for row, (frame, cells) in zip(values, boxes, strict=True):
        row[[0, 7]] = frame, cells[0]
        row[2:6] = cells[1:5]
        if len(cells) == 7 or (len(cells) == 6 and ids):
            row[1] = cells[-1]
        if len(cells) == 7 or (len(cells) == 6 and not ids):
            row[6] = cells[5]
    return Table(values, form="centers", left_out={"given as outlines or points": len(rows) - len(boxes)})
