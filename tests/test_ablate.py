"""`python -m strf_cuda.ablate`: whole tables, faults, interruption. Most processes are stand-ins (stand_in.py)."""

import json
import os
import signal
import threading

import pytest
from PIL import Image

from strf_cuda import ablate
from strf_cuda.ablation.rows import PAPER_TABLES, TABLES
from strf_cuda.cli import run


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: ablate.main([str(word) for word in argv]))


@pytest.fixture
def tiny(tiny_run, tiny_walkers, folder):
    return [*tiny_run, f"--root={tiny_walkers}", f"--out={folder}", "--epochs=1"]


def content(folder, table):
    return json.loads((folder / f"{table}.json").read_text())


def rows_of(folder, table):
    return {row["name"]: row for row in content(folder, table)["rows"]}


def trained(stand_in):
    """The runs that processes were started for, such as p3dc-strf/seed-0."""
    return [line.split()[1] for line in stand_in.calls() if line.startswith("train")]


@pytest.mark.slow
def test_a_table_is_trained_evaluated_and_written_by_one_command(tiny, folder, capsys):
    assert command("supplement-figure2", *tiny, "--seeds=1") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "runs", "supplement-figure2.json", "supplement-figure2.md", "supplement-figure2.png",
    ]  # fmt: skip
    rows = rows_of(folder, "supplement-figure2")
    for name, run_folder in (("3x1x1", "p3dc-strf"), ("1x3x3", "p3dc-strf-placement-spatial")):
        metrics = json.loads((folder / "runs" / run_folder / "seed-0" / "metrics.json").read_text())
        assert rows[name]["figures"]["mAP"] == {"mean": metrics["mAP"], "std": None, "n": 1}
        assert rows[name]["parameters"] == metrics["parameters"] > 500_000
        assert rows[name]["parameters_at_full_size"] == 25_538_225
    change = rows["1x3x3"]["figures"]["mAP"]["mean"] - rows["3x1x1"]["figures"]["mAP"]["mean"]
    assert rows["1x3x3"]["difference"]["mAP"]["mean"] == pytest.approx(change)
    text = (folder / "supplement-figure2.md").read_text()
    assert text in capsys.readouterr().out
    assert "**These are walkers, drawn people: no figure here can be compared with the paper's" in text
    assert "One seed says nothing about the spread" in text and "A random ranking has mAP" in text
    assert "python -m strf_cuda.ablate supplement-figure2 " in text


def test_means_spreads_and_differences_stand_beside_the_papers(stand_in, tiny, folder):
    """The stand-in's mAP is 0.3 + 0.01 seed, and 0.05 less with another unit than STRF."""
    assert command("nonlocal", *tiny, "--model.depth=[1, 2, 2, 1]", "--seeds=2") == 0
    rows = rows_of(folder, "nonlocal")
    assert rows["P3DC"]["figures"]["mAP"] == pytest.approx({"mean": 0.255, "std": 0.005 * 2**0.5, "n": 2})
    assert rows["P3DC + STRF"]["figures"]["rank-1"]["mean"] == pytest.approx(0.405)
    difference = rows["P3DC + STRF"]["difference"]["mAP"]
    assert difference["mean"] == pytest.approx(0.05) and difference["std"] == pytest.approx(0, abs=1e-9)
    text = (folder / "nonlocal.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| P3DC + STRF ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")[1:]]
    assert cells == ["577,136", "25,538,225", "25.53", "30.5 ± 0.7", "40.5 ± 0.7", "+5.0 ± 0.0", "+5.0 ± 0.0",
                     "86.1", "90.3", "+3.0", "+1.8"]  # fmt: skip
    assert "outside the 95% interval of the seeds (Student's t): 1 of 2: P3DC + STRF (+). One in" in text
    assert "A random ranking has mAP 3.3. 50 queries: one of them is 2.00 of rank-1." in text


def test_tables_in_one_folder_train_nothing_twice(stand_in, tiny, folder):
    assert command("figure6a", *tiny, "--seeds=1") == 0
    assert command("figure4c", *tiny, "--seeds=1") == 0
    assert len(trained(stand_in)) == len(set(trained(stand_in))) == 4
    text = (folder / "figure4c.md").read_text()
    assert "section 4.2 calls temporal first the best, the caption of Figure 4 spatial first" in text
    assert "85.7 [" in text and "about 0.4 from the best" in text and "the paper prints a picture only" in text


@pytest.mark.slow
def test_all_tables_of_the_paper_in_one_command(stand_in, tiny, folder):
    tiny = [word for word in tiny if "depth" not in word]
    assert command("all", *tiny, "--seeds=1", "--parallel=2") == 0
    assert len(trained(stand_in)) == len(set(trained(stand_in))) == 46
    for table in PAPER_TABLES:
        assert [row["name"] for row in content(folder, table)["rows"]] == [row.name for row in TABLES[table].rows]
        assert (folder / f"{table}.md").read_text().startswith(f"# {TABLES[table].title}\n")
        with Image.open(folder / f"{table}.png") as picture:
            assert picture.width > 900 and picture.height > 200
    quoted = (folder / "figure6b.md").read_text()
    assert "| AP3D" in quoted and "about 75 M more than STRF" in quoted and "32,151,217" in quoted


