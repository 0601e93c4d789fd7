"""What the answers of a compressed gallery are worth, measured against exact search on some of its own rows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON
from strf_cuda.retrieval.exact import ExactGallery
from strf_cuda.retrieval.gallery import Gallery, Labels, Matches
from strf_cuda.retrieval.streams import FileStream, JoinedRows

NEAREST = 10


@dataclass(frozen=True)
class Recall:
    """Shares between 0 and 1.

    Attributes:
        queries: how many there were.
        rank_1: how often the nearest row was found first.
        nearest_10: how many of the ten nearest rows were among the ten that were found.
        right, right_exactly: how often the row found first, and the nearest one, show the query's person; None where
            no person is known.
    """

    queries: int
    rank_1: float
    nearest_10: float
    right: float | None
    right_exactly: float | None


def measure_recall(gallery: Gallery, stream: FileStream, queries: int, seed: int = 0) -> Recall:
    """Searches for random rows of the gallery as queries.

    Rows of known people are taken where there are any, and their own person by their own camera is left out, as in an
    evaluation: other views of the person are asked for, which are harder to find than the neighbours in the same video.
    Where nobody is known only the row itself is left out.
    """
    labels = gallery.labels
    known = np.flatnonzero((labels.persons != JUNK_PERSON) & (labels.persons != DISTRACTOR_PERSON))
    rows = known if len(known) else np.arange(len(gallery))
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(queries, len(rows)), replace=False))
    vectors = JoinedRows(stream.embeddings).vectors(chosen)
    persons, cameras = labels.persons[chosen], labels.cameras[chosen]
    junk = (persons, cameras) if len(known) else None
    k = NEAREST if len(known) else NEAREST + 1
    files = zip(stream.paths, stream.embeddings, strict=True)
    exact = nearest_of_parts((ExactGallery(one, str(path)) for path, one in files if len(one)), vectors, k, junk)
    found = gallery.search(vectors, k, junk=junk)
    if not len(known):
        exact, found = (_without(matches, chosen) for matches in (exact, found))
    return compare(exact, found, labels, persons if len(known) else None)


def compare(exact: Matches, found: Matches, labels: Labels, persons: np.ndarray | None = None) -> Recall:
    """Recall of what was found, of which ten are looked at.

    Args:
        labels: of the rows.
        persons: of the queries, where they are known.
    """
    wanted, got = exact.rows[:, :NEAREST], found.rows[:, :NEAREST]
    shared = [len(np.intersect1d(one[one >= 0], other)) for one, other in zip(wanted, got, strict=True)]
    there = np.maximum((wanted >= 0).sum(1), 1)
    right = [
        None if persons is None else float(np.mean((rows[:, 0] >= 0) & (labels.persons[rows[:, 0]] == persons)))
        for rows in (got, wanted)
    ]
    return Recall(len(wanted), float(np.mean(wanted[:, 0] == got[:, 0])), float(np.mean(shared / there)), *right)


def nearest_of_parts(
    parts: Iterable[ExactGallery], queries: np.ndarray, k: int, junk: tuple[np.ndarray, np.ndarray] | None = None
) -> Matches:
    """The k nearest of galleries that stand one after the other; rows are counted through."""
    nearest, first = None, 0
    for part in parts:
        new = part.search(queries, k, junk=junk)
        rows, distances = np.where(new.rows < 0, -1, new.rows + first), new.distances
        if nearest is not None:
            rows = np.concatenate([nearest.rows, rows], axis=1)
            distances = np.concatenate([nearest.distances, distances], axis=1)
            order = np.argsort(distances, axis=1, kind="stable")[:, :k]
            rows, distances = (np.take_along_axis(array, order, axis=1) for array in (rows, distances))
        nearest = Matches(rows, distances)
        first += len(part)
    return nearest


def _without(matches: Matches, rows: np.ndarray) -> Matches:
    """Each query's own row left out."""
    order = np.argsort(matches.rows == rows[:, None], axis=1, kind="stable")[:, :-1]
    return Matches(*(np.take_along_axis(array, order, axis=1) for array in (matches.rows, matches.distances)))
