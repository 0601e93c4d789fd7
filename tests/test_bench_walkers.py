"""The training benchmark: the runs that it asks for are those that it tells of, and none is trained twice."""

import json
import statistics
from pathlib import Path

import pytest

from bench import walkers
from strf_cuda.similarity import TEMPERATURES
from strf_cuda.train import read_options


def configuration(setting, kind, unit, seed):
    return read_options(walkers.words(setting.of_run(kind, unit, seed, Path("runs"))))


@pytest.mark.parametrize("size", ["64x32", "128x64", "256x128"])
@pytest.mark.parametrize("start", ["random", "c2d"])
@pytest.mark.parametrize("unit", walkers.UNITS)
def test_runs_differ_in_what_the_table_says_and_in_nothing_else(unit, start, size):
    setting = walkers.Setting(size, start, 4, 48, "large")
    config = configuration(setting, "i3d", unit, 2)
    assert (config.model.kind, config.seed, config.data.name, config.data.root) == ("i3d", 2, "walkers", "large")
    assert f"{config.data.height}x{config.data.width}" == size
    assert config.evaluation.every == config.epochs == (12 if start == "c2d" else 48)
    assert config.optimizer.decay_every == (5 if start == "c2d" else 20)
    assert config.model.weights == ("runs/c2d-none-2/last.ckpt" if start == "c2d" else None)
    assert config.model.unit == ("none" if unit == "none" else "strf")
    if unit != "none":
        words = unit.split()
        expected = float(words[1]) if words[1:] and words[1].isdigit() else None
        assert (config.model.similarity, config.model.temperature) == (words[0], expected)
        assert words[0] in TEMPERATURES
    assert (config.model.width, config.model.depth) == ((64, (3, 4, 6, 3)) if size == "256x128" else (16, (1, 1, 1, 1)))


def made_up(kind, unit, seed, value):
    names = [f"{challenge} {figure}" for challenge in walkers.CHALLENGES for figure in ("mAP", "rank-1")]
    names += ["look-alike rank-1 within group"]
    return {"kind": kind, "unit": unit, "seed": seed, "seconds": 1.0, "figures": dict.fromkeys(names, value)}


def test_differences_are_taken_seed_by_seed_with_their_interval():
    values = {"none": (0.30, 0.40, 0.35), "cosine": (0.32, 0.43, 0.36)}
    runs = [made_up("p3dc", unit, seed, value) for unit in values for seed, value in enumerate(values[unit])]
    plain, cosine = walkers.summary(runs)
    assert "difference" not in plain
    assert cosine["figures"]["all mAP"] == pytest.approx([0.37, statistics.stdev(values["cosine"])])
    mean, half = cosine["difference"]["all mAP"]
    assert mean == pytest.approx(0.02)
    assert half == pytest.approx(4.302653 * 0.01 / 3**0.5)  # Student's t of two degrees of freedom
    assert "| P3DC, cosine |     3 | 37.0 ± 5.6 |" in walkers.table([plain, cosine])


def test_over_all_kinds_a_seed_counts_once_and_only_where_it_has_every_kind():
    runs = [made_up("p3dc", "none", 0, 0.3), made_up("p3dc", "cosine", 0, 0.4), made_up("i3d", "none", 0, 0.3)]
    runs += [made_up("i3d", "cosine", 0, 0.5), made_up("p3dc", "none", 1, 0.3), made_up("p3dc", "cosine", 1, 0.9)]
    row = walkers.summary(runs)[-1]
    assert (row["kind"], row["unit"]) == ("all kinds", "cosine")
    assert row["difference"]["all mAP"] == [pytest.approx(0.15), None]


@pytest.fixture
def trained(monkeypatch):
    jobs = []

    def train(setting, kind, unit, seed, folder):
        jobs.append((kind, unit, seed))
        return made_up(kind, unit, seed, 0.25)

    monkeypatch.setattr(walkers, "train", train)
    return jobs


def test_a_run_that_stands_in_the_file_is_not_trained_again(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--size=64x32", "--start=c2d", "--kinds", "p3dc", "--units", "none", "cosine", "--out=table.json"]
    walkers.main([*options, "--seeds", "1"])
    assert sorted(trained) == [("c2d", "none", 0), ("p3dc", "cosine", 0), ("p3dc", "none", 0)]
    trained.clear()
    walkers.main([*options, "--seeds", "0", "1"])
    assert sorted(trained) == [("c2d", "none", 1), ("p3dc", "cosine", 1), ("p3dc", "none", 1)]
    found = json.loads((tmp_path / "table.json").read_text())
    assert [(run["unit"], run["seed"]) for run in found["runs"]] == [
        ("none", 0), ("none", 1), ("cosine", 0), ("cosine", 1)
    ]  # fmt: skip
    assert "P3DC, cosine" in (tmp_path / "table.md").read_text() and (tmp_path / "table.png").stat().st_size > 1000


def test_runs_of_other_settings_are_not_mixed(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--size=64x32", "--kinds", "p3dc", "--units", "none", "--out=table.json", "--seeds", "1"]
    walkers.main(options)
    with pytest.raises(SystemExit, match="give another --out"):
        walkers.main([*options, "--epochs=3"])


def test_larger_frames_need_a_set_of_their_own(capsys):
    with pytest.raises(SystemExit):
        walkers.main(["--size=256x128"])
    assert "python -m strf_cuda.synthesize --out DIR --height 256 --width 128" in capsys.readouterr().err
