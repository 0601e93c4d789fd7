"""Ranking metrics of person re-identification: mAP, mINP, CMC, by challenge and among look-alikes.

The protocol is the official one of MARS and of Market-1501 (Zheng et al., ECCV 2016 and ICCV 2015): for every query,
gallery tracklets of its own person by its own camera are junk and leave the ranking, as do tracklets of person -1;
what is left of its person are its matches. Average precision is the plain mean of the precision at each match, as
papers report it, or the trapezoid of the official MATLAB code. mINP is that of Ye et al. (TPAMI 2021). A query without
a match enters no mean and is counted. Equal distances rank in gallery order.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strf_cuda.data.tracklets import JUNK_PERSON, Tracklet
from strf_cuda.errors import InputError, nearest
from strf_cuda.markdown import aligned_text
from strf_cuda.ordering import ranks_of, smallest

AVERAGE_PRECISIONS = ("standard", "trapezoid")
REPORTED_RANKS = (1, 5, 10, 20)
CHALLENGE_ORDER = ("none", "occluded", "misaligned", "look-alike")
CELLS_PER_CHUNK = 1 << 20  # distances ranked at once: bounds the memory beside the matrix to some 60 MB


@dataclass(frozen=True, eq=False)
class RankingResult:
    """Figures of one ranking, and the figures of every query in it.

    Attributes:
        mAP: mean average precision, 0..1; nan where no query has a match, as are mINP and cmc.
        mINP: mean inverse negative penalty, the number of matches divided by the rank of the last.
        cmc: [G], cmc[r - 1] is the share of queries whose first match is at rank r or before.
        valid_queries: how many queries have a match; means are over these.
        average_precision: [Q], nan for a query without a match.
        inverse_negative_penalty: [Q], nan for a query without a match.
        first_match_rank: [Q], from 1; 0 for a query without a match.
        unmatched: indices of the queries without a match.
        rule: the average precision used, "standard" or "trapezoid".
    """

    mAP: float
    mINP: float
    cmc: np.ndarray
    valid_queries: int
    average_precision: np.ndarray
    inverse_negative_penalty: np.ndarray
    first_match_rank: np.ndarray
    unmatched: list[int]
    rule: str

    def rank(self, k: int) -> float:
        """Rank-k accuracy: the share of queries with a match among their first k."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])

    def subset(self, queries: Sequence[int] | np.ndarray) -> "RankingResult":
        """The same ranking with means over these queries only; `unmatched` then counts within them."""
        queries = np.asarray(queries, dtype=np.int64)
        return _summarize(
            self.average_precision[queries],
            self.inverse_negative_penalty[queries],
            self.first_match_rank[queries],
            len(self.cmc),
            self.rule,
        )

    def to_dict(self) -> dict:
        """The figures as JSON can hold them: nan becomes None, and cmc ends at rank 50."""
        return {
            "mAP": _number(self.mAP),
            "mINP": _number(self.mINP),
            **{f"rank-{k}": _number(self.rank(k)) for k in REPORTED_RANKS},
            "cmc": [_number(share) for share in self.cmc[:50]],
            "average_precision": self.rule,
            "queries": len(self.average_precision),
            "valid_queries": self.valid_queries,
            "queries_without_match": self.unmatched,
        }


@dataclass(frozen=True)
class GroupResult:
    """How often the nearest look-alike of another camera is the right person.

    Attributes:
        rank1: share of queries whose nearest candidate is their person, 0..1; nan without queries.
        queries: how many queries have a candidate of their own person.
        chance: what a random order would reach, the mean share of right tracklets among a query's candidates.
        unmatched: queries of a group that have no candidate of their own person; they enter no mean.
    """

    rank1: float
    queries: int
    chance: float
    unmatched: int

    def to_dict(self) -> dict:
        """The figures as JSON can hold them: nan becomes None."""
        return {
            "rank-1": _number(self.rank1),
            "chance": _number(self.chance),
            "queries": self.queries,
            "queries_without_match": self.unmatched,
        }


