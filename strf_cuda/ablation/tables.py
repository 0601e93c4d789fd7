"""A table's runs, and what its rows come to: figures, differences to their baselines, parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from strf_cuda.ablation.repetition import changed, run_name
from strf_cuda.ablation.results import chance, plain, results_of
from strf_cuda.ablation.rows import Printed, Row, Table
from strf_cuda.ablation.running import Run, finished, metrics, option_words
from strf_cuda.ablation.statistics import Result, Spread, differences, overall
from strf_cuda.checkpoints import model_from_config
from strf_cuda.cli import flat_dict
from strf_cuda.config import ModelConfig, TrainConfig

FULL_SIZE = {"width": 64, "depth": (3, 4, 6, 3), "reduction": 16}
MARS_PEOPLE = 625


@dataclass(frozen=True)
class RowRuns:
    """A row and its runs over seeds and splits."""

    row: Row
    config: TrainConfig
    runs: tuple[Run, ...]
    evaluation: str | None  # the folder of the row's evaluation inside each run


def row_config(table: Table, row: Row, base: TrainConfig, given: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a row: the shared one, what small models need unless `given`, and the row's options."""
    small = {} if base.preset != "demo" else {name: v for name, v in table.demo.items() if name not in given}
    return changed(base, {**small, **row.options})


def configuration_name(config: TrainConfig, base: TrainConfig) -> str:
    """The folder of a configuration's runs: kind and unit, then whatever else differs from the shared options.

    So rows of several tables that are the same training have the same folder.
    """
    shared = flat_dict(base)
    parts = [config.model.kind, config.model.unit]
    for name, value in flat_dict(config).items():
        if value != shared[name] and name not in ("model.kind", "model.unit"):
            written = "+".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(f"{name.rpartition('.')[2]}-{written}")
    return "-".join(parts)


def plan(
    table: Table,
    base: TrainConfig,
    seeds: Sequence[int],
    splits: Sequence[int | None],
    folder: Path,
    given: Sequence[str] = (),
) -> list[RowRuns]:
    """The runs of every row; rows that differ in evaluation only share them."""
    rows = []
    for row in table.rows:
        config = row_config(table, row, base, given)
        name = "-".join(f"{option}-{value}" for option, value in row.evaluation.items()) or None
        place = folder / configuration_name(config, base)
        runs = tuple(
            Run(
                place / run_name(seed, split),
                changed(config, {"seed": seed, "data.split": split}),
                {name: row.evaluation} if name else {},
            )
            for split in splits
            for seed in seeds
        )
        rows.append(RowRuns(row, config, runs, name))
    return rows


def distinct_runs(plans: Iterable[Sequence[RowRuns]]) -> list[Run]:
    """Every run of several tables once, table by table, with the evaluations of all rows that use it."""
    merged: dict[Path, Run] = {}
    for rows in plans:
        for runs in zip(*(row.runs for row in rows), strict=True):  # seed by seed: every row has a first figure early
            for run in runs:
                known = merged[run.folder].evaluations if run.folder in merged else {}
                merged[run.folder] = Run(run.folder, run.config, {**known, **run.evaluations})
    return list(merged.values())


def parameters_at_full_size(model: ModelConfig) -> int:
    """Of the row's model at the paper's width, depth and reduction, with a classifier for the people of MARS."""
    full = ModelConfig(**{**vars(model), **FULL_SIZE, "weights": None})
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model_from_config(full, MARS_PEOPLE).parameters())


def paper_on(table: Table, data: str) -> str:
    """The data set whose figures of the paper stand beside those on `data`: the same where the table has them."""
    return data if any(data in row.paper for row in table.rows) else "mars"


def contents(table: Table, rows: Sequence[RowRuns], failures: Mapping[Path, str]) -> dict[str, Any]:
    """What a table's JSON says beside where it comes from.

    Args:
        failures: of `run_all`.
    """
    results = {each.row.name: results_of(each.runs, each.evaluation) for each in rows}
    done = [metrics(run.folder) for each in rows for run in each.runs if finished(run.folder)]
    return {
        "title": table.title,
        "source": table.source,
        "by_parameters": table.by_parameters,
        "paper_on": paper_on(table, rows[0].config.data.name),
        "chance_mAP": chance(done),
        "queries": sorted({found["valid_queries"] for found in done}),
        "notes": list(table.notes),
        "rows": [_row(each, results, failures) for each in rows],
        "quoted": [
            {"name": quoted.name, "more_parameters": quoted.more_parameters, "paper": _paper(quoted.paper)}
            for quoted in table.quoted
        ],
    }


def _row(each: RowRuns, results: Mapping[str, Sequence[Result]], failures: Mapping[Path, str]) -> dict[str, Any]:
    row, own = each.row, results[each.row.name]
    trained = next((metrics(run.folder) for run in each.runs if finished(run.folder)), None)
    compared = differences(own, results[row.baseline]) if row.baseline else None
    places = [run.folder for run in each.runs]
    if each.evaluation:
        places += [run.folder / each.evaluation for run in each.runs]
    return {
        "name": row.name,
        "baseline": row.baseline,
        "options": {name: list(value) if isinstance(value, tuple) else value for name, value in row.options.items()},
        "training": " ".join(option_words(row.options)),
        "evaluation": dict(row.evaluation),
        "parameters": trained and trained["parameters"],
        "parameters_at_full_size": parameters_at_full_size(each.config.model),
        "paper_parameters": row.parameters,
        "paper": _paper(row.paper),
        "note": row.note,
        "runs": [{"seed": result.seed, "split": result.split, **result.figures} for result in own],
        "seconds": [metrics(run.folder)["seconds"] for run in each.runs if finished(run.folder)],
        "figures": plain(overall(own)),
        "difference": compared and {name: _difference(found) for name, found in compared.items()},
        "failed": [failures[place] for place in places if place in failures],
    }


def _difference(found: Spread | None) -> dict[str, Any] | None:
    return found and {**found.to_dict(), "half_width_95": found.half_width}


def _paper(printed: Mapping[str, Printed]) -> dict[str, Any]:
    return {data: {"mAP": each.mAP, "rank-1": each.rank1, "source": each.source} for data, each in printed.items()}
