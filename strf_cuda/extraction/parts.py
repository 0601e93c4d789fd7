"""An extraction in parts: each is an embeddings file beside the output, so that a stopped one goes on.

Which tracklets a part has is decided before the first frame is read, and no batch goes across parts. So it does not
matter how often an extraction was stopped: the numbers are the same to the bit, if the network repeats its own.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.embeddings import Embeddings, join_embeddings, read_embeddings, write_embeddings
from strf_cuda.errors import InputError
from strf_cuda.extraction.sources import Source
from strf_cuda.files import remove_unfinished

PART_FRAMES = 8192  # a second on a large GPU, a few minutes on a small CPU: what is lost when it is stopped


def cut_into_parts(source: Source, part_frames: int = PART_FRAMES) -> list[range]:
    """Consecutive tracklets; a part ends with the tracklet that reaches so many frames."""
    parts, first, frames = [], 0, 0
    for row, tracklet in enumerate(source.tracklets):
        frames += len(tracklet)
        if frames >= part_frames:
            parts.append(range(first, row + 1))
            first, frames = row + 1, 0
    return parts if first == len(source) else [*parts, range(first, len(source))]


class PartFiles:
    """The parts of one extraction.

    Args:
        out: the file that they become.
        settings: of the extraction, JSON-able: parts whose settings differ belong to another one.
    """

    def __init__(self, out: Path, source: Source, parts: Sequence[range], settings: dict[str, Any]):
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self._source = source
        self._parts = parts
        self._settings = settings

    def complete(self) -> bool:
        """Whether the output is there already, of the same tracklets, model and settings."""
        try:
            found = read_embeddings(self.out)
        except InputError:
            return False
        return not _differing(found, self._settings) and self._same(found, range(len(self._source)))

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there; what a killed process left half written is removed.

        Raises:
            InputError: the folder holds parts of another extraction.
        """
        missing = []
        for number, rows in enumerate(self._parts):
            path = self._path(number)
            remove_unfinished(path)
            try:
                found = read_embeddings(path)
            except InputError:
                missing.append(number)
                continue
            differing = _differing(found, self._description(number))
            if differing or not self._same(found, rows):
                what = f"another {differing[0]}" if differing else "other tracklets"
                raise InputError(
                    f"{self.folder} holds a part of an extraction with {what}: give the command that began it, delete "
                    "that folder, or give another --out"
                )
        return missing

    def write(self, number: int, vectors: np.ndarray) -> None:
        labels = self._source.labels(self._parts[number])
        write_embeddings(self._path(number), Embeddings(vectors, **labels, description=self._description(number)))

    def join(self, description: dict[str, Any]) -> None:
        """Writes the output and removes the parts."""
        remove_unfinished(self.out)
        join_embeddings(self.out, [self._path(number) for number in range(len(self._parts))], description)
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _description(self, number: int) -> dict[str, Any]:
        return {**self._settings, "part": number}

    def _same(self, found: Embeddings, rows: range) -> bool:
        """Whether embeddings are those of these tracklets, by all that is known of them."""
        labels = self._source.labels(rows)
        return all(_equal(getattr(found, name), array) for name, array in labels.items())


def _differing(found: Embeddings, expected: dict[str, Any]) -> list[str]:
    return [name for name in expected if found.description.get(name) != expected[name]]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
