"""Tracklets listed in a CSV file, one frame a row: a person's own data wherever it lies.

    path,person,camera,tracklet,split[,frame][,challenge][,group]

Paths are relative to the CSV file's folder, or absolute. Rows that agree in split, person, camera and tracklet are
one tracklet; `frame` orders them, else they keep the file's order.
"""

import csv
import io
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strf_cuda.contents import read_text
from strf_cuda.data.indexing import (
    FramePaths,
    and_more,
    encode_names,
    missing_files,
    natural_key,
    number_names,
    population_notes,
    special_names_note,
)
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.data.witnesses import witness
from strf_cuda.errors import InputError, nearest
from strf_cuda.files import expanded

SPLITS = ("train", "query", "gallery")
REQUIRED = ("path", "person", "camera", "tracklet", "split")
OPTIONAL = ("frame", "challenge", "group")


@dataclass(frozen=True, slots=True)
class Row:
    """One frame: its line number, and the CSV's columns; what is optional and not given is None."""

    line: int
    path: str
    tracklet: tuple[str, str, str, str]
    frame: float | None
    challenge: str | None
    group: int | None


class TrackletTable(TrackletDataset):
    """A data set read from a CSV file of frames.

    Persons, cameras and tracklets may be named in any way; persons and cameras are numbered from 1 in natural order of
    their names, and `person_names` and `camera_names` give the names back. The gallery holds the queries only if the
    table lists their frames under both splits. `.notes` names columns that are not read.

    Args:
        path: the CSV file, UTF-8, with a header line.

    Raises:
        InputError: the file, a column, a value or a frame is missing or wrong; the sentence names the line.
    """

    def __init__(self, path: str | os.PathLike):
        path = expanded(path)
        rows, unread = read_table(path)
        check_frames_exist(path, rows)
        grouped: dict[tuple[str, str, str, str], list[Row]] = {}
        for row in rows:
            grouped.setdefault(row.tracklet, []).append(row)

        people = number_names(person for _, person, _, _ in grouped)
        cameras = number_names(camera for _, _, camera, _ in grouped)
        lists = {split: [] for split in SPLITS}
        for key in sorted(grouped, key=lambda key: [natural_key(part) for part in key]):
            split, person, camera, _ = key
            frames = ordered_frames(path, grouped[key])
            challenge = common_value(path, grouped[key], "challenge")
            group = common_value(path, grouped[key], "group")
            paths = FramePaths(str(path.parent), encode_names([row.path for row in frames]))
            lists[split].append(Tracklet(paths, people[person], cameras[camera], challenge, group))

        notes = [f"columns of {path.name} that are not read: {', '.join(unread)}"] if unread else []
        notes += [f"{path.name} lists no {split} tracklet" for split in SPLITS if not lists[split]]
        notes += special_names_note(people) + population_notes(**lists)
        super().__init__(
            path.stem,
            **lists,
            notes=notes,
            person_names={number: name for name, number in people.items()},
            camera_names={number: name for name, number in cameras.items()},
        )


def read_table(path: Path) -> tuple[list[Row], list[str]]:
    """The checked rows of the table and the names of columns that mean nothing here."""
    try:
        text = read_text(witness(path), "surrogateescape")  # a file's name may be any bytes
    except OSError as error:
        raise InputError(f"the table {path} cannot be read: {error.strerror}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        check_header(path, header)
        rows = list(parse_rows(path, header, reader))
        "".join(part for row in rows for part in (*row.tracklet, row.challenge or "")).encode()
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path} is not valid CSV: {error}") from None
    except UnicodeError:
        raise InputError(f"{path} is not UTF-8 text: save the table with that encoding") from None
    if not rows:
        raise InputError(f"{path} lists no frames: it must have one line for each")
    return rows, [name for name in header if name not in REQUIRED + OPTIONAL]


def check_header(path: Path, header: list[str]) -> None:
    """All required columns are there and none twice."""
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(
            f"{path} has no column {' or '.join(missing)}: its first line must name {', '.join(REQUIRED)} and may "
            f"name {', '.join(OPTIONAL)}, but is {','.join(header)!r}"
        )
    repeated = [name for name in REQUIRED + OPTIONAL if header.count(name) > 1]
    if repeated:
        raise InputError(f"{path} has the column {repeated[0]} twice")


def parse_rows(path: Path, header: list[str], reader) -> Iterator[Row]:
    """The rows below the header, blank lines left out."""
    for fields in reader:
        if not fields:
            continue
        line = f"line {reader.line_num} of {path}"
        if len(fields) != len(header):
            raise InputError(f"{line} has {len(fields)} values for {len(header)} columns")
        values = dict(zip(header, map(str.strip, fields), strict=True))
        for name in REQUIRED:
            if not values[name]:
                raise InputError(f"{line} has no {name}")
        split = values["split"]
        if split not in SPLITS:
            raise InputError(
                f"{line} has the split {split!r}: it must be train, query or gallery{nearest(split, SPLITS)}"
            )
        frame = fields[header.index("path")]
        if frame != values["path"] and not os.path.lexists(path.parent / frame):
            frame = values["path"]  # blanks that are not its name's
        yield Row(
            reader.line_num,
            frame,
            (split, values["person"], values["camera"], values["tracklet"]),
            number(line, "frame", values["frame"], float) if "frame" in values else None,
            values.get("challenge") or None,
            number(line, "group", values["group"], int) if values.get("group") else None,
        )


def number(line: str, name: str, text: str, kind: type):
    """`text` as a finite number of that kind."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        wanted = "whole number" if kind is int else "number"
        raise InputError(f"{line} has the {name} {text!r}: it must be a {wanted}")
    return value


def check_frames_exist(path: Path, rows: list[Row]) -> None:
    """Every file named is there."""
    missing = missing_files(path.parent, encode_names([row.path for row in rows]))
    if len(missing):
        row = rows[missing[0]]
        raise InputError(
            f"line {row.line} of {path} names the frame {row.path}, which does not exist in {path.parent}"
            f"{and_more(len(missing))}"
        )


def ordered_frames(path: Path, rows: list[Row]) -> list[Row]:
    """A tracklet's rows in temporal order."""
    if rows[0].frame is None:
        return rows
    rows = sorted(rows, key=lambda row: row.frame)
    for before, after in itertools.pairwise(rows):
        if before.frame == after.frame:
            raise InputError(
                f"lines {before.line} and {after.line} of {path} give two frames of one tracklet the same number "
                f"{after.frame:g}"
            )
    return rows


def common_value(path: Path, rows: list[Row], name: str):
    """What all rows of a tracklet say under `name`."""
    first = getattr(rows[0], name)
    for row in rows:
        if getattr(row, name) != first:
            raise InputError(
                f"lines {rows[0].line} and {row.line} of {path} belong to one tracklet, but differ in {name}: "
                f"{first!r} and {getattr(row, name)!r}"
            )
    return first
