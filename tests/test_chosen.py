"""Which queries and frames a picture shows."""

import numpy as np
import pytest

from strf_cuda.chosen import checked_queries, largest_differences, shown_clip, spread_over_challenges
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError


def queries(*challenges):
    return [Tracklet(["frame.jpg"], 1, 1, challenge) for challenge in challenges]


def test_every_challenge_has_its_share_from_the_middle_of_its_queries():
    found = queries(*["none"] * 6, *["look-alike"] * 2, "occluded")
    assert spread_over_challenges(found, 3) == [3, 8, 7]
    assert spread_over_challenges(found, 5) == [1, 4, 8, 6, 7]
    assert sorted(spread_over_challenges(found, 99)) == list(range(9))


def test_where_nobody_states_challenges_queries_are_spread_evenly():
    assert spread_over_challenges(queries(*[None] * 8), 4) == [1, 3, 5, 7]
    assert spread_over_challenges([], 4) == []


@pytest.mark.parametrize("index", [-1, 2])
def test_a_query_that_is_none_is_refused(index):
    with pytest.raises(InputError, match=f"query is {index}, but the data set's 2 queries are counted from 0"):
        checked_queries([0, index], queries(None, None))


@pytest.mark.parametrize(
    ("length", "stride", "clip"),
    [
        (64, 8, [19, 27, 35, 43]),
        (25, 8, [0, 8, 16, 24]),
        (11, 8, [0, 3, 6, 9]),
        (8, 1, [2, 3, 4, 5]),
        (3, 8, [0, 1, 2, 0]),
    ],
)
def test_the_clip_lies_in_the_middle_and_repeats_frames_only_where_there_are_too_few(length, stride, clip):
    assert shown_clip(length, 4, stride) == clip


def test_a_clip_of_one_frame_is_the_middle_one():
    assert shown_clip(5, 1, 8) == [2]


def test_as_many_queries_are_better_as_worse_and_the_largest_differences_come_first():
    first = np.array([0.9, 0.5, 0.2, 0.1, 0.4, np.nan, 0.6])
    second = np.array([0.1, 0.4, 0.3, 0.5, 0.4, np.nan, 0.1])
    found = largest_differences(first, second, 4)
    assert (found.better, found.worse) == ([0, 6], [3, 2])
    assert found.counts == (3, 2, 1)  # better, worse, equal; a query without a match is neither
    found = largest_differences(first, second, 99)
    assert (found.better, found.worse) == ([0, 6], [3, 2])


def test_a_side_without_queries_leaves_all_places_to_the_other():
    found = largest_differences(np.array([0.5, 0.6, 0.7]), np.array([0.5, 0.5, 0.5]), 4)
    assert (found.better, found.worse, found.counts) == ([2, 1], [], (2, 0, 1))
