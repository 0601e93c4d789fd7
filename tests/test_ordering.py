"""Orders within rows, against a stable sort of the values that count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strf_cuda.ordering import ranks_of, smallest


def matrices(seed, levels):
    """Values with equal and infinite ones, those that count, and some of these."""
    random = np.random.default_rng(seed)
    shape = random.integers(1, 9), random.integers(1, 25)
    values = np.array([-np.inf, *random.standard_normal(levels), np.inf])[random.integers(0, levels + 2, shape)]
    among = random.random(shape) < random.random()
    return values.astype(random.choice([np.float32, np.float64])), among, among & (random.random(shape) < 0.4)


def counting_in_order(values, among):
    """For each row the columns that count, by value and then by column."""
    return [
        [column for column in np.argsort(row, kind="stable").tolist() if counts[column]]
        for row, counts in zip(values, among, strict=True)
    ]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 1000]), st.integers(1, 30))
def test_the_smallest_are_the_first_of_the_stable_order(seed, levels, k):
    values, among, _ = matrices(seed, levels)
    for counting, passed in ((among, among), (np.ones_like(among), None)):
        expected = [
            (row, column, place)
            for row, columns in enumerate(counting_in_order(values, counting))
            for place, column in enumerate(columns[:k])
        ]
        found = smallest(values, k, passed)
        assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 1000]))
def test_ranks_are_places_in_the_stable_order(seed, levels):
    values, among, chosen = matrices(seed, levels)
    expected = [
        (row, place + 1)
        for row, columns in enumerate(counting_in_order(values, among))
        for place, column in enumerate(columns)
        if chosen[row, column]
    ]
    row, rank = ranks_of(values, chosen, among)
    assert list(zip(row.tolist(), rank.tolist(), strict=True)) == expected


@pytest.mark.parametrize("function", [smallest, ranks_of])
def test_the_arguments_stay_as_they_are(function):
    values, among, chosen = matrices(3, 3)
    copies = values.copy(), among.copy(), chosen.copy()
    function(values, *((2, among) if function is smallest else (chosen, among)))
    assert all(np.array_equal(*pair) for pair in zip((values, among, chosen), copies, strict=True))
