"""Figures, challenges, look-alike groups and ranked results of a data set."""

import json
import math

import numpy as np
import pytest
import torch

from strf_cuda import evaluation
from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.errors import InputError
from strf_cuda.reranking import rerank

# Person, camera, challenge, group.
QUERY = [(1, 1, "none", None), (2, 1, "look-alike", 7), (9, 1, "occluded", None)]
GALLERY = [
    (1, 1, "none", None),  # junk for query 0
    (1, 2, "none", None),
    (2, 2, "look-alike", 7),
    (3, 2, "look-alike", 7),
    (0, 3, None, None),  # distractor
    (-1, 3, None, None),  # junk for all
]
DISTANCES = np.array(
    [
        [0.00, 0.20, 0.90, 0.80, 0.10, 0.05],
        [0.50, 0.30, 0.20, 0.10, 0.40, 0.05],
        [0.10, 0.20, 0.30, 0.40, 0.50, 0.05],
    ],
    dtype=np.float32,
)


def tracklets(rows, kind):
    return [Tracklet([f"{kind}{index}-0.jpg", f"{kind}{index}-1.jpg"], *row) for index, row in enumerate(rows)]


@pytest.fixture
def dataset():
    return TrackletDataset("hand-made", [], tracklets(QUERY, "q"), tracklets(GALLERY, "g"), ["only a few tracklets"])


@pytest.fixture
def ranked(dataset):
    return evaluation.rank(dataset, DISTANCES)


def strict_json(content):
    return json.loads(json.dumps(content, allow_nan=False))


def test_figures_come_for_all_queries_and_for_each_challenge(ranked):
    assert list(ranked.results) == ["all", "none", "occluded", "look-alike"]
    assert ranked.overall.mAP == pytest.approx(0.5) and ranked.overall.valid_queries == 2
    assert ranked.overall.unmatched == [2]
    assert (ranked.overall.rank(1), ranked.overall.rank(5)) == (0, 1)
    assert ranked.results["look-alike"].mAP == pytest.approx(0.5)
    assert math.isnan(ranked.results["occluded"].mAP)


def test_look_alikes_are_ranked_within_their_group_over_other_cameras(dataset, ranked):
    assert list(ranked.within_groups) == ["look-alike"]
    group = ranked.within_groups["look-alike"]
    assert (group.rank1, group.queries, group.chance) == (0, 1, 0.5)
    better = DISTANCES.copy()
    better[1, 3] = 0.25
    assert evaluation.rank(dataset, better).within_groups["look-alike"].rank1 == 1


def test_pace_look_alikes_get_figures_of_their_own(dataset):
    query = [Tracklet(["q.jpg"], 2, 1, "look-alike-pace", 8), *dataset.query]
    gallery = [Tracklet(["g.jpg"], 2, 2, "look-alike-pace", 8), *dataset.gallery]
    mixed = TrackletDataset("mixed", [], query, gallery)
    result = evaluation.rank(mixed, np.random.default_rng(0).random((4, 7), dtype=np.float32))
    assert sorted(result.within_groups) == ["look-alike", "look-alike-pace"]
    assert result.within_groups["look-alike-pace"].queries == 1


def test_the_rankings_name_what_was_found(ranked):
    first, second, third = strict_json(ranked.rankings(k=3))
    assert first["query"] == {
        "person": 1,
        "camera": 1,
        "frames": 2,
        "first_frame": "q0-0.jpg",
        "challenge": "none",
    }
    assert (first["average_precision"], first["first_match_rank"]) == (0.5, 2)
    assert [row["first_frame"] for row in first["ranking"]] == ["g4-0.jpg", "g1-0.jpg", "g3-0.jpg"]
    assert [row["correct"] for row in first["ranking"]] == [False, True, False]
    assert [row["distance"] for row in first["ranking"]] == pytest.approx([0.1, 0.2, 0.8])
    assert "challenge" not in first["ranking"][0]
    assert [row["first_frame"][:2] for row in second["ranking"]] == ["g3", "g2", "g1"]
    assert (third["average_precision"], third["first_match_rank"]) == (None, None)


def test_rankings_are_as_long_as_there_are_tracklets(ranked):
    assert [len(row["ranking"]) for row in ranked.rankings(k=10)] == [4, 5, 5]
    assert (ranked.top(10)[0] == [4, 1, 3, 2, -1, -1, -1, -1, -1, -1]).all()


def test_the_dictionary_is_strict_json_with_notes_and_all_figures(ranked):
    content = strict_json(ranked.to_dict())
    assert content["dataset"] == "hand-made" and content["notes"] == ["only a few tracklets"]
    assert content["mAP"] == pytest.approx(0.5) and content["queries_without_match"] == [2]
    assert content["challenges"]["occluded"]["mAP"] is None
    assert content["within_look_alike_groups"]["look-alike"]["chance"] == 0.5
    assert 0 < content["chance_mAP"] < 1


