"""Exact search, against all distances in float64 and a stable sort."""

import dataclasses

import numpy as np
import pytest

from galleries import make_embeddings, unit
from reading import refused
from strf_cuda.data.tracklets import JUNK_PERSON
from strf_cuda.embeddings import write_embeddings
from strf_cuda.retrieval import ExactGallery, Selection, open_gallery

ROWS, SIZE, K = 500, 32, 10
BLOCKS = (1 << 26, 4 * SIZE * 100, 4 * SIZE * 7, 1)  # bytes: one block, several, few rows, one row


@pytest.fixture(scope="module")
def embeddings():
    """Some vectors are there several times, and some are a rounding error apart."""
    made = make_embeddings(ROWS, SIZE)
    made.vectors[100:140] = made.vectors[99]
    made.vectors[200:240] = np.nextafter(made.vectors[99], np.float32(2))
    made.start[::5] = made.end[::5] = np.nan
    return made


@pytest.fixture(scope="module")
def queries(embeddings):
    return np.concatenate([embeddings.vectors[95:105], unit(np.random.default_rng(1).standard_normal((6, SIZE)))])


def nearest(embeddings, queries, k, left_out=None):
    """Rows and distances of the k nearest by distances in float64, rounded to float32, equal ones by row."""
    cosines = np.stack([(query.astype(np.float64) * embeddings.vectors).sum(1) for query in queries])
    distances = np.maximum(1 - cosines, 0).astype(np.float32)
    if left_out is not None:
        distances = np.where(left_out, np.float32(np.inf), distances)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    distances = np.take_along_axis(distances, rows, axis=1)
    return np.where(np.isinf(distances), -1, rows), distances


def assert_found(matches, expected):
    assert np.array_equal(matches.rows, expected[0])
    assert np.array_equal(matches.distances, expected[1])
    assert (matches.rows.dtype, matches.distances.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, K, ROWS])
@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_the_nearest_are_found_whatever_the_size_of_the_blocks(embeddings, queries, block_bytes, k):
    gallery = ExactGallery(embeddings, block_bytes=block_bytes)
    assert_found(gallery.search(queries, k), nearest(embeddings, queries, k))


def test_many_queries_are_compared_in_portions(embeddings, monkeypatch):
    monkeypatch.setattr("strf_cuda.retrieval.exact.CELLS", 7 * ROWS)
    gallery = ExactGallery(embeddings, block_bytes=4 * SIZE * ROWS)
    assert_found(gallery.search(embeddings.vectors, K), nearest(embeddings, embeddings.vectors, K))


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_vectors_that_are_nearly_alike_are_told_apart(embeddings, block_bytes):
    """As a model that has learnt nothing makes them: closer than products in float32 can tell."""
    vectors = unit(embeddings.vectors[:1] + 1e-6 * embeddings.vectors)
    alike = dataclasses.replace(embeddings, vectors=vectors)
    gallery = ExactGallery(alike, block_bytes=block_bytes)
    assert_found(gallery.search(vectors[:20], K), nearest(alike, vectors[:20], K))
    junk = (alike.persons[:20], alike.cameras[:20])
    left_out = (junk[0][:, None] == alike.persons) & (junk[1][:, None] == alike.cameras)
    left_out |= alike.persons == JUNK_PERSON
    assert_found(gallery.search(vectors[:20], K, junk=junk), nearest(alike, vectors[:20], K, left_out))


