"""Finds people: the answers to queries without what cannot be one, and what was left out."""

from dataclasses import dataclass

import numpy as np

from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON
from strf_cuda.retrieval.gallery import Gallery, Matches, Selection
from strf_cuda.retrieval.queries import Queries

_GROWTH = 8  # times as many tracklets are looked at where too few people are among them


@dataclass(frozen=True)
class Answers:
    """What was found for one query.

    Attributes:
        rows, distances: of the gallery, nearest first.
        same_camera: how many tracklets of the query's person by its own camera were left out.
        unknown: how many tracklets of unknown people were.
    """

    rows: np.ndarray
    distances: np.ndarray
    same_camera: int
    unknown: int


def find(
    gallery: Gallery,
    queries: Queries,
    k: int,
    *,
    selection: Selection | None = None,
    leave_out_junk: bool = True,
    by_person: bool = False,
) -> list[Answers]:
    """The k nearest tracklets, or people, for every query.

    A query is never its own answer. Where its person is known, junk is left out as evaluation does; of an unknown
    person there is none.

    Args:
        leave_out_junk: leave out, for a query of a known person, tracklets of this person by the query's own camera,
            and those of unknown people.
        by_person: the nearest tracklet of each of the k nearest people; those whom nobody knows, and distractors, who
            are nobody in particular, are none.

    Raises:
        InputError: as `Gallery.search`.
    """
    allowed = gallery.allowed(selection)
    allowed = np.ones(len(gallery), bool) if allowed is None else allowed
    known = queries.known & leave_out_junk
    answers: list[Answers | None] = [None] * len(queries)
    for with_junk in (False, True):
        chosen = np.flatnonzero(known == with_junk)
        if not len(chosen):
            continue
        labels = (queries.labels.persons[chosen], queries.labels.cameras[chosen]) if with_junk else None

        def search(wanted, chosen=chosen, labels=labels):
            return gallery.search(queries.vectors[chosen], wanted, selection=selection, junk=labels)

        found = _nearest(gallery, search, queries.own_rows[chosen], k, by_person)
        for query, (rows, distances) in zip(chosen.tolist(), found, strict=True):
            same_camera = unknown = 0
            if with_junk:
                person, camera = queries.labels.persons[query], queries.labels.cameras[query]
                same = (gallery.labels.persons == person) & (gallery.labels.cameras == camera) & allowed
                own = queries.own_rows[query]
                same_camera = int(same.sum()) - int(own >= 0 and same[own])
                unknown = int(((gallery.labels.persons == JUNK_PERSON) & allowed).sum())
            answers[query] = Answers(rows, distances, same_camera, unknown)
    return answers


def _nearest(gallery, search, own_rows: np.ndarray, k: int, by_person: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and distances of each query; looks at more and more tracklets until k people are among them."""
    wanted = k + 1
    while True:
        matches: Matches = search(wanted)
        found = [
            _kept(gallery, rows, distances, own, by_person)
            for rows, distances, own in zip(matches.rows, matches.distances, own_rows, strict=True)
        ]
        enough = all(len(rows) >= k for rows, _ in found)
        if not by_person or enough or (matches.rows[:, -1] < 0).all() or wanted >= len(gallery):
            return [(rows[:k], distances[:k]) for rows, distances in found]
        wanted = min(wanted * _GROWTH, len(gallery))


def _kept(
    gallery: Gallery, rows: np.ndarray, distances: np.ndarray, own: int, by_person: bool
) -> tuple[np.ndarray, np.ndarray]:
    kept = (rows >= 0) & (rows != own)
    rows, distances = rows[kept], distances[kept]
    if by_person:
        persons = gallery.labels.persons[rows]
        _, first = np.unique(persons, return_index=True)
        first = np.sort(first[~np.isin(persons[first], (JUNK_PERSON, DISTRACTOR_PERSON))])
        rows, distances = rows[first], distances[first]
    return rows, distances
