"""`python -m strf_cuda.repeat`: one training configuration over seeds and official splits.

seed-0-split-3/   a run as strf_cuda.train leaves it, its output in seed-0-split-3.log
results.json      the figures of every run, means and standard deviations; results.md: the same to read
"""

import sys
from collections.abc import Sequence
from typing import Any

from strf_cuda.ablation.repetition import (
    base_config,
    changed,
    check_repetition,
    environments,
    run_name,
    seeds_of,
    splits_of,
)
from strf_cuda.cli import load_config, run
from strf_cuda.config import PRESETS, RepeatConfig, check_training
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

PROG = "python -m strf_cuda.repeat"


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    config = read_options(words)

    from strf_cuda.quiet import show_warnings_in_one_line

    show_warnings_in_one_line()
    repeat(config, words)


def read_options(words: Sequence[str]) -> RepeatConfig:
    """The checked configuration that a command line gives."""
    config = load_config(RepeatConfig, words, prog=PROG, presets=PRESETS)
    if config.out is None:
        raise InputError("--out is needed: the folder for the runs, and the one in which they are found again")
    check_repetition(config)
    check_training(base_config(config))
    return config


def repeat(config: RepeatConfig, words: Sequence[str]) -> dict[str, Any]:
    """Trains what is not trained yet; returns the content of results.json, which it writes.

    Args:
        words: the command line, which the results quote.

    Raises:
        InputError: options or data that cannot be used, or a run has failed.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
    """
    # After the checks, since these take seconds to import.
    from strf_cuda.ablation.opening import open_for_runs
    from strf_cuda.ablation.provenance import provenance
    from strf_cuda.ablation.results import markdown, summary
    from strf_cuda.ablation.running import Run, run_all
    from strf_cuda.files import replacing, writable_folder, write_json

    base, folder = base_config(config), expanded(config.out)
    open_for_runs(base, splits_of(config))
    runs = [
        Run(writable_folder(folder) / run_name(seed, split), changed(base, {"seed": seed, "data.split": split}))
        for split in splits_of(config)
        for seed in seeds_of(config)
    ]
    failures = run_all(runs, environments(config))
    results = {**provenance("repeat", words, base), **summary(runs, failures)}
    write_json(folder / "results.json", results)
    text = markdown(results, f"{base.model.kind}, unit {base.model.unit}, on {base.data.name}")
    with replacing(folder / "results.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{text}\nresults.json and results.md are in {folder}")
    if failures:
        raise InputError(f"{len(failures)} of {len(runs)} runs failed; the first: {next(iter(failures.values()))}")
    return results


if __name__ == "__main__":
    raise SystemExit(run(main))