def test_equal_vectors_come_in_the_order_of_their_rows(embeddings):
    matches = ExactGallery(embeddings, block_bytes=4 * SIZE * 13).search(embeddings.vectors[110:111], 41)
    assert matches.rows[0].tolist() == list(range(99, 140))


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_junk_is_left_out_as_evaluation_does(embeddings, queries, block_bytes):
    persons, cameras = np.arange(len(queries)) % 7, np.resize([1, 2, 5, 9], len(queries))
    junk = (persons[:, None] == embeddings.persons) & (cameras[:, None] == embeddings.cameras)
    left_out = junk | (embeddings.persons == JUNK_PERSON)
    assert junk.any() and (embeddings.persons == JUNK_PERSON).any()
    gallery = ExactGallery(embeddings, block_bytes=block_bytes)
    assert_found(gallery.search(queries, K, junk=(persons, cameras)), nearest(embeddings, queries, K, left_out))


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize(
    "selection",
    [Selection(cameras=[5]), Selection(cameras=[1, 2], since=1000, until=1200), Selection(since=3500), Selection()],
)
def test_only_selected_rows_answer(embeddings, queries, selection, block_bytes):
    allowed = np.isin(embeddings.cameras, selection.cameras or [1, 2, 5])
    if selection.since is not None:
        allowed &= embeddings.end >= selection.since
    if selection.until is not None:
        allowed &= embeddings.start <= selection.until
    gallery = ExactGallery(embeddings, block_bytes=block_bytes)
    found = gallery.search(queries, K, selection=selection)
    assert_found(found, nearest(embeddings, queries, K, np.broadcast_to(~allowed, (len(queries), ROWS))))


def test_where_fewer_than_k_may_answer_the_rest_is_empty(embeddings, queries):
    few = int(embeddings.start.argsort()[0])
    matches = ExactGallery(embeddings).search(queries, K, selection=Selection(until=float(embeddings.start[few])))
    assert (matches.rows[:, 0] == few).all() and (matches.rows[:, 1:] == -1).all()
    assert np.isinf(matches.distances[:, 1:]).all()


def test_float32_products_are_right_to_rounding(embeddings, queries):
    exact = 1 - queries.astype(np.float64) @ embeddings.vectors.astype(np.float64).T
    matches = ExactGallery(embeddings).search(queries, ROWS)
    expected = np.take_along_axis(exact, matches.rows, axis=1)
    assert abs(matches.distances - expected).max() <= 2**-24


def test_an_embeddings_file_is_a_gallery(embeddings, queries, tmp_path):
    write_embeddings(tmp_path / "g.safetensors", embeddings)
    gallery = open_gallery(tmp_path / "g.safetensors")
    assert_found(gallery.search(queries, K), nearest(embeddings, queries, K))
    assert (len(gallery), gallery.size, gallery.fingerprint) == (ROWS, SIZE, "0" * 64)
    assert gallery.paths_of(4) == embeddings.paths_of(4)


def test_no_queries_find_nothing(embeddings):
    assert ExactGallery(embeddings).search(np.empty((0, SIZE), np.float32), 3).rows.shape == (0, 3)


def test_what_cannot_be_searched_is_one_sentence(embeddings, queries):
    gallery = ExactGallery(embeddings, "g")
    odd = queries.copy()
    odd[3, 1] = np.nan
    refused(lambda: gallery.search(odd), "query 3 is not finite")
    odd[3, 1] = np.inf
    refused(lambda: gallery.search(odd), "query 3 is not finite")
    odd[3] = 2 * queries[3]
    refused(lambda: gallery.search(odd), "query 3 has the length 2")
    refused(lambda: gallery.search(queries[:, :-1]), "queries have the shape [16, 31], but the gallery g needs", "32]")
    refused(lambda: gallery.search(queries[0]), "queries have the shape [32]")
    refused(lambda: gallery.search(queries, 0), "k is 0")
    refused(lambda: gallery.search(queries, junk=([1], [1])), "16 queries, but 1 persons and 1 cameras")
    refused(lambda: gallery.search(queries, selection=Selection(cameras=[2, 3])), "no camera 3, but 1, 2, 5")
    refused(lambda: gallery.search(queries, selection=Selection(since=9e9)), "none of the 500", "100 are unknown")
    empty = ExactGallery(make_embeddings(0, SIZE), "g")
    refused(lambda: empty.search(queries), "the gallery g is empty")


def test_a_gallery_with_numbers_that_are_not_finite_is_refused(embeddings, queries):
    for value in (np.nan, np.inf):
        vectors = embeddings.vectors.copy()
        vectors[321, 5] = value
        gallery = ExactGallery(dataclasses.replace(embeddings, vectors=vectors), "g", block_bytes=4 * SIZE * 100)
        refused(lambda gallery=gallery: gallery.search(queries), "tracklet 321 of g has numbers that are not finite")
