"""Exact search: every vector of the gallery is compared with every query, block by block from the mapped file.

The system keeps in memory what of the file fits there, so a gallery that fits is read once, and one that does not is
streamed in every search. Products in float32 choose who may be among the nearest, by a bound on their rounding error;
these few are compared again in float64, one by one. So the answer depends neither on the size of the blocks nor on the
number of threads, and equal distances are in the order of the rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from strf_cuda.embeddings import Embeddings, read_embeddings
from strf_cuda.errors import InputError
from strf_cuda.retrieval.gallery import UNIT_TOLERANCE, Gallery, Labels, Matches

BLOCK_BYTES = 1 << 26  # of vectors at a time
CELLS = 1 << 22  # cosines at a time
_PAIRS = 1 << 10  # compared one by one at a time
_MANY = 1 / 32  # of all pairs, if they were compared one by one: longer than all products in float64
_ROUNDED = 1 + 2.0**-22  # times a distance: whatever may be the same when rounded to float32


class ExactGallery(Gallery):
    """Embeddings that are searched exactly.

    Args:
        embeddings: of the tracklets that may be found.
        source: where they come from, for messages.
        block_bytes: bytes of vectors that are compared at a time, which the answers do not depend on.
    """

    def __init__(self, embeddings: Embeddings, source: str = "", *, block_bytes: int = BLOCK_BYTES):
        self.source = source
        self.labels = Labels(
            *map(np.asarray, (embeddings.persons, embeddings.cameras, embeddings.start, embeddings.end))
        )
        self.frames = embeddings.frames
        self.description = embeddings.description
        self.embeddings = embeddings
        self.size = embeddings.vectors.shape[1]
        self._block_rows = max(1, block_bytes // (4 * max(1, self.size)))

    @classmethod
    def open(cls, path: str | Path) -> "ExactGallery":
        """The gallery of an embeddings file; errors as `strf_cuda.embeddings.read_embeddings`."""
        return cls(read_embeddings(path), str(path))

    def paths_of(self, row: int) -> list[str]:
        return self.embeddings.paths_of(row)

    def vectors_of(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self.embeddings.vectors[list(rows)])

    def _search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, junk: tuple[np.ndarray, np.ndarray] | None
    ) -> Matches:
        step = max(1, CELLS // self._block_rows)
        chunks = [slice(first, first + step) for first in range(0, len(queries), step)]
        nearest = [_Nearest(queries[chunk], k) for chunk in chunks]
        for rows, vectors in self._blocks(allowed):
            for chunk, found in zip(chunks, nearest, strict=True):
                found.add(rows, vectors, None if junk is None else self._junk(rows, junk, chunk), self.source)
        if not nearest:
            return Matches(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return Matches(*(np.concatenate([getattr(found, name) for found in nearest]) for name in ("rows", "distances")))

    def _blocks(self, allowed: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows [B] and their vectors [B, F]: views of the file where no row is left out, else copies."""
        vectors = np.asarray(self.embeddings.vectors)  # np.memmap's own slicing is slow
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        for first in range(0, len(rows), self._block_rows):
            block = rows[first : first + self._block_rows]
            consecutive = block[-1] - block[0] + 1 == len(block)
            yield block, vectors[block[0] : block[-1] + 1] if consecutive else vectors[block]

    def _junk(self, rows: np.ndarray, junk: tuple[np.ndarray, np.ndarray], chunk: slice) -> np.ndarray:
        persons, cameras = (values[chunk, None] for values in junk)
        return (persons == self.labels.persons[rows]) & (cameras == self.labels.cameras[rows])


class _Nearest:
    """The nearest rows of some queries among those that were added.

    Attributes:
        rows, distances: as `Matches` has them.
    """

    def __init__(self, queries: np.ndarray, k: int):
        self.rows = np.full((len(queries), k), -1, np.int64)
        self.distances = np.full((len(queries), k), np.inf, np.float32)
        self._queries = queries

    def add(self, rows: np.ndarray, vectors: np.ndarray, junk: np.ndarray | None, source: str) -> None:
        """Compares rows [B] with vectors [B, F]; `junk`, bool [Q, B], is left out."""
        with np.errstate(invalid="ignore"):  # of a damaged gallery
            cosines = self._queries @ vectors.T
            finite = np.isfinite(cosines.sum(dtype=np.float64))
        if not finite:
            damaged = rows[np.flatnonzero(~np.isfinite(cosines).all(0))[0]]
            raise InputError(f"tracklet {damaged} of {source} has numbers that are not finite: extract it again")
        near = self._near(cosines, junk)
        if near.sum() > _MANY * near.size:  # a model that has learnt nothing makes all alike
            near = self._near(self._queries.astype(np.float64) @ vectors.astype(np.float64).T, junk)
        query, column = np.nonzero(near)
        distances = np.empty(len(query), np.float32)
        for first in range(0, len(query), _PAIRS):
            pairs = slice(first, first + _PAIRS)
            products = self._queries[query[pairs]].astype(np.float64) * vectors[column[pairs]]
            distances[pairs] = np.maximum(1 - products.sum(1), 0)
        self._merge(query, rows[column], distances)

    def _near(self, cosines: np.ndarray, junk: np.ndarray | None) -> np.ndarray:
        """bool [Q, B], which rows may be among the k nearest, rounding errors of the cosines [Q, B] considered."""
        # A product of unit vectors is wrong by no more than this, in whatever order its terms are added (Higham,
        # Accuracy and Stability of Numerical Algorithms, section 3.1).
        error = self._queries.shape[1] * np.finfo(cosines.dtype).eps * (0.5 + UNIT_TOLERANCE)
        if junk is not None:
            cosines[junk] = -np.inf
        k = self.rows.shape[1]
        farthest = self.distances[:, -1].astype(np.float64)
        new = np.isinf(farthest)  # with fewer than k so far
        if new.any() and cosines.shape[1] > k:
            kth = cosines.shape[1] - k
            farthest[new] = 1 - np.partition(cosines[new], kth, axis=1)[:, kth] + error
        limit = np.maximum(farthest, 0) * _ROUNDED + error
        return cosines >= np.maximum(1 - limit, -2)[:, None]  # above the infinite ones of junk

    def _merge(self, query: np.ndarray, rows: np.ndarray, distances: np.ndarray) -> None:
        k = self.rows.shape[1]
        changed = np.unique(query)
        query = np.concatenate([np.repeat(changed, k), query])
        rows = np.concatenate([self.rows[changed].ravel(), rows])
        distances = np.concatenate([self.distances[changed].ravel(), distances])
        order = np.lexsort((rows, distances, query))
        place = np.arange(len(order)) - np.searchsorted(query[order], query[order])
        order = order[place < k].reshape(len(changed), k)
        self.rows[changed], self.distances[changed] = rows[order], distances[order]
