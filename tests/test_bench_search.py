"""The benchmark of search: made-up embeddings that can be drawn again, and figures of galleries kept and not kept."""

import json

import numpy as np
import pytest

from bench import galleries, made_up_embeddings, search
from bench.galleries import Task
from bench.made_up_embeddings import BLOCK, Population

ROWS = 1_200


@pytest.fixture
def _small(monkeypatch):
    """Short vectors, and no processes."""
    for module in (made_up_embeddings, galleries):
        monkeypatch.setattr(module, "SIZE", 48)
    monkeypatch.setattr(made_up_embeddings, "AXES", 32)
    monkeypatch.setattr(search, "alone", lambda work, *arguments: galleries._measured(work, *arguments))
    monkeypatch.setattr("strf_cuda.retrieval.coding._PQ_ITERATIONS", 2)
    for module in (made_up_embeddings, galleries):
        monkeypatch.setattr(module, "BLOCK", 500)


@pytest.mark.usefixtures("_small")
def test_a_block_is_drawn_again_whatever_was_drawn_before():
    first = Population().block(2)
    again = Population()
    again.block(0)
    block, begin = again.block(2), again.block(2, 40)
    for name in ("vectors", "persons", "cameras"):
        assert np.array_equal(getattr(first, name), getattr(block, name))
        if name != "vectors":
            assert np.array_equal(getattr(first, name)[:40], getattr(begin, name))
    assert not np.array_equal(Population(seed=1).block(2).vectors, block.vectors)
    assert np.array_equal(Population().persons(1_040)[1_000:], block.persons[:40])


@pytest.mark.usefixtures("_small")
def test_people_resemble_themselves_and_are_in_one_block_alone():
    block, other = Population().block(0), Population().block(1)
    assert np.allclose(np.linalg.norm(block.vectors, axis=1), 1, atol=1e-5)
    assert not np.isin(block.persons, other.persons).any()
    cosines = block.vectors @ block.vectors.T
    same = block.persons[:, None] == block.persons
    np.fill_diagonal(cosines, np.nan)
    assert np.nanmean(cosines[same]) > 0.3 > 0.1 > abs(np.nanmean(cosines[~same]))
    queries = Population().queries(50, 700)
    assert np.isin(queries.persons, Population().persons(700)).all()
    assert (queries.vectors @ block.vectors.T).max() < 1 - 1e-4


@pytest.mark.slow
def test_the_embeddings_are_as_hard_as_their_description_says():
    block, queries = Population().block(0, 10_000), Population().queries(1_000, 10_000)
    nearest = (queries.vectors @ block.vectors.T).argmax(1)
    assert 0.88 < np.mean(block.persons[nearest] == queries.persons) < 0.92
    assert BLOCK >= 10_000


@pytest.fixture
def _figures(_small, tmp_path):
    """Of a gallery that is kept, and of the same one that is not."""
    found = {}
    for kept in (True, False):
        folder = tmp_path / str(kept)
        folder.mkdir()
        found[kept] = search.measure(Task(ROWS, folder, kept, 30, threads=1))
    return found


def test_a_gallery_that_is_kept_nowhere_finds_what_the_kept_one_does(_figures):
    kept, drawn = _figures[True], _figures[False]
    assert "exact" not in drawn and kept["exact"]["rank_1"] == kept["exact"]["nearest_10"] == 1
    assert list(drawn["pq"]["searched"]) == ["0"] and list(kept["pq"]["searched"]) == ["0", "200"]
    for codes in ("pq", "sq8"):
        alone, refined = (kept[codes]["searched"][candidates]["by_probes"][-1] for candidates in ("0", "200"))
        assert alone["nearest_10"] <= refined["nearest_10"] and refined["nearest_10"] > 0.9
        assert alone["right_exactly"] == kept["exact"]["right"]
        other = drawn[codes]["searched"]["0"]["by_probes"][-1]
        assert other["right_exactly"] == alone["right_exactly"]  # the same truth, found on the way
        assert abs(other["nearest_10"] - alone["nearest_10"]) < 0.15  # trained on another sample
        assert drawn[codes]["built"]["seconds"]["rows"] > 0 and drawn[codes]["built"]["bytes"] > ROWS


def test_sizes_are_measured_once_and_the_table_and_plot_show_them(_small, tmp_path, capsys, monkeypatch):
    out = tmp_path / "search.json"
    words = ["--queries=20", "--threads=1", f"--folder={tmp_path}", f"--out={out}"]
    search.main(["--rows", "1000", *words])
    before = json.loads(out.read_text())
    search.main(["--rows", "1000", str(ROWS), *words])
    after = json.loads(out.read_text())
    assert [one["rows"] for one in after["sizes"]] == [1000, ROWS] and after["sizes"][0] == before["sizes"][0]
    shown = capsys.readouterr().out
    assert search.table(after) in shown and shown.count("| 1,200 ") == 5
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert after["versions"].keys() >= {"faiss-cpu", "numpy"}
    monkeypatch.setattr(search.shutil, "disk_usage", lambda path: search.shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(SystemExit, match="0 GB free"):
        search.main(["--rows", "1100", *words])
