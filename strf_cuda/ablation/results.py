"""The figures of repeated runs of one configuration: every run, means and standard deviations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strf_cuda.ablation.provenance import in_words
from strf_cuda.ablation.running import Run, finished, metrics
from strf_cuda.ablation.statistics import FIGURES, Result, Spread, figures_of, over_splits, overall, within_splits
from strf_cuda.markdown import aligned


def results_of(runs: Sequence[Run], evaluation: str | None = None) -> list[Result]:
    """The figures of the runs that are finished, as trained or by one of their evaluations."""
    places = [(run, run.folder if evaluation is None else run.folder / evaluation) for run in runs]
    return [
        Result(run.config.seed, run.config.data.split, figures_of(metrics(place)))
        for run, place in places
        if finished(place)
    ]


def summary(runs: Sequence[Run], failures: Mapping[Path, str]) -> dict[str, Any]:
    """JSON-able: every run, means over the seeds of each split, over splits, and over all runs."""
    results = results_of(runs)
    done = [metrics(run.folder) for run in runs if finished(run.folder)]
    return {
        "chance_mAP": chance(done),
        "queries": [found["queries"] for found in done],
        "runs": [
            {"run": run.folder.name, "seed": result.seed, "split": result.split, **result.figures}
            for run, result in zip([run for run in runs if finished(run.folder)], results, strict=True)
        ],
        "failed": {place.name: sentence for place, sentence in failures.items()},
        "within_splits": [{"split": split, **plain(found)} for split, found in within_splits(results).items()],
        "over_splits": plain(over_splits(results)),
        "overall": plain(overall(results)),
    }


def chance(done: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean over runs of the mAP of a random ranking; splits differ in it."""
    known = [found["chance_mAP"] for found in done if found["chance_mAP"] is not None]
    return sum(known) / len(known) if known else None


def plain(spreads: Mapping[str, Spread | None]) -> dict[str, Any]:
    return {name: None if found is None else found.to_dict() for name, found in spreads.items()}


def markdown(results: Mapping[str, Any], title: str) -> str:
    """A table with a line for every run, then for the means; `results` as `summary` and `provenance` give them."""
    lines = [[run["run"], *(percent(run[name]) for name in FIGURES)] for run in results["runs"]]
    splits = results["within_splits"]
    if len(splits) > 1:
        lines += [
            [f"mean, split {row['split']}", *_spreads(row)] for row in splits if row["mAP"] and row["mAP"]["n"] > 1
        ]
        lines.append([f"mean of {len(splits)} splits", *_spreads(results["over_splits"])])
    lines.append([f"mean of {len(results['runs'])} runs", *_spreads(results["overall"])])
    failed = [f"* {name} failed: {sentence}" for name, sentence in results["failed"].items()]
    chance_level = results["chance_mAP"]
    return "\n".join(
        [
            f"# {title}\n",
            aligned(["run", *FIGURES], lines),
            "\nPercent; mean ± standard deviation (n - 1)."
            + (f" A random ranking has mAP {percent(chance_level)}." if chance_level is not None else "")
            + (" The mean of splits is taken over the means of their seeds." if len(splits) > 1 else ""),
            *failed,
            f"\n{in_words(results)}\n",
        ]
    )


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def with_spread(found: Mapping[str, Any] | None) -> str:
    """Such as "30.3 ± 0.9", without the spread of a single run."""
    if found is None:
        return "-"
    return percent(found["mean"]) + ("" if found["std"] is None else f" ± {percent(found['std'])}")


def _spreads(row: Mapping[str, Any]) -> list[str]:
    return [with_spread(row[name]) for name in FIGURES]
