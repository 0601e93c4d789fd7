"""Compressed galleries: the answers of exact search where everything is looked at, and k of them in any case."""

import json
import shutil
import sys

import numpy as np
import pytest

from compressed_galleries import ROWS, SIZE, build, clustered, write_files
from reading import refused
from strf_cuda.embeddings import join_embeddings, write_embeddings
from strf_cuda.retrieval import CompressedGallery, ExactGallery, Selection, open_gallery
from strf_cuda.retrieval.faiss_library import load_faiss, threads_of_faiss
from strf_cuda.retrieval.index_folder import LISTS, read_index_folder
from strf_cuda.retrieval.streams import JoinedRows

TOTAL, K = sum(ROWS), 10
SELECTIONS = {
    "all": None,
    "a camera": Selection(cameras=[5]),
    "a minute": Selection(since=1000, until=1060),
    "few": Selection(cameras=[2], since=500, until=510),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("embeddings"))


@pytest.fixture(scope="module", params=["pq", "sq8"])
def folder(request, files, tmp_path_factory):
    return build(files[0], tmp_path_factory.mktemp("galleries") / request.param, codes=request.param)


@pytest.fixture(scope="module")
def exact(files, tmp_path_factory):
    """One file with the rows of all."""
    path = tmp_path_factory.mktemp("joined") / "all.safetensors"
    join_embeddings(path, files[0], files[1][0].description)
    return ExactGallery.open(path)


@pytest.fixture(scope="module")
def queries(exact):
    """Rows of the gallery and others, with persons and cameras of theirs."""
    rows = np.arange(0, TOTAL, 40)
    others = clustered(20, seed=9)
    return (
        np.concatenate([exact.embeddings.vectors[rows], others.vectors]),
        np.concatenate([exact.labels.persons[rows], others.persons]),
        np.concatenate([exact.labels.cameras[rows], others.cameras]),
    )


def junk_of(queries, with_junk):
    return queries[1:] if with_junk else None


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("with_junk", [False, True])
def test_with_every_list_and_every_candidate_the_answers_are_those_of_exact_search(
    folder, exact, queries, selection, with_junk
):
    gallery = CompressedGallery(folder, probes=16, candidates=TOTAL, threads=2)
    wanted, found = (
        one.search(queries[0], K, selection=SELECTIONS[selection], junk=junk_of(queries, with_junk))
        for one in (exact, gallery)
    )
    assert np.array_equal(found.rows, wanted.rows)
    np.testing.assert_allclose(found.distances, wanted.distances, rtol=0, atol=2e-7)
    assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("candidates", [0, K])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("with_junk", [False, True])
def test_k_rows_answer_wherever_k_may_even_if_one_list_is_read(folder, queries, selection, with_junk, candidates):
    gallery = CompressedGallery(folder, probes=1, candidates=candidates)
    selection, junk = SELECTIONS[selection], junk_of(queries, with_junk)
    found = gallery.search(queries[0], K, selection=selection, junk=junk)
    for query, rows in enumerate(found.rows):
        may = np.ones(TOTAL, bool) if selection is None else selection.rows(gallery.labels)
        if with_junk:
            own = (gallery.labels.persons == junk[0][query]) & (gallery.labels.cameras == junk[1][query])
            may = may & ~own & (gallery.labels.persons != -1)
        there = rows[rows >= 0]
        assert len(there) == min(K, may.sum()) and len(set(there)) == len(there) and may[there].all()
        assert (rows[len(there) :] == -1).all() and np.isinf(found.distances[query, len(there) :]).all()
    assert (np.diff(np.where(np.isinf(found.distances), 9, found.distances), axis=1) >= 0).all()


def test_more_junk_than_is_asked_for_beside_the_answers_is_left_out_all_the_same(folder, exact, queries, monkeypatch):
    monkeypatch.setattr("strf_cuda.retrieval.compressed._JUNK", 0)
    gallery = CompressedGallery(folder, probes=16, candidates=0)
    labels = gallery.labels
    counts = np.unique(np.stack([labels.persons, labels.cameras]), axis=1, return_counts=True)
    (person, camera), count = counts[0][:, np.argmax(counts[1])], counts[1].max()
    assert count > 3
    rows = np.flatnonzero((labels.persons == person) & (labels.cameras == camera))[:3]
    junk = (labels.persons[rows], labels.cameras[rows])
    found = gallery.search(exact.embeddings.vectors[rows], K, junk=junk).rows
    assert (found >= 0).all() and not np.isin(found, np.flatnonzero(labels.persons == -1)).any()
    assert not ((labels.persons[found] == person) & (labels.cameras[found] == camera)).any()


def test_more_rows_than_there_are_may_be_asked_for(folder, queries):
    for candidates in (0, K):
        found = CompressedGallery(folder, candidates=candidates).search(queries[0][:2], TOTAL + 5)
        assert (np.sort(found.rows, axis=1)[:, 5:] == np.arange(TOTAL)).all() and (found.rows[:, -5:] == -1).all()