def test_evaluations_of_a_trained_model_are_rows_too_and_may_fail_alone(stand_in, tiny, folder):
    stand_in.plan(fails="flip-True")
    assert command("beyond", *tiny, "--epochs=6", "--seeds=1") == 2
    rows = rows_of(folder, "beyond")
    assert rows["flipped clips"]["figures"]["mAP"] is None and "the disk is full" in rows["flipped clips"]["failed"][0]
    assert rows["STRF-P3DC"]["failed"] == [] and rows["re-ranking"]["figures"]["mAP"]["n"] == 1
    stand_in.plan()
    assert command("beyond", *tiny, "--epochs=6", "--seeds=1") == 0
    assert len(trained(stand_in)) == 4
    evaluations = [line.split()[1] for line in stand_in.calls() if line.startswith("evaluate")]
    names = ("flip-True", "frames-all-stride-1", "rerank-True", "flip-True")
    assert evaluations == [f"p3dc-strf/seed-0/{name}" for name in names]
    rows = rows_of(folder, "beyond")
    assert rows["flipped clips"]["difference"]["mAP"]["mean"] == pytest.approx(0.02)
    assert rows["flipped clips"]["evaluation"] == {"flip": True} and rows["flipped clips"]["paper"] == {}


def test_an_interrupted_table_trains_only_what_is_missing(stand_in, tiny, folder, capsys):
    stand_in.plan(waits="spatial_temporal")

    def interrupt():
        stand_in.wait_for("waiting")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert command("figure4c", *tiny, "--seeds=1") == 130
    assert capsys.readouterr().err == "interrupted\n" and not (folder / "figure4c.json").exists()
    stand_in.plan()
    assert command("figure4c", *tiny, "--seeds=1") == 0
    first, *_ = names = ["p3dc-strf", "p3dc-strf-integration-spatial_temporal", "p3dc-strf-integration-parallel"]
    assert trained(stand_in) == [f"{name}/seed-0" for name in (first, names[1], names[1], names[2])]
    assert all(row["figures"]["mAP"]["n"] == 1 for row in content(folder, "figure4c")["rows"])


def test_a_row_that_fails_is_told_in_the_table_and_the_others_are_there(stand_in, tiny, folder, capsys):
    stand_in.plan(fails="parallel")
    assert command("figure4c", *tiny, "--seeds=1") == 2
    log = f"{folder}/runs/p3dc-strf-integration-parallel/seed-0.log"
    assert capsys.readouterr().err == f"error: 1 of 3 runs failed; the first: the disk is full (see {log})\n"
    rows = rows_of(folder, "figure4c")
    assert rows["parallel"]["figures"]["mAP"] is None and len(rows["parallel"]["failed"]) == 1
    assert rows["spatial, then temporal"]["figures"]["mAP"]["n"] == 1
    assert f"the disk is full (see {log})" in (folder / "figure4c.md").read_text()
    stand_in.plan()
    assert command("figure4c", *tiny, "--seeds=1") == 0
    assert rows_of(folder, "figure4c")["parallel"]["failed"] == []


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["tabel2"], "there is no table 'tabel2', but table2, table4, "),
        (["figure4"], "there is no table 'figure4', but table2, "),
        ([], "the first word must name a table: table2, table4, "),
        (["table4", "--model.paths=[spatial_fine]"], "model.paths is given, but it is what the rows of table4 differ"),
        (["all", "--model.kind=p3dc"], "model.kind is given, but it is what the rows of table2 differ"),
        (["table5", "--seeds=0"], "seeds is 0, but at least one is needed"),
        (["table5", "--dat=mars"], "unknown option --dat; did you mean data?"),
        (["table5", "--data=marz"], "data.name on the command line is 'marz', but it must be"),
        (["table5", "--split=1"], "split is 1, but the data set walkers has one split only: leave it out"),
        (["nonlocal"], "row 'P3DC + non-local' of nonlocal cannot be trained: a non-local block follows the second"),
        (["beyond"], "row '+ warm-up and cosine' of beyond cannot be trained: optimizer.warmup is 5, but it must be"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(stand_in, tiny, folder, capsys, argv, sentence):
    assert command(*argv, *tiny) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")
    assert stand_in.calls() == []


def test_the_nearest_table_is_named(stand_in, tiny, capsys):
    assert command("tabel2", *tiny) == 2
    assert capsys.readouterr().err.endswith("; did you mean table2?\n")


def test_an_option_of_the_rows_in_a_file_is_refused_unless_it_is_the_usual_one(stand_in, tiny, tmp_path, capsys):
    for kind, status in (("i3d", 2), ("p3dc", 0)):
        (tmp_path / "mine.yaml").write_text(f"model:\n  kind: {kind}\n")
        assert command("figure6a", f"--config={tmp_path}/mine.yaml", *tiny, "--seeds=1") == status
    assert "model.kind is given, but it is what the rows of figure6a" in capsys.readouterr().err


def test_on_the_papers_data_other_options_than_its_recipe_are_named(stand_in, tiny, folder, tiny_walkers):
    """The walkers are laid out as MARS."""
    assert command("supplement-figure2", "--data=mars", *tiny, "--seeds=1") == 0
    text = (folder / "supplement-figure2.md").read_text()
    assert "walkers" not in text.split("`python")[0] and "**Not the paper's recipe: " in text and "epochs" in text
