"""Means, spreads and differences of the figures of several runs."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FIGURES = ("mAP", "rank-1", "rank-5", "rank-10", "rank-20", "mINP")


@dataclass(frozen=True)
class Result:
    """The figures of one run, 0..1; None where no query has a match."""

    seed: int
    split: int | None
    figures: dict[str, float | None]


@dataclass(frozen=True)
class Spread:
    """Mean and spread of a figure over n runs.

    Attributes:
        std: the standard deviation with n - 1; None for a single run.
    """

    mean: float
    std: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "n": self.n}

    @property
    def half_width(self) -> float | None:
        """Half of the 95% confidence interval of the mean (Student's t, for independent normal runs)."""
        if self.std is None:
            return None
        from scipy.stats import t

        return float(t.ppf(0.975, self.n - 1)) * self.std / math.sqrt(self.n)


def figures_of(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The reported figures of a metrics.json."""
    return {name: metrics[name] for name in FIGURES}


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of the values that are there; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.mean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def overall(results: Sequence[Result]) -> dict[str, Spread | None]:
    """Over all runs, by figure."""
    return {name: spread(result.figures[name] for result in results) for name in FIGURES}


def within_splits(results: Sequence[Result]) -> dict[int | None, dict[str, Spread | None]]:
    """Over the seeds of each split."""
    splits = dict.fromkeys(result.split for result in results)
    return {split: overall([result for result in results if result.split == split]) for split in splits}


def over_splits(results: Sequence[Result]) -> dict[str, Spread | None]:
    """Over the splits, each with the mean of its seeds."""
    means = within_splits(results).values()
    return {name: spread(found[name] and found[name].mean for found in means) for name in FIGURES}


def differences(results: Sequence[Result], baseline: Sequence[Result]) -> dict[str, Spread | None]:
    """Over the pairs of runs with the same seed and split, of the row's figure less the baseline's."""
    others = {(result.seed, result.split): result.figures for result in baseline}
    pairs = [(result.figures, others[key]) for result in results if (key := (result.seed, result.split)) in others]
    return {
        name: spread(ours[name] - theirs[name] for ours, theirs in pairs if None not in (ours[name], theirs[name]))
        for name in FIGURES
    }
