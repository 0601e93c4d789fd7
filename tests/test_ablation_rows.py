"""The rows of the paper's tables: each can be trained, and what the paper prints is all there."""

import pytest
import torch

from strf_cuda import ablate
from strf_cuda.ablation import repetition
from strf_cuda.ablation.rows import PAPER_TABLES, PICTURE, TABLES
from strf_cuda.ablation.running import option_words, training_options
from strf_cuda.ablation.tables import (
    FULL_SIZE,
    configuration_name,
    distinct_runs,
    paper_on,
    parameters_at_full_size,
    plan,
    row_config,
)
from strf_cuda.checkpoints import model_from_config
from strf_cuda.cli import load_config
from strf_cuda.config import PRESETS, EvaluateConfig, TrainConfig, check_training
from strf_cuda.data.splits import SPLITS

ROWS = [(table, row) for table, content in TABLES.items() for row in content.rows]
ALL_PRINTED = ("table2", "table4", "table5", "supplement-table1", "supplement-table2")


def named(rows):
    return [pytest.param(table, row, id=f"{table}: {row.name}") for table, row in rows]


def train_config(*words):
    return load_config(TrainConfig, words, prog="train", presets=PRESETS)


BASE = train_config("--preset=demo")


def plan_of(name, folder, preset="demo"):
    base = train_config(f"--preset={preset}", "--data.root=x")
    return plan(TABLES[name], base, (0, 1), (None,), folder)


@pytest.mark.parametrize(("table", "row"), named(ROWS))
def test_every_row_can_be_trained_small_and_at_full_size_has_the_parameters_that_the_paper_prints(table, row):
    config = row_config(TABLES[table], row, BASE)
    check_training(config)
    with torch.device("meta"):
        model_from_config(config.model, 96)
    count = parameters_at_full_size(config.model)
    # The paper cuts off after two digits.
    assert row.parameters in (None, f"{count // 10_000 / 100:.2f}")
    assert train_config(*option_words(training_options(config))) == config
    if row.evaluation:
        load_config(EvaluateConfig, option_words({"checkpoint": "x", **row.evaluation}), prog="evaluate")


def test_full_size_is_that_of_the_preset_paper():
    paper = train_config("--preset=paper").model
    assert {name: getattr(paper, name) for name in FULL_SIZE} == FULL_SIZE
    assert [row.parameters for row in TABLES["table2"].rows] == ["28.92", "28.97", *["25.48", "25.53"] * 3]


def test_rows_of_a_table_are_different_models_or_evaluations(tmp_path):
    for name in TABLES:
        rows = plan_of(name, tmp_path)
        assert len({(row.runs[0].folder, row.evaluation) for row in rows}) == len(rows), name
        assert len({row.row.name for row in rows}) == len(rows), name


def test_every_baseline_is_an_earlier_row_without_a_baseline_of_its_own():
    for table, row in ROWS:
        if row.baseline is not None:
            (baseline,) = [other for other in TABLES[table].rows if other.name == row.baseline]
            assert baseline.baseline is None, (table, row.name)
    for table in TABLES.values():
        assert any(row.baseline for row in table.rows)


def test_the_options_of_each_table_say_what_the_paper_varies():
    def values(table, option):
        return [row.options.get(f"model.{option}") for row in TABLES[table].rows]

    assert values("table2", "kind") == ["i3d", "i3d", "p3da", "p3da", "p3db", "p3db", "p3dc", "p3dc"]
    assert values("table2", "unit") == ["none", "strf"] * 4
    assert values("table5", "stages") == [None, (1,), (1, 2), (2, 3), (1, 2, 3), (2, 3, 4), (1, 2, 3, 4)]
    assert values("supplement-table1", "stages") == [None, (2,), (3,), (3, 4), (2, 3, 4)]
    assert values("figure4a", "resolutions") == [(1, 1), (1, 3), (1, 5), (3, 5)]
    pools = zip(values("figure4b", "temporal_pool"), values("figure4b", "spatial_pool"), strict=True)
    assert set(pools) == {("max", "max"), ("max", "avg"), ("avg", "max"), ("avg", "avg")}
    assert set(values("figure4c", "integration")) == {"temporal_spatial", "spatial_temporal", "parallel"}
    assert values("figure6a", "unit") == ["strf", "gram"]
    assert values("nonlocal", "unit") == ["none", "nonlocal", "strf"]
    assert values("supplement-figure2", "placement") == ["temporal", "spatial"]
    assert values("similarity", "similarity") == [None, "cosine", "cosine", "dot"]
    temporal, spatial = ("temporal_dynamic", "temporal_static"), ("spatial_fine", "spatial_coarse")
    assert values("table4", "paths")[5:] == [
        spatial, temporal, ("temporal_dynamic", "spatial_fine"), (*temporal, *spatial),
    ]  # fmt: skip
    # Each combination of modules stands in one of the two tables, but for the empty one, and no two are the same.
    combinations = [set(paths) for name in ("table4", "supplement-table2") for paths in values(name, "paths")[1:]]
    assert len(combinations) == 14 and all(combinations.count(one) == 1 for one in combinations)


