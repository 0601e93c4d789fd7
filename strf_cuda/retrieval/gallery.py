"""What every gallery that can be searched has in common: labels, which rows may answer, and what is found."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from strf_cuda.data.tracklets import JUNK_PERSON
from strf_cuda.errors import InputError

UNIT_TOLERANCE = 1e-3  # half types on the way leave less


@dataclass(frozen=True)
class Matches:
    """The nearest rows of a gallery.

    Attributes:
        rows: int64 [Q, k], nearest first; -1 where fewer than k may answer.
        distances: float32 [Q, k], 1 - cosine; infinite where there is no row.
    """

    rows: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True)
class Labels:
    """Who, where and when: persons, cameras int64 [n], start and end in seconds float64 [n] (NaN: unknown)."""

    persons: np.ndarray
    cameras: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class Selection:
    """Which rows of a gallery may answer.

    Attributes:
        cameras: these only; None for all.
        since, until: tracklets that overlap this span of seconds; ones whose times are unknown are left out then.
    """

    cameras: Sequence[int] | None = None
    since: float | None = None
    until: float | None = None

    def rows(self, labels: Labels) -> np.ndarray | None:
        """bool [n], or None where every row may answer."""
        if self.cameras is None and self.since is None and self.until is None:
            return None
        allowed = np.ones(len(labels.cameras), dtype=bool)
        if self.cameras is not None:
            allowed &= np.isin(labels.cameras, np.asarray(self.cameras))
        if self.since is not None:
            allowed &= labels.end >= self.since
        if self.until is not None:
            allowed &= labels.start <= self.until
        return allowed


class Gallery(ABC):
    """Embedded tracklets that queries are compared with.

    Attributes:
        source: the file or folder, for messages.
        labels: of every row.
        frames: int64 [n], how many frames each tracklet has.
        description: of the embeddings, see `strf_cuda.embeddings.Embeddings`: whose "data" and "protocol" queries must
            be embedded with, and which names persons and cameras have.
        size: length F of the embeddings.
        notes: sentences that the user should read before trusting what is found.
    """

    source: str
    labels: Labels
    frames: np.ndarray
    description: dict[str, Any]
    size: int
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels.persons)

    @property
    def fingerprint(self) -> str:
        """Of the model that made the embeddings; queries must come from the same one."""
        return self.description["fingerprint"]

    @property
    def person_names(self) -> dict[int, str]:
        """Names by number, empty where there are numbers alone."""
        return {int(number): name for number, name in self.description.get("person_names", {}).items()}

    @property
    def camera_names(self) -> dict[int, str]:
        """Names by number, empty where there are numbers alone."""
        return {int(number): name for number, name in self.description.get("camera_names", {}).items()}

    @cached_property
    def _cameras(self) -> list[int]:
        return np.unique(self.labels.cameras).tolist()

    @abstractmethod
    def paths_of(self, row: int) -> list[str]:
        """The frame files of a tracklet, in temporal order; empty where they are not known."""

    def vectors_of(self, rows: Sequence[int]) -> np.ndarray:
        """The embeddings of some rows as they were extracted, float32 [rows, F], to search with them.

        Raises:
            InputError: the gallery does not keep them.
        """
        raise InputError(f"the gallery {self.source} keeps no vectors: give its embeddings file as the query")

    def check_model(self, fingerprint: str, source: str) -> None:
        """Raises an `InputError` unless the gallery was made by the model that queries of `source` come from."""
        if fingerprint != self.fingerprint:
            made_by = self.description.get("model", "an unknown one")
            raise InputError(
                f"the gallery {self.source} was made by another model ({made_by}) than {source}: their embeddings do "
                "not compare"
            )

    def search(
        self,
        queries: np.ndarray,
        k: int = 10,
        *,
        selection: Selection | None = None,
        junk: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Matches:
        """The k nearest rows for every query.

        Args:
            queries: float32 [Q, F] of unit length.
            selection: which rows may answer; None for all.
            junk: persons [Q] and cameras [Q] of the queries: rows of the same person by the same camera, and rows of
                `JUNK_PERSON`, are left out, as evaluation does. None leaves nothing out.

        Raises:
            InputError: queries of another length than F, not finite or not of unit length; an empty gallery; a camera
                that it does not have; a selection that leaves nothing.
        """
        queries = self._checked(queries)
        if k < 1:
            raise InputError(f"k is {k}, but it must be 1 or more")
        if junk is not None:
            persons, cameras = (np.asarray(values, dtype=np.int64) for values in junk)
            if persons.shape != (len(queries),) or cameras.shape != (len(queries),):
                raise InputError(
                    f"there are {len(queries)} queries, but {persons.size} persons and {cameras.size} cameras of them"
                )
            junk = persons, cameras
        allowed = self.allowed(selection)
        if junk is not None and (self.labels.persons == JUNK_PERSON).any():
            known = self.labels.persons != JUNK_PERSON
            allowed = known if allowed is None else allowed & known
        return self._search(queries, k, allowed, junk)

    def allowed(self, selection: Selection | None) -> np.ndarray | None:
        """Which rows may answer, bool [n], or None where all may.

        Raises:
            InputError: as `search`, of the gallery and the selection.
        """
        if not len(self):
            raise InputError(f"the gallery {self.source} is empty: there is nobody to find")
        if selection is None:
            return None
        for camera in selection.cameras or ():
            if camera not in self._cameras:
                raise InputError(
                    f"the gallery {self.source} has no camera {camera}, but {', '.join(map(str, self._cameras))}"
                )
        allowed = selection.rows(self.labels)
        if allowed is not None and not allowed.any():
            unknown = int(np.isnan(self.labels.start).sum())
            timed = selection.since is not None or selection.until is not None
            why = f"; the times of {unknown:,} are unknown" if timed and unknown else ""
            raise InputError(f"none of the {len(self):,} tracklets of {self.source} is left by the selection{why}")
        return allowed

    @abstractmethod
    def _search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        junk: tuple[np.ndarray, np.ndarray] | None,
    ) -> Matches:
        """`search` after its checks: rows of `JUNK_PERSON` are no longer `allowed` where `junk` is given."""

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.size:
            raise InputError(
                f"queries have the shape {list(queries.shape)}, but the gallery {self.source} needs [queries, "
                f"{self.size}]"
            )
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        for row in np.flatnonzero(~np.isfinite(lengths))[:1]:
            raise InputError(f"query {row} is not finite: NaN or infinite numbers compare with nothing")
        for row in np.flatnonzero(abs(lengths - 1) > UNIT_TOLERANCE)[:1]:
            raise InputError(f"query {row} has the length {lengths[row]:.4g}, but embeddings have 1: divide it by that")
        return queries
