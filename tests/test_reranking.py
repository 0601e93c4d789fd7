"""Re-ranking against the steps of the paper in plain loops, in float64."""

import math

import numpy as np
import pytest

from strf_cuda import reranking
from strf_cuda.errors import InputError
from strf_cuda.metrics import evaluate_ranking
from strf_cuda.reranking import rerank

SETTINGS = [(20, 6, 0.3), (7, 3, 0.0), (4, 2, 1.0), (5, 1, 0.5), (1, 2, 0.3), (2, 9, 0.1)]


def rerank_plainly(features, queries, gallery, k1, k2, plain_share):
    """Section 3 of the paper with sets and sums over all tracklets; docs/protocol.md says how it is read."""
    everybody = range(len(features))
    lengths = [math.hypot(*row) for row in features]

    def cosine(i, j):
        return float(np.dot(features[i], features[j])) / (lengths[i] * lengths[j])

    distance = [[0.0 if i == j else 1 - cosine(i, j) for j in everybody] for i in everybody]
    order = [sorted(everybody, key=lambda j: (j != i, distance[i][j], j)) for i in everybody]
    largest = [max(row) for row in distance]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encodings = []
    for i in everybody:
        own = reciprocal(i, k1)
        expanded = set(own)
        for neighbour in own:
            theirs = reciprocal(neighbour, round(k1 / 2))
            if len(own & theirs) > 2 / 3 * len(theirs):
                expanded |= theirs
        weights = [math.exp(-distance[i][j] / largest[i]) if j in expanded else 0.0 for j in everybody]
        encodings.append([weight / sum(weights) for weight in weights])
    averaged = []
    for i in everybody:
        near = [encodings[j] for j in order[i][:k2]]
        averaged.append([sum(column) / len(near) for column in zip(*near, strict=True)])

    def jaccard(i, j):
        pairs = list(zip(averaged[i], averaged[j], strict=True))
        return 1 - sum(map(min, pairs)) / sum(map(max, pairs))

    mixed = [
        [(1 - plain_share) * jaccard(q, g) + plain_share * distance[q][g] / largest[q] for g in gallery]
        for q in queries
    ]
    return np.array(mixed)


def clustered(count, clusters, size=12, spread=0.7, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((clusters, size))[np.arange(count) % clusters] + spread * random.standard_normal(
        (count, size)
    )


def tied(count, seed=0):
    """Vectors of four halves: exact products, and many equal distances and equal vectors."""
    return np.random.default_rng(seed).choice([-0.5, 0.5], (count, 4))


@pytest.mark.parametrize(("k1", "k2", "plain_share"), SETTINGS)
@pytest.mark.parametrize(
    "features",
    [clustered(60, 7), clustered(60, 2, spread=0.1), clustered(45, 45), tied(50), tied(9)],
    ids=["clusters", "two tight clusters", "strangers", "tied", "tied and few"],
)
def test_distances_are_those_of_the_paper_s_steps(features, k1, k2, plain_share):
    """Half of the queries stand in the gallery too; k1 is smaller than the gallery or larger."""
    queries, gallery = np.arange(6), np.arange(3, len(features))
    found = rerank(features, queries, gallery, k1=k1, k2=k2, plain_share=plain_share)
    assert found.dtype == np.float32 and found.shape == (6, len(gallery))
    expected = rerank_plainly(features, queries, gallery, k1, k2, plain_share)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_small_blocks_give_the_same(monkeypatch):
    features = clustered(60, 7)
    whole = rerank(features, range(9), range(60))
    monkeypatch.setattr(reranking, "CELLS_PER_BLOCK", 100)
    np.testing.assert_allclose(rerank(features, range(9), range(60)), whole, atol=1e-6, rtol=0)


def test_the_order_of_the_tracklets_does_not_matter():
    features, order = clustered(60, 7), np.random.default_rng(1).permutation(60)
    place = np.argsort(order)
    plain = rerank(features, range(9), range(9, 60))
    moved = rerank(features[order], place[:9], place[9:])
    np.testing.assert_allclose(moved, plain, atol=1e-6, rtol=0)


def test_a_query_in_the_gallery_is_at_distance_zero_and_its_duplicate_is_as_near():
    features = clustered(30, 5)
    features[17] = features[4]
    found = rerank(features, [4], range(30), k1=6)[0]
    assert found[4] == pytest.approx(0, abs=1e-6) and found[17] == pytest.approx(0, abs=1e-6)
    assert np.sort(found)[2] > 0.01


@pytest.mark.parametrize(
    "features", [np.ones((5, 3)), np.zeros((5, 3)), np.ones((1, 3))], ids=["ones", "zero", "single"]
)
def test_features_without_any_difference_give_finite_distances(features):
    found = rerank(features, [0], range(len(features)))
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()


def test_lambda_one_ranks_as_plain_distances_do():
    features = clustered(80, 9, spread=2.0).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = rerank(features, range(10), range(10, 80), plain_share=1)
    plain = 1 - features[:10] @ features[10:].T
    assert np.array_equal(np.argsort(found), np.argsort(plain))


def test_re_ranking_lifts_the_mAP_of_noisy_clusters():
    people = np.arange(200) % 20
    features = clustered(200, 20, size=32, spread=1.6)
    cameras = np.arange(200) // 20
    identities = (people[:40], people, cameras[:40], cameras)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    plain = evaluate_ranking(1 - unit[:40] @ unit.T, *identities).mAP
    found = evaluate_ranking(rerank(features, range(40), range(200), k1=9), *identities).mAP
    assert plain < 0.9 and found > plain + 0.05


@pytest.mark.parametrize(
    ("features", "options", "sentence"),
    [
        (np.array([[1.0, 0], [0, math.nan]]), {}, "the features of tracklet 1 are not finite numbers"),
        (np.array([[math.inf, 0], [0, 1.0]]), {}, "the features of tracklet 0 are not finite numbers"),
        (np.ones(4), {}, r"features must be tracklets x size, but their shape is \[4\]"),
        (np.eye(3), {"k1": 0}, "k1 is 0 and k2 6, but both must be at least 1"),
        (np.eye(3), {"k2": 0}, "k1 is 20 and k2 0, but both must be at least 1"),
        (np.eye(3), {"plain_share": -0.1}, "plain_share is -0.1, but it must be between 0 and 1"),
        (np.eye(3), {"plain_share": math.nan}, "plain_share is nan, but it must be between 0 and 1"),
    ],
)
def test_what_cannot_be_re_ranked_is_refused_in_a_sentence(features, options, sentence):
    with pytest.raises(InputError, match=sentence):
        rerank(features, [0], [0, 1], **options)