def test_exact_vectors_of_the_best_put_right_what_codes_blur(folder, exact, queries):
    wanted = exact.search(queries[0], K)

    def error_and_share(candidates):
        found = CompressedGallery(folder, probes=16, candidates=candidates).search(queries[0], K)
        vectors = JoinedRows([exact.embeddings])
        true = [1 - vectors.vectors(np.sort(rows)) @ query for rows, query in zip(found.rows, queries[0], strict=True)]
        order = [np.argsort(np.argsort(rows)) for rows in found.rows]
        true = np.stack([one[place] for one, place in zip(true, order, strict=True)])
        share = np.mean([np.isin(one, other).mean() for one, other in zip(wanted.rows, found.rows, strict=True)])
        return np.abs(found.distances - true).mean(), share

    (blurred, few), (sharp, many) = error_and_share(0), error_and_share(100)
    assert sharp < 1e-6 < blurred < (0.02 if folder.settings.codes == "sq8" else 0.2)
    assert many > 0.99 and (few < many or folder.settings.codes == "sq8") and few > 0.5


def test_labels_frames_and_paths_are_those_of_the_files_in_their_order(folder, files):
    gallery = CompressedGallery(folder)
    for name in ("persons", "cameras", "start", "end"):
        expected = np.concatenate([getattr(one, name) for one in files[1]])
        assert np.array_equal(getattr(gallery.labels, name), expected)
    assert np.array_equal(gallery.frames, np.concatenate([one.frames for one in files[1]]))
    assert gallery.paths_of(ROWS[0] + 4) == files[1][2].paths_of(4) and gallery.paths_of(3) == files[1][0].paths_of(3)
    assert np.array_equal(gallery.vectors_of([ROWS[0] + 4, 3]), [files[1][2].vectors[4], files[1][0].vectors[3]])
    assert gallery.fingerprint == files[1][0].fingerprint and len(gallery) == TOTAL and gallery.size == SIZE


def test_a_folder_is_opened_as_an_embeddings_file_is(folder, queries, capfd):
    gallery = open_gallery(folder.path)
    assert isinstance(gallery, CompressedGallery) and gallery.refines and not gallery.notes
    gallery.search(queries[0], K)
    assert capfd.readouterr() == ("", "")


def test_a_number_that_no_gallery_can_be_searched_with_is_refused(folder):
    refused(lambda: CompressedGallery(folder, probes=17), "probes is 17", "16 lists")
    refused(lambda: CompressedGallery(folder, candidates=-1), "candidates is -1")
    refused(lambda: CompressedGallery(folder, threads=0), "threads is 0")
    refused(lambda: CompressedGallery(folder).search(np.ones((1, SIZE), np.float32)), "divide it by that")


def test_threads_of_faiss_are_as_before_afterwards(folder, queries):
    faiss = load_faiss()
    with threads_of_faiss(3):
        CompressedGallery(folder, threads=2).search(queries[0], K)
        assert faiss.omp_get_max_threads() == 3


@pytest.fixture
def own(files, tmp_path):
    """A gallery and its files, to be spoilt."""
    paths = [shutil.copy(path, tmp_path) for path in files[0]]
    return build([tmp_path / path for path in paths], tmp_path / "gallery").path


def test_where_the_files_are_gone_distances_are_those_of_codes_and_a_note_says_so(own, tmp_path, queries):
    codes = CompressedGallery(read_index_folder(own), candidates=0).search(queries[0], K)
    (tmp_path / "2.safetensors").unlink()
    gallery = CompressedGallery.open(own)
    (note,) = gallery.notes
    assert note.startswith("distances are those of codes: ") and "2.safetensors is not there any more" in note
    found = gallery.search(queries[0], K)
    assert np.array_equal(found.rows, codes.rows) and np.array_equal(found.distances, codes.distances)
    assert gallery.paths_of(0) == []
    refused(lambda: gallery.vectors_of([0]), "embeddings of", "not there any more")


def test_a_file_that_was_made_anew_is_not_taken_for_the_old_one(own, tmp_path):
    write_embeddings(tmp_path / "2.safetensors", clustered(ROWS[2], seed=77))
    (note,) = CompressedGallery.open(own).notes
    assert "2.safetensors has changed" in note and "build that anew" in note


def test_a_gallery_that_moves_together_with_its_files_finds_them(own, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("gallery", "0.safetensors", "1.safetensors", "2.safetensors"):
        shutil.move(tmp_path / name, moved)
    gallery = CompressedGallery.open(moved / "gallery")
    assert not gallery.notes and gallery.paths_of(0)


def test_a_damaged_folder_is_refused_in_words(own, tmp_path):
    def spoilt(name, act):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(own, copy)
        act(copy / name)
        return lambda: open_gallery(copy)

    def cut(path):
        path.write_bytes(path.read_bytes()[:-9])

    refused(spoilt(LISTS, cut), "is damaged", "lists.bin")
    refused(spoilt("persons.npy", cut), "persons.npy")
    refused(spoilt("trained.faiss", cut), "trained.faiss")
    refused(spoilt("sizes.npy", lambda path: np.save(path, np.zeros(16, np.int64))), "its lists do not hold 1,600 rows")
    refused(spoilt("end.npy", lambda path: path.unlink()), "end.npy")
    refused(spoilt("index.json", lambda path: path.write_text("{")), "cannot read")
    refused(spoilt("index.json", lambda path: path.write_text(json.dumps({"format": 0}))), "format 0")
    refused(spoilt("index.json", lambda path: path.unlink()), "neither an embeddings file")
    refused(lambda: read_index_folder(tmp_path), "no compressed gallery", "index.json")


def test_without_faiss_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    refused(lambda: open_gallery(folder.path), 'pip install "strf_cuda[search]"')
