"""Ranking metrics against their definitions: cases worked by hand, and a plain loop over random cases."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strf_cuda import metrics
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError
from strf_cuda.metrics import (
    chance_mAP,
    evaluate_by_challenge,
    evaluate_ranking,
    format_table,
    rank_within_group,
    top_matches,
)


def plain_ranking(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """The definitions, word by word: per query its kept gallery indices in order and the ranks of its matches."""
    rankings = []
    for query in range(len(query_ids)):
        kept = []
        for index in range(len(gallery_ids)):
            same_person = gallery_ids[index] == query_ids[query]
            if gallery_ids[index] == -1 or (same_person and gallery_cameras[index] == query_cameras[query]):
                continue
            kept.append(index)
        kept.sort(key=lambda index: (distances[query][index], index))
        ranks = [rank for rank, index in enumerate(kept, start=1) if gallery_ids[index] == query_ids[query]]
        rankings.append((kept, ranks))
    return rankings


def plain_average_precision(ranks, rule):
    """Area under the precision-recall curve, walked rank by rank as the MATLAB code of MARS does."""
    area, old_recall, old_precision, found = 0.0, 0.0, 1.0, 0
    for rank in range(1, ranks[-1] + 1):
        found += rank in ranks
        recall, precision = found / len(ranks), found / rank
        height = (old_precision + precision) / 2 if rule == "trapezoid" else precision
        area += (recall - old_recall) * height
        old_recall, old_precision = recall, precision
    return area


@st.composite
def rankings(draw):
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 25))
    seed = draw(st.integers(0, 2**32 - 1))
    levels = draw(st.sampled_from([1, 3, 2_000]))  # few levels make many equal distances
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int64, np.float16]))
    random = np.random.default_rng(seed)
    distances = random.integers(-levels, levels + 1, (queries, gallery)).astype(dtype)
    if draw(st.booleans()) and dtype != np.int64:
        distances[random.random(distances.shape) < 0.2] = np.inf
    return (
        distances,
        random.integers(1, 5, queries),
        random.integers(-1, 5, gallery),
        random.integers(1, 4, queries),
        random.integers(1, 4, gallery),
    )


@given(rankings(), st.sampled_from(["standard", "trapezoid"]), st.sampled_from([1, 40, 1 << 20]))
@settings(deadline=None, max_examples=200)
def test_agrees_with_the_definitions(case, rule, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CELLS_PER_CHUNK", cells)
        result = evaluate_ranking(*case, average_precision=rule)
    ranks = [ranks for _, ranks in plain_ranking(*case)]
    valid = [ranks for ranks in ranks if ranks]
    assert result.unmatched == [query for query, ranks in enumerate(ranks) if not ranks]
    assert result.valid_queries == len(valid)
    assert result.first_match_rank.tolist() == [ranks[0] if ranks else 0 for ranks in ranks]
    expected = [plain_average_precision(ranks, rule) if ranks else np.nan for ranks in ranks]
    np.testing.assert_allclose(result.average_precision, expected, rtol=0, atol=1e-12)
    if valid:
        assert result.mAP == pytest.approx(np.nanmean(expected), abs=1e-12)
        assert result.mINP == pytest.approx(np.mean([len(ranks) / ranks[-1] for ranks in valid]), abs=1e-12)
        gallery = len(case[2])
        cmc = [np.mean([ranks[0] <= k for ranks in valid]) for k in range(1, gallery + 1)]
        np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
    else:
        assert np.isnan(result.mAP) and np.isnan(result.mINP) and np.isnan(result.cmc).all()


@given(rankings(), st.integers(1, 30), st.sampled_from([1, 40, 1 << 20]))
@settings(deadline=None, max_examples=100)
def test_top_matches_are_the_first_kept_in_order(case, k, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CELLS_PER_CHUNK", cells)
        top = top_matches(*case, k=k)
    for row, (kept, _) in zip(top, plain_ranking(*case), strict=True):
        assert row.tolist() == (kept + [-1] * k)[:k]


# One query of person 1 by camera 1. In order of distance: junk by its own camera, somebody else, a match (rank 2),
# a person-less crop that does not count, a match (rank 3), somebody else, a match (rank 5).
BY_HAND = (
    np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]]),
    [1],
    [1, 2, 1, -1, 1, 2, 1],
    [1],
    [1, 1, 2, 2, 3, 2, 2],
)


def test_worked_case_standard():
    result = evaluate_ranking(*BY_HAND)
    assert result.mAP == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert result.mINP == pytest.approx(3 / 5)
    assert result.cmc.tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert result.rank(1) == 0 and result.rank(2) == 1 and result.rank(100) == 1
    assert result.first_match_rank.tolist() == [2]


def test_worked_case_trapezoid():
    # Precision before ranks 2, 3 and 5: 0, 1/2 and 2/4.
    expected = ((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2 + (2 / 4 + 3 / 5) / 2) / 3
    assert evaluate_ranking(*BY_HAND, average_precision="trapezoid").mAP == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["standard", "trapezoid"])
def test_perfect_ranking_is_1(rule):
    result = evaluate_ranking(
        [[0.1, 0.2, 0.3], [0.9, 0.8, 0.1]], [1, 2], [1, 1, 2], [1, 1], [2, 3, 2], average_precision=rule
    )
    assert (result.mAP, result.mINP, result.rank(1)) == (1, 1, 1)


def test_query_whose_matches_are_all_junk_enters_no_mean_and_is_named():
    result = evaluate_ranking([[0.1, 0.2], [0.2, 0.1]], [1, 2], [1, 2], [1, 1], [1, 2])
    assert result.unmatched == [0]
    assert result.valid_queries == 1
    assert (result.mAP, result.rank(1)) == (1, 1)
    assert np.isnan(result.average_precision[0])


def test_equal_distances_rank_in_gallery_order():
    gallery = np.full(50, 2)
    gallery[20] = 1
    result = evaluate_ranking(np.zeros((1, 50), np.float32), [1], gallery, [1], np.full(50, 2))
    assert result.first_match_rank.tolist() == [21]


def test_negative_zero_equals_zero():
    assert top_matches([[0.0, -0.0, 0.0]], [1], [2, 3, 4], [1], [1, 1, 1], k=3).tolist() == [[0, 1, 2]]


def test_distractors_are_ranked_like_anybody_else():
    result = evaluate_ranking([[0.1, 0.2]], [1], [0, 1], [1], [1, 2])
    assert result.mAP == 0.5


def test_figures_go_into_json():
    figures = evaluate_ranking(np.tile(BY_HAND[0], (2, 1)), [1, 9], BY_HAND[2], [1, 1], BY_HAND[4]).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["queries"] == 2 and figures["valid_queries"] == 1 and figures["queries_without_match"] == [1]
    assert figures["rank-1"] == 0 and figures["rank-5"] == 1
    nothing = evaluate_ranking([[0.1]], [1], [2], [1], [1]).to_dict()
    assert nothing["mAP"] is None and nothing["rank-1"] is None and nothing["cmc"] == [None]
    json.dumps(nothing, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({0: np.zeros(7)}, ["shape is [7]"]),
        ({0: np.zeros((1, 6))}, ["6 gallery tracklets", "gallery_ids is [7]"]),
        ({1: [1, 2]}, ["1 queries", "query_ids is [2]"]),
        ({3: []}, ["query_cameras is [0]"]),
        ({4: [1]}, ["gallery_cameras is [1]"]),
        ({1: [1.0]}, ["query_ids", "whole numbers", "float64"]),
        ({0: np.zeros((0, 7)), 1: [], 3: []}, ["0 x 7"]),
    ],
)
def test_shapes_that_disagree_are_named(change, words):
    arguments = [change.get(index, argument) for index, argument in enumerate(BY_HAND)]
    with pytest.raises(InputError) as caught:
        evaluate_ranking(*arguments)
    for word in words:
        assert word in str(caught.value)


def test_distance_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setattr(metrics, "CELLS_PER_CHUNK", 5)
    distances = np.zeros((4, 5))
    distances[3, 2] = np.nan
    with pytest.raises(InputError, match="query 3 to gallery tracklet 2"):
        evaluate_ranking(distances, [1] * 4, [1] * 5, [1] * 4, [1] * 5)


def test_unknown_average_precision_is_refused():
    with pytest.raises(InputError, match=r"'trapez'.*did you mean trapezoid\?"):
        evaluate_ranking(*BY_HAND, average_precision="trapez")


def test_chance_is_the_mean_over_all_orders_of_the_gallery():
    # Five ranked tracklets of which two are matches, beside junk; and a query without a match.
    ids, cameras = ([1, 9], [1, 2, 1, 3, 0, 1, -1]), ([1, 1], [2, 1, 3, 1, 1, 1, 1])
    orders = itertools.permutations(range(7))
    means = [
        evaluate_ranking(np.tile(np.array(order, float), (2, 1)), *ids, *cameras).average_precision[0]
        for order in orders
    ]
    assert chance_mAP(*ids, *cameras) == pytest.approx(np.mean(means))


def test_within_group_counts_other_cameras_and_own_group_alone():
    # Query 0: its nearest look-alike by another camera is person 2: wrong. Nearer ones are by its own camera, or of
    # another group. Query 1: right. Query 2: no match by another camera. Query 3: in no group.
    query_ids, query_cameras, query_groups = [1, 2, 3, 9], [1, 1, 2, 1], [7, 7, 7, None]
    gallery_ids = [1, 2, 5, 2, 1, 3, 4]
    gallery_cameras = [1, 1, 2, 2, 2, 2, 3]
    gallery_groups = [7, 7, 8, 7, 7, 7, 7]
    distances = np.tile([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], (4, 1))
    result = rank_within_group(
        distances, query_ids, gallery_ids, query_cameras, gallery_cameras, query_groups, gallery_groups
    )
    assert (result.rank1, result.queries, result.unmatched) == (0.5, 2, 1)
    assert result.chance == pytest.approx(1 / 4)
    assert json.loads(json.dumps(result.to_dict()))["rank-1"] == 0.5


def test_chance_within_a_group_is_what_random_distances_reach():
    random = np.random.default_rng(0)
    people, cameras = np.repeat(np.arange(1, 401), 6), np.tile(np.arange(1, 7), 400)
    groups = ((people - 1) // 4).tolist()
    result = rank_within_group(
        random.random((2400, 2400), dtype=np.float32), people, people, cameras, cameras, groups, groups
    )
    assert result.chance == 0.25
    assert result.rank1 == pytest.approx(0.25, abs=0.04)


def test_within_group_without_groups_has_no_figure():
    result = rank_within_group([[0.5]], [1], [1], [1], [2], [None], [None])
    assert np.isnan(result.rank1) and result.to_dict()["rank-1"] is None and result.queries == 0


def test_groups_of_another_length_are_refused():
    with pytest.raises(InputError, match="2 query groups"):
        rank_within_group([[0.5]], [1], [1], [1], [2], [None, 1], [None])


def tracklets(*rows):
    return [Tracklet(["frame.jpg"], person, camera, challenge) for person, camera, challenge in rows]


def test_each_challenge_ranks_its_queries_against_the_whole_gallery():
    queries = tracklets((1, 1, "look-alike"), (2, 1, "none"), (3, 1, "rain"), (2, 3, "none"), (1, 2, None))
    gallery = tracklets((1, 2, "none"), (2, 2, "occluded"), (3, 2, "none"), (1, 3, "none"))
    distances = np.random.default_rng(1).random((5, 4))
    results = evaluate_by_challenge(distances, queries, gallery, average_precision="trapezoid")
    assert list(results) == ["all", "none", "look-alike", "rain"]
    for challenge, rows in (("all", range(5)), ("none", [1, 3]), ("look-alike", [0]), ("rain", [2])):
        alone = evaluate_ranking(
            distances[list(rows)],
            [queries[row].person_id for row in rows],
            [tracklet.person_id for tracklet in gallery],
            [queries[row].camera_id for row in rows],
            [tracklet.camera_id for tracklet in gallery],
            average_precision="trapezoid",
        )
        assert results[challenge].to_dict() == alone.to_dict()


def test_table_is_aligned_and_in_percent():
    text = format_table(
        {"all": evaluate_ranking(*BY_HAND), "look-alike": evaluate_ranking([[0.1]], [1], [2], [1], [1])}
    )
    header, first, second = text.splitlines()
    assert header.split() == ["queries", "with", "match", "mAP", "rank-1", "rank-5", "rank-10", "rank-20", "mINP"]
    assert first.split() == ["all", "1", "1", "58.9", "0.0", "100.0", "100.0", "100.0", "60.0"]
    assert second.split() == ["look-alike", "1", "0", "-", "-", "-", "-", "-", "-"]
    assert len(header) == len(first) == len(second)
