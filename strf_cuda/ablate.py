"""`python -m strf_cuda.ablate TABLE`: a table or figure of the paper, trained row by row.

TABLE.json    every run, options, figures, the paper's figures, and where it all comes from
TABLE.md      the table to read; TABLE.png: the same as a picture
runs/         the runs; tables with the same --out share those of equal rows
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strf_cuda.ablation.repetition import base_config, check_repetition, environments, seeds_of, splits_of
from strf_cuda.ablation.rows import PAPER_TABLES, TABLES
from strf_cuda.cli import flat_dict, load_config, run
from strf_cuda.config import PRESETS, RepeatConfig, TrainConfig, check_training
from strf_cuda.errors import InputError, nearest
from strf_cuda.files import expanded

PROG = "python -m strf_cuda.ablate"
CHOICES = (*TABLES, "all")
SHORT = {"--data": "--data.name", "--root": "--data.root", "--split": "--data.split"}


@dataclass
class AblateConfig(RepeatConfig):
    """Trains and evaluates every row of a table or figure of the paper, and puts the paper's figures beside.

    The first word names it: table2, table4, table5, figure4a, figure4b, figure4c, figure6a, figure6b, nonlocal,
    supplement-table1, supplement-table2, supplement-figure2; all for all of them; or one that is not in the paper:
    similarity (cosines or dot products in the masks), beyond (smoothing, warm-up and more).
    --data, --root and --split are short for --data.name, --data.root and --data.split. The options that the rows set
    themselves cannot be given.
    """


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    names, config, given = read_options(words)

    from strf_cuda.quiet import show_warnings_in_one_line

    show_warnings_in_one_line()
    ablate(names, config, words, given)


def read_options(words: Sequence[str]) -> tuple[list[str], AblateConfig, list[str]]:
    """The tables, the checked configuration, and the options given, from a command line."""
    choice, rest = (words[0], list(words[1:])) if words and not words[0].startswith("-") else (None, list(words))
    rest = [_spelled_out(word) for word in rest]
    config = load_config(AblateConfig, rest, prog=f"{PROG} TABLE", presets=PRESETS)
    if choice is None:
        raise InputError(f"the first word must name a table: {', '.join(CHOICES)}")
    if choice not in CHOICES:
        raise InputError(f"there is no table {choice!r}, but {', '.join(CHOICES)}{nearest(choice, CHOICES)}")
    names = list(PAPER_TABLES) if choice == "all" else [choice]
    given = [word[2:].partition("=")[0] for word in rest if word.startswith("--")]
    config.out = config.out or f"runs/ablate-{choice}"
    check_repetition(config)
    base = base_config(config)
    check_training(base)
    _check_rows_own(names, base, given)
    return names, config, given


def _spelled_out(word: str) -> str:
    option, equals, value = word.partition("=")
    return SHORT.get(option, option) + equals + value


def _check_rows_own(names: Sequence[str], base: TrainConfig, given: Sequence[str]) -> None:
    """Raises an `InputError` for an option that the rows of a table set themselves."""
    values, usual = flat_dict(base), flat_dict(_preset(base))
    for name in names:
        own = {option for row in TABLES[name].rows for option in row.options}
        for option in sorted(own):
            if option in given or values[option] != usual[option]:
                raise InputError(
                    f"{option} is given, but it is what the rows of {name} differ in or have in common, so they set it "
                    "themselves: leave it out"
                )


def _preset(base: TrainConfig) -> TrainConfig:
    return load_config(TrainConfig, [f"--preset={base.preset}"], prog=PROG, presets=PRESETS)


def ablate(names: Sequence[str], config: AblateConfig, words: Sequence[str], given: Sequence[str]) -> None:
    """Trains what is not trained yet and writes each table as soon as its runs have ended.

    Args:
        names: the tables.
        words: the command line, which the results quote.
        given: options that the user has set.

    Raises:
        InputError: options or data that cannot be used, or a row has failed.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
    """
    # After the checks, since these take seconds to import.
    import torch

    from strf_cuda.ablation.opening import open_for_runs
    from strf_cuda.ablation.plotting import draw
    from strf_cuda.ablation.provenance import provenance
    from strf_cuda.ablation.reporting import markdown
    from strf_cuda.ablation.running import Run, run_all
    from strf_cuda.ablation.tables import contents, distinct_runs, plan
    from strf_cuda.checkpoints import model_from_config
    from strf_cuda.files import replacing, writable_folder, write_json

    base, folder = base_config(config), writable_folder(expanded(config.out))
    dataset = open_for_runs(base, splits_of(config))
    plans = {
        name: plan(TABLES[name], base, seeds_of(config), splits_of(config), folder / "runs", given) for name in names
    }
    people = len({tracklet.person_id for tracklet in dataset.train})
    for name, rows in plans.items():  # a row that cannot be built is told before the others are trained
        for row in rows:
            try:
                check_training(row.config)
                with torch.device("meta"):
                    model_from_config(row.config.model, people)
            except InputError as error:
                raise InputError(f"row {row.row.name!r} of {name} cannot be trained: {error}") from None
    runs = distinct_runs(plans.values())
    print(
        f"{', '.join(names)}: {sum(map(len, plans.values()))} rows, {len(runs)} runs, of which "
        f"{sum(run.finished for run in runs)} are finished; results go to {folder}",
        flush=True,
    )
    ended = set()

    def write_ended_tables(run: Run, failures: dict[Path, str]) -> None:
        ended.add(run.folder)
        for name, rows in plans.items():
            folders = {run.folder for row in rows for run in row.runs}
            if run.folder in folders and folders <= ended:
                content = {"table": name, **provenance("ablate", words, base), **contents(TABLES[name], rows, failures)}
                write_json(folder / f"{name}.json", content)
                text = markdown(content)
                with replacing(folder / f"{name}.md") as temporary:
                    temporary.write_text(text, encoding="utf-8")
                with replacing(folder / f"{name}.png") as temporary:
                    draw(content, temporary)
                print(f"\n{text}\n{name}.json, {name}.md and {name}.png are in {folder}", flush=True)

    failures = run_all(runs, environments(config), write_ended_tables)
    if failures:
        raise InputError(f"{len(failures)} of {len(runs)} runs failed; the first: {next(iter(failures.values()))}")


if __name__ == "__main__":
    raise SystemExit(run(main))