def test_the_table_tells_of_groups_chance_and_queries_without_match(ranked):
    table = ranked.table()
    assert "look-alikes over other cameras: rank-1 0.0 of 1 queries (chance 50.0)" in table
    assert f"mAP of a random ranking: {100 * ranked.chance:.1f}" in table
    assert "1 queries have no match by another camera" in table


def test_a_data_set_without_any_match_has_no_figures_but_valid_files(dataset):
    gallery = [Tracklet([f"{i}.jpg"], 50 + i, 2, "look-alike", 7) for i in range(6)]
    result = evaluation.rank(TrackletDataset("strangers", [], dataset.query, gallery), DISTANCES)
    content = strict_json([result.to_dict(), result.rankings()])
    assert content[0]["mAP"] is None and content[0]["chance_mAP"] is None
    assert "nan" not in result.table()
    assert "3 queries have no match by another camera" in result.table()


def stub_embeddings(monkeypatch, features):
    """Replaces the model by a function of the tracklet; returns the calls."""
    calls = []

    def embed(model, given, data, protocol, *, autocast=None, progress=True):
        calls.append(list(given))
        return torch.nn.functional.normalize(torch.tensor([features(t) for t in given], dtype=torch.float32))

    monkeypatch.setattr(evaluation, "embed_tracklets", embed)
    return calls


def test_a_tracklet_that_is_query_and_gallery_is_embedded_once(dataset, monkeypatch):
    shared = TrackletDataset("shared", [], dataset.query, [*dataset.gallery[:3], *dataset.query, *dataset.gallery[3:]])
    angles = {id(t): 0.1 * i for i, t in enumerate(shared.gallery)}
    calls = stub_embeddings(monkeypatch, lambda t: [math.cos(angles[id(t)]), math.sin(angles[id(t)])])
    result = evaluation.evaluate(None, shared, DataConfig(), ProtocolConfig())
    (embedded,) = calls
    assert len(embedded) == len({id(t) for t in embedded}) == len(shared.gallery) == 9
    assert {id(t) for t in embedded} == {id(t) for t in shared.gallery}
    expected = [
        [1 - math.cos(angles[id(query)] - angles[id(other)]) for other in shared.gallery] for query in shared.query
    ]
    np.testing.assert_allclose(result.distances, expected, atol=1e-6)


def test_re_ranked_distances_take_the_place_of_plain_ones_and_are_named(dataset, monkeypatch):
    random = np.random.default_rng(0)
    shared = TrackletDataset("shared", [], dataset.query, [*dataset.gallery, *dataset.query])
    features = {id(t): random.standard_normal(5).tolist() for t in shared.gallery}
    calls = stub_embeddings(monkeypatch, lambda t: features[id(t)])
    plain = evaluation.evaluate(None, shared, DataConfig(), ProtocolConfig())
    protocol = ProtocolConfig(rerank=True, rerank_k1=3, rerank_k2=2, rerank_lambda=0.4)
    result = evaluation.evaluate(None, shared, DataConfig(), protocol)
    rows = np.array([features[id(t)] for t in calls[0]])
    places = [[id(t) for t in calls[0]].index(id(t)) for t in shared.gallery]
    expected = rerank(rows, places[len(dataset.gallery) :], places, k1=3, k2=2, plain_share=0.4)
    np.testing.assert_allclose(result.distances, expected, atol=1e-6)
    assert result.to_dict()["reranked"] == {"k1": 3, "k2": 2, "lambda": 0.4}
    assert plain.to_dict()["reranked"] is None
    sentence = "re-ranked by k-reciprocal neighbours (k1 3, k2 2, lambda 0.4): compare with re-ranked figures only"
    assert sentence in result.table() and "re-ranked" not in plain.table()


def test_the_rule_of_average_precision_is_the_protocol_s(dataset, monkeypatch):
    stub_embeddings(monkeypatch, lambda t: [1.0, t.person_id, t.camera_id])
    for rule in ("standard", "trapezoid"):
        result = evaluation.evaluate(None, dataset, DataConfig(), ProtocolConfig(average_precision=rule))
        assert result.to_dict()["average_precision"] == rule


@pytest.mark.parametrize(("queries", "gallery"), [(0, 6), (3, 0), (0, 0)])
def test_a_data_set_without_queries_or_gallery_is_refused(dataset, queries, gallery):
    part = TrackletDataset("half", [], dataset.query[:queries], dataset.gallery[:gallery])
    with pytest.raises(
        InputError, match=f"half has {queries} query and {gallery} gallery tracklets, but an evaluation"
    ):
        evaluation.evaluate(None, part, DataConfig(), ProtocolConfig())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_told_as_divergence(dataset, monkeypatch, value):
    stub_embeddings(monkeypatch, lambda t: [1.0, value if t is dataset.gallery[2] else 0.0])
    with pytest.raises(InputError, match="features are not finite numbers: its training has diverged"):
        evaluation.evaluate(None, dataset, DataConfig(), ProtocolConfig())
