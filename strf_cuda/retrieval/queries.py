"""Who is searched for: tracklets with their embeddings, and what is known of them in the gallery's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON
from strf_cuda.embeddings import Embeddings
from strf_cuda.errors import InputError
from strf_cuda.retrieval.gallery import Gallery, Labels

UNKNOWN_CAMERA = -1  # which no data set has


@dataclass(frozen=True)
class Queries:
    """Tracklets that are searched for.

    Attributes:
        vectors: float32 [Q, F].
        labels: of the tracklets, persons and cameras numbered as the gallery numbers them; `JUNK_PERSON` and
            `UNKNOWN_CAMERA` where it does not know them.
        frames: int64 [Q], how many each has.
        paths: the frame files of each.
        titles: what each is called, for people.
        own_rows: int64 [Q], the rows of the gallery that they are themselves, or -1.
    """

    vectors: np.ndarray
    labels: Labels
    frames: np.ndarray
    paths: list[list[str]]
    titles: list[str]
    own_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def known(self) -> np.ndarray:
        """bool [Q], whether the gallery knows who it is: no distractor, who is nobody in particular."""
        return ~np.isin(self.labels.persons, (JUNK_PERSON, DISTRACTOR_PERSON))


def gallery_queries(gallery: Gallery, rows: Sequence[int]) -> Queries:
    """Rows of the gallery itself.

    Raises:
        InputError: there is no such row, or the gallery keeps no vectors.
    """
    rows = np.array(check_rows(rows, len(gallery), gallery.source), np.int64)
    labels = gallery.labels
    return Queries(
        gallery.vectors_of(rows),
        Labels(*(array[rows] for array in (labels.persons, labels.cameras, labels.start, labels.end))),
        gallery.frames[rows],
        [gallery.paths_of(row) for row in rows.tolist()],
        [f"row {row}" for row in rows.tolist()],
        rows,
    )


def embedded_queries(embeddings: Embeddings, source: str, rows: Sequence[int] | None, gallery: Gallery) -> Queries:
    """Rows of other embeddings, all without a choice.

    Raises:
        InputError: they were made by another model than the gallery, or there is no such row.
    """
    gallery.check_model(embeddings.fingerprint, source)
    rows = np.arange(len(embeddings)) if rows is None else np.array(check_rows(rows, len(embeddings), source))
    persons, cameras = (
        _in_numbers_of(gallery, embeddings.description, what, getattr(embeddings, f"{what}s")[rows], unknown)
        for what, unknown in (("person", JUNK_PERSON), ("camera", UNKNOWN_CAMERA))
    )
    return Queries(
        np.array(embeddings.vectors[rows]),
        Labels(persons, cameras, np.array(embeddings.start[rows]), np.array(embeddings.end[rows])),
        np.array(embeddings.frames[rows]),
        [embeddings.paths_of(row) for row in rows.tolist()],
        [f"row {row} of {Path(source).name}" for row in rows.tolist()],
        np.full(len(rows), -1),
    )


def check_rows(rows: Sequence[int], count: int, source: str) -> list[int]:
    """The rows, or an `InputError` for one that is not there."""
    for row in rows:
        if not 0 <= row < count:
            there = f"has the rows 0 to {count - 1:,}" if count else "is empty"
            raise InputError(f"row {row} is not there: {source} {there}")
    return list(rows)


def _in_numbers_of(
    gallery: Gallery, description: dict[str, Any], what: str, numbers: np.ndarray, unknown: int
) -> np.ndarray:
    """Persons or cameras of another file by the gallery's numbers: by their names, or as they are in one data set."""
    theirs = {int(number): name for number, name in description.get(f"{what}_names", {}).items()}
    ours = {name: number for number, name in getattr(gallery, f"{what}_names").items()}
    same = description.get("dataset") == gallery.description.get("dataset")
    if not theirs and not ours and same:
        return np.array(numbers)
    return np.array([ours.get(theirs.get(number), unknown) for number in numbers.tolist()], np.int64)
