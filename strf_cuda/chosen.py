"""What a picture shows of a data set and of a tracklet, where nobody says: which queries, which clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError
from strf_cuda.metrics import in_challenge_order


def spread_over_challenges(queries: Sequence[Tracklet], count: int) -> list[int]:
    """Indices of `count` queries, fewer where there are fewer: of each challenge equally many, at even distances."""
    groups = {name: [] for name in in_challenge_order({query.challenge for query in queries})}
    for index, query in enumerate(queries):
        groups[query.challenge].append(index)
    shares = dict.fromkeys(groups, 0)
    while sum(shares.values()) < min(count, len(queries)):
        open_groups = [name for name in groups if shares[name] < len(groups[name])]
        shares[min(open_groups, key=shares.get)] += 1
    return [
        groups[name][(2 * place + 1) * len(groups[name]) // (2 * share)]
        for name, share in shares.items()
        for place in range(share)
    ]


def checked_queries(indices: Sequence[int], queries: Sequence[Tracklet]) -> list[int]:
    """The indices, an `InputError` if one is no query's."""
    for index in indices:
        if not 0 <= index < len(queries):
            raise InputError(f"query is {index}, but the data set's {len(queries):,} queries are counted from 0")
    return list(indices)


def shown_clip(length: int, frames: int, stride: int) -> list[int]:
    """The frames of a clip from the middle of a tracklet, `stride` apart or, in a short tracklet, as far as it allows.

    A tracklet of fewer frames than the clip repeats its own, from the first on.
    """
    if length < frames:
        return [place % length for place in range(frames)]
    stride = min(stride, (length - 1) // max(frames - 1, 1)) or 1
    first = (length - 1 - (frames - 1) * stride) // 2
    return [first + stride * place for place in range(frames)]


@dataclass(frozen=True)
class Differences:
    """The queries on which two models differ most, by average precision.

    Attributes:
        better, worse: queries for which the first model's average precision is higher, or lower, than the second's;
            the largest difference first.
        counts: how many queries with a match are better, worse and equal in all.
    """

    better: list[int]
    worse: list[int]
    counts: tuple[int, int, int]


def largest_differences(first: np.ndarray, second: np.ndarray, count: int) -> Differences:
    """At most `count` queries, as many better as worse ones; where one side has fewer, so has the other.

    A side without any leaves all places to the other.

    Args:
        first, second: average precisions [Q], nan where a query has no match (`RankingResult.average_precision`).
    """
    change = first - second
    order = np.argsort(-np.abs(change), kind="stable")
    better = [int(query) for query in order if change[query] > 0]
    worse = [int(query) for query in order if change[query] < 0]
    counts = (len(better), len(worse), int((change == 0).sum()))
    if better and worse:
        count = min(count // 2, len(better), len(worse))
    return Differences(better[:count], worse[:count], counts)
