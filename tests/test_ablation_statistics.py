"""Means and spreads of repeated runs, against figures worked out by hand."""

import math

import pytest

from strf_cuda.ablation.statistics import (
    FIGURES,
    Result,
    Spread,
    differences,
    over_splits,
    overall,
    spread,
    within_splits,
)


def result(seed, split, mAP, rank1=0.5):
    return Result(seed, split, {**dict.fromkeys(FIGURES, 0.0), "mAP": mAP, "rank-1": rank1})


def test_the_standard_deviation_is_that_of_a_sample():
    found = spread([0.2, 0.4, 0.9])
    assert found.mean == pytest.approx(0.5) and found.n == 3
    assert found.std == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))


def test_a_single_run_has_a_mean_and_no_spread():
    assert spread([0.3]) == Spread(0.3, None, 1) and spread([0.3]).half_width is None


def test_runs_without_a_figure_are_left_out():
    assert spread([None, 0.3, 0.5]).mean == pytest.approx(0.4)
    assert spread([None]) is None and spread([]) is None


def test_means_are_taken_within_splits_over_splits_and_over_all_runs():
    results = [result(0, 0, 0.1), result(1, 0, 0.3), result(0, 4, 0.6), result(1, 4, 0.6), result(2, 4, 0.6)]
    within = within_splits(results)
    assert list(within) == [0, 4]
    assert within[0]["mAP"].mean == pytest.approx(0.2) and within[0]["mAP"].std == pytest.approx(math.sqrt(0.02))
    assert within[4]["mAP"].mean == pytest.approx(0.6) and within[4]["mAP"].std == pytest.approx(0)
    # Splits count alike, however many seeds they have.
    assert over_splits(results)["mAP"].mean == pytest.approx(0.4) and over_splits(results)["mAP"].n == 2
    assert over_splits(results)["mAP"].std == pytest.approx(math.sqrt(0.08))
    assert overall(results)["mAP"].mean == pytest.approx(0.44) and overall(results)["mAP"].n == 5


def test_differences_are_taken_between_runs_of_the_same_seed_and_split():
    row = [result(0, None, 0.30), result(1, None, 0.50), result(2, None, 0.90)]
    baseline = [result(1, None, 0.40), result(0, None, 0.28), result(3, None, 0.0)]
    found = differences(row, baseline)["mAP"]
    assert found.n == 2 and found.mean == pytest.approx(0.06)
    assert found.std == pytest.approx(math.sqrt(2 * 0.04**2))
    assert differences(row[:1], baseline[:1])["mAP"] is None


def test_the_interval_is_students():
    """t(0.975) with 2 degrees of freedom is 4.303, in any table."""
    assert Spread(0.0, 0.03, 3).half_width == pytest.approx(4.3027 * 0.03 / math.sqrt(3), rel=1e-4)
