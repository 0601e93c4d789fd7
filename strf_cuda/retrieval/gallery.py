"""What every gallery that can be searched has in common: labels, which rows may answer, and what is found."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
        labels: of every row.
        fingerprint: of the model that made the embeddings; queries must come from the same one.
        size: length F of the embeddings.
    """

    labels: Labels
    fingerprint: str
    size: int

    def __len__(self) -> int:
        return len(self.labels.persons)

    @abstractmethod
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
        """
