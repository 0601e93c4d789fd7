"""Rows for a compressed gallery, block by block: of embeddings files, or of anything else that can give them twice."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.embeddings import Embeddings, read_embeddings
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.retrieval.gallery import UNIT_TOLERANCE, Labels
from strf_cuda.retrieval.numbering import in_one_numbering

BLOCK_ROWS = 16_384
_SAMPLE_ROWS = 8_192  # at a time; sums over a sample are rounded by it, codes do not depend on BLOCK_ROWS
_ROWS_COMPARED = 64  # of a file, to tell whether it is still the same


@dataclass(frozen=True)
class Block:
    """Consecutive rows: vectors float32 [n, F] of unit length, labels, and frames int64 [n], how many each has."""

    vectors: np.ndarray
    labels: Labels
    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)


class VectorStream(ABC):
    """Rows that a gallery is built from.

    Attributes:
        size: length F of the vectors.
        description: of the embeddings, as `strf_cuda.embeddings.Embeddings` has it.
        files: of each file that rows come from, in their order: "path", "rows" and "digest"; empty where the vectors
            are nowhere to be read again.
    """

    size: int
    description: dict[str, Any]
    files: Sequence[dict[str, Any]] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """As JSON, what tells these rows from others: building goes on only where it is the same."""

    @abstractmethod
    def blocks(self, begin: int = 0) -> Iterator[Block]:
        """All rows from `begin` on, in blocks of any size."""

    @abstractmethod
    def sample(self, rows: int, seed: int) -> Iterator[np.ndarray]:
        """Vectors of so many random rows, or of all there are: blocks float32 [n, F], the same ones each time."""


class FileStream(VectorStream):
    """The rows of embeddings files, one file after the other; they are mapped, and read as they are needed.

    Persons and cameras of one data set have the same numbers in all files of it; those of others get further ones.

    Raises:
        InputError: no file, one that cannot be read, files of different models or lengths, or files of one data set
            that name a person or camera differently.
    """

    def __init__(self, paths: Sequence[str | Path]):
        if not paths:
            raise InputError("give one embeddings file of strf_cuda.extract or more")
        self.paths = [expanded(path) for path in paths]
        read = [read_embeddings(path) for path in self.paths]
        self.size = read[0].vectors.shape[1]
        self.files = [
            {"path": os.path.abspath(path), "rows": len(one), "digest": digest(one)}
            for path, one in zip(self.paths, read, strict=True)
        ]
        self.embeddings, self.description = in_one_numbering(self.paths, read)

    def __len__(self) -> int:
        return sum(map(len, self.embeddings))

    def identity(self) -> dict[str, Any]:
        return {"digests": [file["digest"] for file in self.files]}

    def blocks(self, begin: int = 0) -> Iterator[Block]:
        for path, one in zip(self.paths, self.embeddings, strict=True):
            arrays = _plain(one)
            for first in range(min(begin, len(one)), len(one), BLOCK_ROWS):
                rows = slice(first, first + BLOCK_ROWS)
                vectors, persons, cameras, start, end, frames = (array[rows] for array in arrays)
                _check(vectors, f"{path}", first)
                yield Block(vectors, Labels(persons, cameras, start, end), frames)
            begin = max(0, begin - len(one))

    def sample(self, rows: int, seed: int) -> Iterator[np.ndarray]:
        total = len(self)
        chosen = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
        joined = JoinedRows(self.embeddings)
        for begin in range(0, len(chosen), _SAMPLE_ROWS):
            block = joined.vectors(chosen[begin : begin + _SAMPLE_ROWS])
            _check(block, "the embeddings", None)
            yield block


class JoinedRows:
    """Rows of several embeddings, counted through."""

    def __init__(self, embeddings: Sequence[Embeddings]):
        self._embeddings = embeddings
        self._vectors = [np.asarray(one.vectors) for one in embeddings]
        self._first = np.concatenate([[0], np.cumsum([len(one) for one in embeddings], dtype=np.int64)])

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, F] of rows in rising order."""
        found = []
        for vectors, first, end in zip(self._vectors, self._first, self._first[1:], strict=False):
            begin, stop = np.searchsorted(rows, (first, end))
            if stop > begin:
                found.append(vectors[rows[begin:stop] - first])
        return np.concatenate(found) if found else np.empty((0, self._vectors[0].shape[1]), np.float32)

    def paths_of(self, row: int) -> list[str]:
        """The frame files of a tracklet, in temporal order."""
        owner = int(np.searchsorted(self._first, row, side="right")) - 1
        return self._embeddings[owner].paths_of(row - int(self._first[owner]))


def digest(embeddings: Embeddings) -> str:
    """SHA-256 of the description, persons, cameras and 64 vectors at even distances: files that were only copied or
    moved have the same one, and files that were made anew from other weights or frames another."""
    rows = np.unique(np.linspace(0, max(0, len(embeddings) - 1), _ROWS_COMPARED).astype(np.int64))[: len(embeddings)]
    found = hashlib.sha256(f"{embeddings.fingerprint} {embeddings.vectors.shape}".encode())
    for array in (embeddings.persons, embeddings.cameras, np.asarray(embeddings.vectors)[rows]):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _plain(embeddings: Embeddings) -> list[np.ndarray]:
    """The mapped arrays as plain ones, whose slices are made faster."""
    names = ("vectors", "persons", "cameras", "start", "end", "frames")
    return [np.asarray(getattr(embeddings, name)) for name in names]


def _check(vectors: np.ndarray, source: str, first: int | None) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(abs(lengths - 1) <= UNIT_TOLERANCE))
    if len(wrong):
        row = "a row" if first is None else f"row {first + wrong[0]}"
        raise InputError(
            f"{row} of {source} has the length {lengths[wrong[0]]:.4g}, but embeddings have 1: extract anew"
        )