def evaluate_ranking(
    distances: np.ndarray,
    query_ids: Sequence[int],
    gallery_ids: Sequence[int],
    query_cameras: Sequence[int],
    gallery_cameras: Sequence[int],
    *,
    average_precision: str = "standard",
) -> RankingResult:
    """Ranks the gallery for every query and summarizes where its matches stand.

    Args:
        distances: [Q, G], smaller is more alike; infinite ones are allowed and rank last (or first).
        query_ids: [Q], gallery_ids: [G]: whole numbers, compared for equality.
        query_cameras: [Q], gallery_cameras: [G]: whole numbers.
        average_precision: "standard" as papers report it, or "trapezoid" as the official MARS code computes it
            (about 0.9 points of mAP apart).

    Raises:
        InputError: shapes do not fit, a distance is not a number, or the rule is unknown.
    """
    if average_precision not in AVERAGE_PRECISIONS:
        raise InputError(
            f"average_precision is {average_precision!r}, but it must be {' or '.join(AVERAGE_PRECISIONS)}"
            f"{nearest(str(average_precision), AVERAGE_PRECISIONS)}"
        )
    table = DistanceTable(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    precision = np.full(table.queries, np.nan)
    penalty = np.full(table.queries, np.nan)
    first_rank = np.zeros(table.queries, dtype=np.int64)
    for start, distances, matches, kept in table.chunks():
        query, rank = ranks_of(distances, matches, kept)
        total = np.bincount(query, minlength=len(distances))
        first = np.cumsum(total) - total
        found = np.arange(1, len(query) + 1) - first[query]  # matches up to and including this one
        height = found / rank
        if average_precision == "trapezoid":
            # Precision is taken to be 1 before the first rank.
            before = np.where(rank > 1, (found - 1) / np.maximum(rank - 1, 1), 1.0)
            height = (before + height) / 2
        has = total > 0
        rows = start + np.flatnonzero(has)
        precision[rows] = np.bincount(query, weights=height, minlength=len(distances))[has] / total[has]
        penalty[rows] = total[has] / rank[(first + total - 1)[has]]
        first_rank[rows] = rank[first[has]]
    return _summarize(precision, penalty, first_rank, table.gallery, average_precision)


def top_matches(
    distances: np.ndarray,
    query_ids: Sequence[int],
    gallery_ids: Sequence[int],
    query_cameras: Sequence[int],
    gallery_cameras: Sequence[int],
    k: int = 10,
) -> np.ndarray:
    """The k nearest gallery tracklets of every query, junk left out; arguments and errors as `evaluate_ranking`.

    Returns:
        Gallery indices [Q, k], nearest first; -1 where fewer than k are left.
    """
    table = DistanceTable(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    matches = np.full((table.queries, k), -1, dtype=np.int64)
    for start, distances, _, kept in table.chunks():
        query, position, place = smallest(distances, k, kept)
        matches[start + query, place] = position
    return matches


def rank_within_group(
    distances: np.ndarray,
    query_ids: Sequence[int],
    gallery_ids: Sequence[int],
    query_cameras: Sequence[int],
    gallery_cameras: Sequence[int],
    query_groups: Sequence[int | None],
    gallery_groups: Sequence[int | None],
) -> GroupResult:
    """Rank-1 among look-alikes: the gallery of a query is its own group, seen by other cameras.

    Plain rank-1 of look-alikes is ruled by those whom the query's own camera saw. Queries without a group are left
    out. Other arguments and errors as `evaluate_ranking`.

    Args:
        query_groups: [Q], gallery_groups: [G]: look-alike group, or None.
    """
    table = DistanceTable(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    if (len(query_groups), len(gallery_groups)) != (table.queries, table.gallery):
        raise InputError(
            f"distances are {table.queries} x {table.gallery}, but there are {len(query_groups)} query groups and "
            f"{len(gallery_groups)} gallery groups"
        )
    groups = np.array([-1 if group is None else group for group in gallery_groups], dtype=np.int64)
    right, chances, unmatched = [], [], 0
    for query, group in enumerate(query_groups):
        if group is None:
            continue
        candidates = np.flatnonzero((groups == group) & (table.gallery_cameras != table.query_cameras[query]))
        own = table.gallery_ids[candidates] == table.query_ids[query]
        if not own.any():
            unmatched += 1
            continue
        first = np.argmin(table.distances[query, candidates])
        right.append(own[first])
        chances.append(own.mean())
    return GroupResult(_mean(right), len(right), _mean(chances), unmatched)


def chance_mAP(
    query_ids: Sequence[int],
    gallery_ids: Sequence[int],
    query_cameras: Sequence[int],
    gallery_cameras: Sequence[int],
) -> float:
    """The standard mAP that a random order of the gallery has on average: the level to compare a small result with.

    For R matches among N ranked tracklets the mean average precision over all orders is
    (H_N + (R - 1) (N - H_N) / (N - 1)) / N with H_N = 1 + 1/2 + ... + 1/N. Arguments and errors as `evaluate_ranking`;
    nan where no query has a match.
    """
    table = DistanceTable(
        np.zeros((len(query_ids), len(gallery_ids)), np.float32), query_ids, gallery_ids, query_cameras, gallery_cameras
    )
    means, harmonics = [], {}
    for _, _, matches, kept in table.chunks():
        ranked, right = kept.sum(1), matches.sum(1)
        ranked, right = ranked[right > 0].astype(float), right[right > 0]
        harmonics |= {n: np.sum(1 / np.arange(1, n + 1)) for n in {*ranked.tolist()} - {*harmonics}}
        harmonic = np.array([harmonics[n] for n in ranked.tolist()])
        means.extend((harmonic + (right - 1) * (ranked - harmonic) / np.maximum(ranked - 1, 1)) / ranked)
    return _mean(means)


def evaluate_by_challenge(
    distances: np.ndarray,
    queries: Sequence[Tracklet],
    gallery: Sequence[Tracklet],
    *,
    average_precision: str = "standard",
) -> dict[str, RankingResult]:
    """The figures of all queries, and of the queries of each challenge, against the whole gallery.

    Returns:
        "all" first, then a result for each challenge that a query has, in the order none, occluded, misaligned,
        look-alike, then any others by name. Queries of unstated challenge appear under "all" only.

    Raises:
        InputError: as `evaluate_ranking`.
    """
    whole = evaluate_ranking(
        distances,
        [tracklet.person_id for tracklet in queries],
        [tracklet.person_id for tracklet in gallery],
        [tracklet.camera_id for tracklet in queries],
        [tracklet.camera_id for tracklet in gallery],
        average_precision=average_precision,
    )
    results = {"all": whole}
    for challenge in in_challenge_order({tracklet.challenge for tracklet in queries} - {None}):
        rows = [index for index, tracklet in enumerate(queries) if tracklet.challenge == challenge]
        results[challenge] = whole.subset(rows)
    return results


def in_challenge_order(challenges: Collection[str | None]) -> list[str | None]:
    """none, occluded, misaligned, look-alike, then any others by name, and None, the unstated one, last."""
    known = [challenge for challenge in CHALLENGE_ORDER if challenge in challenges]
    return known + sorted({*challenges} - {*known, None}) + [None] * (None in challenges)


def format_table(results: Mapping[str, RankingResult]) -> str:
    """Results as aligned text, one line each, in percent; "-" where no query has a match."""
    header = ("queries", "with match", "mAP", *(f"rank-{k}" for k in REPORTED_RANKS), "mINP")
    rows = [("", *header)]
    for name, result in results.items():
        shares = (result.mAP, *(result.rank(k) for k in REPORTED_RANKS), result.mINP)
        percents = ("-" if np.isnan(share) else f"{100 * share:.1f}" for share in shares)
        rows.append((name, f"{len(result.average_precision):,}", f"{result.valid_queries:,}", *percents))
    return aligned_text(rows)


class DistanceTable:
    """The distance matrix with its people and cameras, checked once; arguments and errors as `evaluate_ranking`."""

    def __init__(self, distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
        distances = np.asarray(distances)
        if distances.ndim != 2:
            raise InputError(f"distances must be queries x gallery, but their shape is {list(distances.shape)}")
        self.queries, self.gallery = distances.shape
        if not self.queries or not self.gallery:
            raise InputError(
                f"a ranking needs at least one query and one gallery tracklet, but distances are "
                f"{self.queries} x {self.gallery}"
            )
        self.query_ids = _labels("query_ids", query_ids, self.queries, "queries")
        self.gallery_ids = _labels("gallery_ids", gallery_ids, self.gallery, "gallery tracklets")
        self.query_cameras = _labels("query_cameras", query_cameras, self.queries, "queries")
        self.gallery_cameras = _labels("gallery_cameras", gallery_cameras, self.gallery, "gallery tracklets")
        if distances.dtype not in (np.float32, np.float64):
            distances = distances.astype(np.float64)
        self.distances = distances
        step = max(1, CELLS_PER_CHUNK // self.gallery)
        self._slices = [slice(start, start + step) for start in range(0, self.queries, step)]
        for rows in self._slices:
            wrong = np.argwhere(np.isnan(distances[rows]))
            if len(wrong):
                query, gallery = wrong[0]
                raise InputError(
                    f"the distance of query {rows.start + query} to gallery tracklet {gallery} is not a number: "
                    "look for NaN among the features"
                )

    def chunks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """First query, distances, matches and what is not junk, each [rows, G], for some queries at a time."""
        for rows in self._slices:
            same_person = self.query_ids[rows, None] == self.gallery_ids
            same_camera = self.query_cameras[rows, None] == self.gallery_cameras
            kept = ~(same_person & same_camera) & (self.gallery_ids != JUNK_PERSON)
            yield rows.start, self.distances[rows], same_person & kept, kept


def _labels(name: str, values: Sequence[int], count: int, what: str) -> np.ndarray:
    labels = np.asarray(values)
    if labels.shape != (count,):
        raise InputError(f"distances have {count} {what}, but the shape of {name} is {list(labels.shape)}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{name} must be whole numbers, but are of type {labels.dtype}")
    return labels


def _summarize(
    precision: np.ndarray, penalty: np.ndarray, first_rank: np.ndarray, gallery: int, rule: str
) -> RankingResult:
    """Means over the queries with a match."""
    valid = first_rank > 0
    count = int(valid.sum())
    if count:
        cmc = np.cumsum(np.bincount(first_rank[valid] - 1, minlength=gallery)) / count
    else:
        cmc = np.full(gallery, np.nan)
    unmatched = np.flatnonzero(~valid).tolist()
    return RankingResult(
        _mean(precision[valid]), _mean(penalty[valid]), cmc, count, precision, penalty, first_rank, unmatched, rule
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
