"""How far the distances of same people lie below those of different people."""

from dataclasses import dataclass

import numpy as np

from strf_cuda.metrics import DistanceTable

BINS = 50
FINE = 100  # parts of a bin in which the equal-error point is looked for


@dataclass(frozen=True)
class Separation:
    """Histograms of distances, junk left out.

    Attributes:
        edges: [bins + 1].
        same, different: [bins], how many pairs of the same and of different people; distractors are different people.
        overlap: the common area of the two histograms, each scaled to 1; 0 where no distance is ambiguous.
        equal_error: the share of errors, of both kinds alike, where pairs are told apart at `threshold`; None without
            pairs of either kind, as is `threshold`.
    """

    edges: np.ndarray
    same: np.ndarray
    different: np.ndarray
    overlap: float | None
    equal_error: float | None
    threshold: float | None


def separate(table: DistanceTable) -> Separation:
    """The distances of all queries to what they are ranked against."""
    finite = table.distances[np.isfinite(table.distances)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1e-6
    counts = np.zeros((2, BINS * FINE), dtype=np.int64)
    scale = BINS * FINE / (high - low)
    for _, distances, matches, kept in table.chunks():
        for row, chosen in enumerate((matches, kept & ~matches)):
            values = distances[chosen]
            places = (values[np.isfinite(values)] - low) * scale
            counts[row] += np.bincount(np.minimum(places.astype(np.int64), BINS * FINE - 1), minlength=BINS * FINE)
    same, different = counts.reshape(2, BINS, FINE).sum(2)
    edges = np.linspace(low, high, BINS + 1)
    if not same.sum() or not different.sum():
        return Separation(edges, same, different, None, None, None)
    overlap = float(np.minimum(same / same.sum(), different / different.sum()).sum())
    return Separation(edges, same, different, overlap, *_equal_error(counts, low, high))


def _equal_error(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Where as large a share of same people lies beyond a threshold as of different people below it."""
    below = np.concatenate([np.zeros((2, 1)), np.cumsum(counts, axis=1)], axis=1) / counts.sum(1, keepdims=True)
    rejected, accepted = 1 - below[0], below[1]
    after = int(np.argmax(accepted >= rejected))  # at the last edge all are accepted, and none rejected
    before = after - 1  # at the first edge it is the other way round
    gaps = rejected[before] - accepted[before], accepted[after] - rejected[after]
    part = gaps[0] / (gaps[0] + gaps[1])
    rate = rejected[before] + part * (rejected[after] - rejected[before])
    return float(rate), low + (before + float(part)) * (high - low) / counts.shape[1]