@pytest.mark.parametrize("table", ALL_PRINTED)
def test_tables_that_the_paper_prints_have_all_their_figures(table):
    for row in TABLES[table].rows:
        for data in ("mars", "duke") if table == "table2" else ("mars",):
            printed = row.paper[data]
            assert 80 < printed.mAP < printed.rank1 < 100 or (table == "table2" and 80 < printed.mAP < 100)
            assert printed.source is None


@pytest.mark.parametrize("table", [name for name in PAPER_TABLES if "figure" in name])
def test_figures_that_are_pictures_have_a_source_for_every_value(table):
    for row in TABLES[table].rows:
        for printed in row.paper.values():
            assert printed.source and (printed.source == PICTURE) == (printed.mAP is None)


def test_the_papers_own_contradictions_are_told():
    def told(table):
        return " ".join(TABLES[table].notes)

    assert "spatial first" in told("figure4c") and "85.30 / 90.10" in told("table5")
    assert "0.5 million" in told("nonlocal") and "2.2 for P3DA" in told("table2")


def test_the_same_training_in_several_tables_is_one_run(tmp_path):
    plans = {name: plan_of(name, tmp_path) for name in PAPER_TABLES}
    runs = distinct_runs(plans.values())
    assert len(runs) == 2 * 46 and len({run.folder for run in runs}) == len(runs)
    by_name = {(name, row.row.name): row.runs for name, rows in plans.items() for row in rows}
    assert by_name["table2", "P3DC"] == by_name["table4", "Baseline"] == by_name["supplement-table1", "Baseline"]
    strf = by_name["table2", "P3DC + STRF"]
    for other in [("table4", "+ STRF, all four"), ("table5", "+ STRF, stages 2, 3"), ("figure4a", "(1, 3)"),
                  ("figure4b", "max, max"), ("figure6a", "STRF"), ("supplement-figure2", "3x1x1")]:  # fmt: skip
        assert by_name[other] == strf
    assert strf[1].folder == tmp_path / "p3dc-strf" / "seed-1"


def test_evaluations_of_one_model_share_its_training(tmp_path):
    runs = distinct_runs([plan_of("beyond", tmp_path)])
    assert len(runs) == 2 * 4
    assert [sorted(run.evaluations) for run in runs[:2]] == [["flip-True", "frames-all-stride-1", "rerank-True"], []]


def test_small_models_get_the_blocks_that_non_local_ones_follow(tmp_path):
    small, full = (plan_of("nonlocal", tmp_path, preset)[1] for preset in ("demo", "paper"))
    assert small.config.model.depth == (1, 2, 2, 1) and full.config.model.depth == (3, 4, 6, 3)
    assert small.runs[0].folder.parent.name == "p3dc-nonlocal-depth-1+2+2+1"
    given = row_config(TABLES["nonlocal"], TABLES["nonlocal"].rows[1], train_config(), ["model.depth"])
    assert given.model.depth == (1, 1, 1, 1)


def test_a_configuration_is_named_after_what_is_not_shared():
    base = train_config("--optimizer.learning_rate=0.001")
    changed = repetition.changed(base, {"model.unit": "none", "model.stages": (2, 4), "epochs": 7})
    assert configuration_name(changed, base) == "p3dc-none-epochs-7-stages-2+4"


def test_there_are_as_many_splits_as_the_readers_have():
    assert repetition.SPLITS == SPLITS


def test_the_help_names_every_table():
    assert all(name in ablate.AblateConfig.__doc__ for name in TABLES)


def test_the_papers_figures_are_those_of_the_data_where_it_has_them():
    assert paper_on(TABLES["table2"], "duke") == "duke"
    assert {paper_on(TABLES["table4"], data) for data in ("duke", "mars", "walkers", "ilids")} == {"mars"}
