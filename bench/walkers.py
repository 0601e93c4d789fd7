"""Trains P3DC with and without STRF on walkers, several seeds each, and tells what came out.

    python -m bench.walkers [--seeds 3] [--epochs 200] [--folder runs/walkers-bench] [--processes 2] [--out FILE]
    python -m bench.walkers --preset paper --root DIR [...]

The first trains a small network on the built-in set. The second trains the paper's, at 256x128, for a GPU, on the
walkers in DIR (python -m strf_cuda.synthesize --size full --out DIR).

Writes bench/results/walkers.json and prints the table: mean and standard deviation over the seeds, by challenge, with
the frames of every clip in order and shuffled. For the STRF runs it also holds the mean entropy of the trained masks'
columns as a share of the highest possible: at 0 every position is copied from one other, at 1 it is the mean of all;
and for each unit, the mean over clips of how many positions are the main source of any position of its output.
Runs that are finished are not trained again, and a stopped one resumes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.machine import write_result

UNITS = {"P3DC": "none", "STRF-P3DC": "strf"}
CHALLENGES = ("all", "none", "occluded", "misaligned", "look-alike", "look-alike-pace")


def run_command(module: str, *options: str, log: Path) -> None:
    command = [sys.executable, "-m", f"strf_cuda.{module}", *options]
    with log.open("a") as out:
        if subprocess.run(command, stdout=out, stderr=out).returncode:
            raise SystemExit(f"{' '.join(command)} failed; see {log}")


def training_options(name: str, seed: int, epochs: int, preset: str, root: Path | None) -> list[str]:
    """The options of `strf_cuda.train` for one run; the learning rate falls after two and four fifths of it."""
    options = [f"--preset={preset}", f"--model.unit={UNITS[name]}", f"--seed={seed}", f"--epochs={epochs}"]
    options += [f"--optimizer.decay_every={max(1, epochs * 2 // 5)}", f"--evaluation.every={epochs}"]
    if preset == "demo":
        options.append("--model.depth=[2, 2, 2, 2]")
    else:
        options += ["--data.name=walkers", "--evaluation.stride=8"]  # neighbouring frames are 25 ms apart
    return options if root is None else [*options, f"--data.root={root}"]


def train_and_evaluate(name: str, seed: int, folder: Path, epochs: int, preset: str, root: Path | None) -> dict:
    """The metrics of one run, as trained and with shuffled frames."""
    out = folder / f"{name.lower()}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    log = folder / f"{out.name}.log"
    if not (out / "metrics.json").exists():
        started = ["--resume"] if (out / "config.yaml").exists() else []
        run_command("train", f"--out={out}", *training_options(name, seed, epochs, preset, root), *started, log=log)
    shuffled = out / "shuffled"
    if not (shuffled / "metrics.json").exists():
        options = [f"--checkpoint={out}/last.ckpt", f"--out={shuffled}", "--shuffle_frames", "--queries=0"]
        run_command("evaluate", *options, log=log)
    print(f"finished {out}", flush=True)
    return {
        **(mask_figures(out / "last.ckpt") if UNITS[name] == "strf" else {}),
        "in order": figures(json.loads((out / "metrics.json").read_text())),
        "shuffled": figures(json.loads((shuffled / "metrics.json").read_text())),
        "seconds": json.loads((out / "metrics.json").read_text())["seconds"],
    }


def mask_figures(checkpoint: Path) -> dict[str, dict[str, float]]:
    """The entropy of the masks by layer and path, and their sources by layer, over 32 clips of the first queries."""
    from strf_cuda.data import open_dataset
    from strf_cuda.data.augment import normalise
    from strf_cuda.data.loader import evaluation_loader
    from strf_cuda.masks import effective_positions, strf_units, unit_masks
    from strf_cuda.trained import open_model

    trained = open_model(checkpoint)
    data = trained.config.data
    loader = evaluation_loader(
        open_dataset(data.name, data.root).query, batch_frames=32 * data.frames, height=data.height, width=data.width,
        frames=data.frames, workers=0, stride=trained.config.evaluation.stride,
    )  # fmt: skip
    clips = normalise(next(iter(loader))[0])
    entropy, sources = {}, {}
    for unit in strf_units(trained.model):
        found = unit_masks(trained.model, clips, unit)
        largest = math.log(found.size[0] * found.size[1])
        for path, mask in {**found.masks, "whole unit": found.total / found.total.sum(1, keepdim=True)}.items():
            entropy[f"{unit} {path}"] = round(effective_positions(mask, 1).log().mean().item() / largest, 4)
        sources[unit] = statistics.mean(len(set(mask.argmax(0).tolist())) for mask in found.total)
    return {"mask entropy": entropy, "mask sources": sources}


def figures(metrics: dict) -> dict[str, float]:
    """mAP and rank-1 by challenge, and rank-1 within the groups of look-alikes."""
    rows = {"all": metrics, **metrics["challenges"]}
    found = {}
    for challenge in CHALLENGES:
        found[f"{challenge} mAP"] = rows[challenge]["mAP"]
        found[f"{challenge} rank-1"] = rows[challenge]["rank-1"]
    for challenge, group in metrics["within_look_alike_groups"].items():
        found[f"{challenge} rank-1 within group"] = group["rank-1"]
    return found


def summarize(runs: list[dict], order: str) -> dict[str, list[float]]:
    """[mean, standard deviation over seeds] of every figure."""
    names = runs[0][order]
    return {
        name: [
            statistics.mean(run[order][name] for run in runs),
            statistics.stdev(run[order][name] for run in runs) if len(runs) > 1 else 0.0,
        ]
        for name in names
    }


def table(summary: dict) -> str:
    """Markdown: a line for each figure, a column for each model and frame order, in percent."""
    columns = [(model, order) for order in ("in order", "shuffled") for model in UNITS]
    lines = ["| | " + " | ".join(f"{model}, {order}" for model, order in columns) + " |", "|---" * 5 + "|"]
    for name in summary["P3DC"]["in order"]:
        cells = [summary[model][order][name] for model, order in columns]
        lines.append(f"| {name} | " + " | ".join(f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/walkers-bench"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--preset", choices=("demo", "paper"), default="demo")
    parser.add_argument("--root", type=Path, help="another set of walkers than the built-in one")
    parser.add_argument("--out", type=Path, help="the JSON file; bench/results/walkers.json unless given")
    options = parser.parse_args(argv)
    if options.preset == "paper" and options.root is None:
        parser.error("preset paper is for walkers of 256x128: make a set with strf_cuda.synthesize and give --root DIR")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.processes))
    options.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for seed in range(options.seeds) for name in UNITS]
    with ThreadPoolExecutor(options.processes) as pool:
        of_run = (options.folder, options.epochs, options.preset, options.root)
        results = list(pool.map(lambda job: train_and_evaluate(*job, *of_run), jobs))
    runs = {name: [result for job, result in zip(jobs, results, strict=True) if job[0] == name] for name in UNITS}
    summary = {
        name: {order: summarize(of_model, order) for order in ("in order", "shuffled")}
        for name, of_model in runs.items()
    }
    write_result(
        "walkers",
        "P3DC with and without STRF on walkers: [mean, standard deviation] over seeds, shares of 1",
        ("torch", "numpy"),
        {
            "seeds": options.seeds,
            "epochs": options.epochs,
            "preset": options.preset,
            "summary": summary,
            "runs": runs,
        },
        options.out,
    )
    print(table(summary))


if __name__ == "__main__":
    main()
