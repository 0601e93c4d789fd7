"""Trains every kind of block without a unit, with STRF of dot products and with STRF of cosines, several seeds each.

    python -m bench.walkers --root DIR [--start random] [--kinds p3dc ...] [--units none dot cosine] [--seeds 3]
    python -m bench.walkers --size 64x32 [...]                 # the built-in set
    python -m bench.walkers --size 256x128 --root DIR [...]    # the paper's network and recipe, for a GPU

On the walkers, the built-in drawn people. The small networks have the width 16, one block a stage, and a reduction of
4, so that the units keep 8 and 16 reduced channels as in the paper; `--size 64x32 --reduction 16` is what starves them.
`--start c2d` trains a C2D for each seed first, as the paper starts from an image network: every model then begins as
that one, and trains for a quarter of the epochs at a third of the rate.

Writes bench/results/walkers_SIZE_START.json, and beside it the table (.md) and a picture (.png): by challenge, mean and
standard deviation over the seeds, and the 95% interval of the differences, which are taken seed by seed. For STRF also
the mean entropy of the masks before and after training, as a share of the highest possible: at 0 every position is
copied from one other, at 1 it is the mean of all. The file is written after every run, and a run that stands in it is
not trained again; a stopped one resumes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from bench import plots
from bench.machine import RESULTS, write_result
from strf_cuda.ablation.statistics import Spread, spread
from strf_cuda.files import replacing
from strf_cuda.markdown import aligned

KINDS = ("p3dc", "p3da", "p3db", "i3d")
UNITS = {
    "none": {"model.unit": "none"},
    "dot": {"model.similarity": "dot"},
    "cosine": {"model.similarity": "cosine"},
    # Guesses why the unit may be no better than it is; not among those that are trained unless named.
    "cosine 8": {"model.similarity": "cosine", "model.temperature": 8},
    "cosine 32": {"model.similarity": "cosine", "model.temperature": 32},
    "cosine 64": {"model.similarity": "cosine", "model.temperature": 64},
    "cosine parallel": {"model.similarity": "cosine", "model.integration": "parallel"},
    "cosine spatial first": {"model.similarity": "cosine", "model.integration": "spatial_temporal"},
    "cosine temporal paths": {"model.similarity": "cosine", "model.paths": ["temporal_dynamic", "temporal_static"]},
    "cosine spatial paths": {"model.similarity": "cosine", "model.paths": ["spatial_fine", "spatial_coarse"]},
}
CHALLENGES = ("all", "none", "occluded", "misaligned", "look-alike", "look-alike-pace")
COLOURS = {"none": "#7f7f7f", "dot": "#c0392b", "cosine": "#0b3c8c"}


@dataclass(frozen=True)
class Setting:
    """What all runs of a table have in common."""

    size: str
    start: str
    reduction: int
    epochs: int
    root: str | None

    def options(self) -> dict[str, Any]:
        """Of `strf_cuda.train`."""
        height, width = self.size.split("x")
        options = {"data.name": "walkers", "data.height": height, "data.width": width, "epochs": self.epochs}
        options |= {"optimizer.decay_every": decay_every(self.epochs), "evaluation.every": self.epochs}
        if self.root is not None:
            options["data.root"] = self.root
        if self.size == "256x128":
            return {"preset": "paper", "evaluation.stride": 8, "model.reduction": self.reduction, **options}
        return {"preset": "demo", "model.reduction": self.reduction, **options}

    def of_run(self, kind: str, unit: str, seed: int, folder: Path) -> dict[str, Any]:
        options = {**self.options(), "model.kind": kind, "seed": seed, **UNITS[unit]}
        if self.start == "c2d" and kind != "c2d":
            options["model.weights"] = str(run_folder(folder, "c2d", "none", seed) / "last.ckpt")
            epochs = max(1, self.epochs // 4)
            options |= {"epochs": epochs, "evaluation.every": epochs, "optimizer.decay_every": decay_every(epochs)}
            options["optimizer.learning_rate"] = 1e-4 if self.size == "256x128" else 1e-3
        return options


def decay_every(epochs: int) -> int:
    """The rate falls after 5 and 10 twelfths of the epochs, as in the preset."""
    return max(1, epochs * 5 // 12)


def run_folder(folder: Path, kind: str, unit: str, seed: int) -> Path:
    return folder / f"{kind}-{unit.replace(' ', '-')}-{seed}"


def words(options: Mapping[str, Any]) -> list[str]:
    """Options for a command line."""
    return [f"--{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in options.items()]


def run_command(module: str, *options: str, log: Path) -> None:
    command = [sys.executable, "-m", f"strf_cuda.{module}", *options]
    with log.open("a") as out:
        if subprocess.run(command, stdout=out, stderr=out).returncode:
            raise SystemExit(f"{' '.join(command)} failed; see {log}")


def train(setting: Setting, kind: str, unit: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run's entry in the file."""
    out = run_folder(folder, kind, unit, seed)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "metrics.json").exists():
        started = ["--resume"] if (out / "config.yaml").exists() else []
        options = words(setting.of_run(kind, unit, seed, folder))
        run_command("train", f"--out={out}", *options, *started, log=out.with_suffix(".log"))
    metrics = json.loads((out / "metrics.json").read_text())
    entry = {"kind": kind, "unit": unit, "seed": seed, "seconds": metrics["seconds"], "figures": figures(metrics)}
    return entry | ({} if unit == "none" else mask_entropy(out / "last.ckpt"))


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """mAP and rank-1 by challenge, and rank-1 within the groups of look-alikes; shares of 1."""
    rows = {"all": metrics, **metrics["challenges"]}
    found = {f"{name} {figure}": rows[name][figure] for name in CHALLENGES for figure in ("mAP", "rank-1")}
    groups = metrics["within_look_alike_groups"].items()
    return found | {f"{challenge} rank-1 within group": group["rank-1"] for challenge, group in groups}


def mask_entropy(checkpoint: Path) -> dict[str, dict[str, float]]:
    """By layer and path, before training and after, over 32 clips of the first queries."""
    import torch

    from strf_cuda.data import open_dataset
    from strf_cuda.data.augment import normalise
    from strf_cuda.data.loader import evaluation_loader
    from strf_cuda.engine import Training
    from strf_cuda.masks import effective_positions, strf_units, unit_masks
    from strf_cuda.trained import open_model

    trained = open_model(checkpoint)
    data = trained.config.data
    dataset = open_dataset(data.name, data.root)
    loader = evaluation_loader(
        dataset.query, batch_frames=32 * data.frames, height=data.height, width=data.width,
        frames=data.frames, workers=0, stride=trained.config.evaluation.stride,
    )  # fmt: skip
    clips = normalise(next(iter(loader))[0])

    def entropy(model: torch.nn.Module) -> dict[str, float]:
        found = {}
        for unit in strf_units(model):
            masks = unit_masks(model, clips, unit)
            largest = math.log(masks.size[0] * masks.size[1])
            for path, mask in masks.masks.items():
                found[f"{unit} {path}"] = round(effective_positions(mask, 1).log().mean().item() / largest, 3)
        return found

    # Before training BatchNorm has no statistics but those of the batch.
    return {
        "mask entropy before": entropy(Training(trained.config, dataset.train).model.train()),
        "mask entropy": entropy(trained.model),
    }


def of(runs: Sequence[Mapping[str, Any]], kind: str, unit: str) -> dict[int, Mapping[str, float]]:
    """The figures of a kind and unit by seed."""
    return {run["seed"]: run["figures"] for run in runs if (run["kind"], run["unit"]) == (kind, unit)}


def difference(runs: Sequence[Mapping[str, Any]], kinds: Sequence[str], unit: str, name: str) -> Spread | None:
    """Of a figure, with a unit less without, seed by seed; of several kinds the mean over those that a seed has."""
    by_seed: dict[int, list[float]] = {}
    for kind in kinds:
        plain = of(runs, kind, "none")
        for seed, found in of(runs, kind, unit).items():
            if seed in plain:
                by_seed.setdefault(seed, []).append(found[name] - plain[seed][name])
    most = max((len(found) for found in by_seed.values()), default=0)
    return spread(statistics.mean(found) for found in by_seed.values() if len(found) == most)


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind and unit, then the mean over the kinds: [mean, standard deviation], shares of 1.

    A difference is [mean, half of its 95% interval].
    """
    kinds = list(dict.fromkeys(run["kind"] for run in runs))
    units = list(dict.fromkeys(run["unit"] for run in runs))
    rows = []
    for kind in kinds:
        for unit in units:
            if found := of(runs, kind, unit):
                names = next(iter(found.values()))
                spreads = {name: spread(each[name] for each in found.values()) for name in names}
                row = {"kind": kind, "unit": unit, "seeds": len(found)}
                row["figures"] = {name: [each.mean, each.std] for name, each in spreads.items()}
                rows.append(row | ({} if unit == "none" else {"difference": _differences(runs, [kind], unit, names)}))
    for unit in units:
        both = [kind for kind in kinds if of(runs, kind, unit) and of(runs, kind, "none")]
        if unit != "none" and len(both) > 1:
            names = runs[0]["figures"]
            rows.append({"kind": "all kinds", "unit": unit, "difference": _differences(runs, both, unit, names)})
    return rows


def _differences(runs, kinds: Sequence[str], unit: str, names: Sequence[str]) -> dict[str, list[float | None]]:
    found = {name: difference(runs, kinds, unit, name) for name in names}
    return {name: [each.mean, each.half_width] for name, each in found.items() if each is not None}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mAP by challenge, in percent, then the differences to no unit."""
    header = ["", "seeds", "mAP", "rank-1", *CHALLENGES[1:], "within look-alikes"]
    names = ["all mAP", "all rank-1", *(f"{challenge} mAP" for challenge in CHALLENGES[1:])]
    names.append("look-alike rank-1 within group")
    lines, changes = [], []
    for row in rows:
        name = f"{row['kind'].upper() if row['kind'] in KINDS else row['kind']}, {row['unit']}"
        if "figures" in row:
            cells = [_shown(*row["figures"][figure]) for figure in names]
            lines.append([name, str(row["seeds"]), *cells])
        if row.get("difference"):
            changes.append([name, *(_shown(*row["difference"][figure], sign="+") for figure in names)])
    texts = [aligned(header, lines)]
    if changes:
        texts.append("Differences to no unit, seed by seed, ± half of the 95% interval:")
        texts.append(aligned([header[0], *header[2:]], changes))
    return "\n\n".join(texts)


def _shown(mean: float, around: float | None, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f}" + ("" if around is None else f" ± {100 * around:.1f}")


def plot_walkers(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """The difference in mAP to no unit, by kind and challenge, with its 95% interval."""
    rows = [row for row in rows if row.get("difference")]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, axes = plots.new_figure(len(kinds), title="mAP with a unit less mAP without, percent; bars: 95% interval")
    for axis, kind in zip(axes, kinds, strict=True):
        of_kind = [row for row in rows if row["kind"] == kind]
        for place, row in enumerate(of_kind):
            means, halves = zip(*(row["difference"][f"{name} mAP"] for name in CHALLENGES), strict=True)
            shift = (place - (len(of_kind) - 1) / 2) * 0.8 / len(of_kind)
            axis.errorbar(
                [100 * mean for mean in means],
                [at + shift for at in range(len(CHALLENGES))],
                xerr=[100 * (half or 0) for half in halves],
                fmt="o", capsize=3, markersize=5, label=row["unit"], color=COLOURS.get(row["unit"]),
            )  # fmt: skip
        axis.axvline(0, color="black", linewidth=1)
        axis.set(title=kind.upper() if kind in KINDS else kind)
        axis.set_yticks(range(len(CHALLENGES)), CHALLENGES)
        axis.set_ylim(len(CHALLENGES) - 0.5, -0.5)
        axis.grid(True, axis="x", alpha=0.3)
    axes[0].legend(frameon=False, fontsize=9)
    plots.save(figure, out)


def write(setting: Setting, runs: Sequence[Mapping[str, Any]], out: Path) -> str:
    """The file, its table and its picture; returns the table."""
    runs = sorted(runs, key=lambda run: (KINDS.index(run["kind"]), list(UNITS).index(run["unit"]), run["seed"]))
    rows = summary(runs)
    write_result(
        "walkers",
        "block kinds without and with STRF on walkers: figures [mean, standard deviation] over seeds and differences "
        "[mean, half of the 95% interval] to no unit, shares of 1",
        ("torch", "numpy", "pillow"),
        {"setting": vars(setting), "options": setting.options(), "rows": rows, "runs": runs},
        out,
    )
    text = table(rows)
    with replacing(out.with_suffix(".md")) as temporary:
        temporary.write_text(f"{text}\n\nPercent; mean ± standard deviation over the seeds. {out.name} has it all.\n")
    if any(row.get("difference") for row in rows):
        plots.draw(plot_walkers, rows, out.with_suffix(".png"))
    return text


def earlier_runs(out: Path, setting: Setting) -> list[dict[str, Any]]:
    """The runs of the file, where there is one.

    Raises:
        SystemExit: they were trained with other options.
    """
    if not out.exists():
        return []
    found = json.loads(out.read_text())
    if found["setting"] != vars(setting):
        raise SystemExit(f"error: {out} holds runs of {found['setting']}, not of {vars(setting)}: give another --out")
    return found["runs"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("64x32", "128x64", "256x128"), default="128x64", help="of frames")
    parser.add_argument("--start", choices=("random", "c2d"), default="random", help="weights that runs begin with")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--units", nargs="+", choices=UNITS, default=["none", "dot", "cosine"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3], help="how many, or several numbers: which")
    parser.add_argument("--epochs", type=int, default=48, help="of a run that starts at random")
    parser.add_argument("--reduction", type=int, help="n of the units; 4 for the small networks, else 16")
    parser.add_argument("--folder", type=Path, help="for the runs; runs/walkers-SIZE-START unless given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--root", help="a set of walkers of that size, from strf_cuda.synthesize")
    parser.add_argument("--out", type=Path, help="the JSON file; bench/results/walkers_SIZE_START.json unless given")
    options = parser.parse_args(argv)
    if options.size != "64x32" and options.root is None:
        height, width = options.size.split("x")
        parser.error(
            f"frames of {options.size} need a set of walkers of their own: python -m strf_cuda.synthesize --out DIR "
            f"--height {height} --width {width}, and --root DIR"
        )
    if options.seeds == [0]:
        parser.error("--seeds is 0, but at least one is needed; to train with seed 0 alone give 1")
    reduction = options.reduction or (16 if options.size == "256x128" else 4)
    setting = Setting(options.size, options.start, reduction, options.epochs, options.root)
    out = options.out or RESULTS / f"walkers_{options.size}_{options.start}.json"
    folder = options.folder or Path(f"runs/walkers-{options.size}-{options.start}")
    runs = earlier_runs(out, setting)
    seeds = range(options.seeds[0]) if len(options.seeds) == 1 else options.seeds
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.processes))
    folder.mkdir(parents=True, exist_ok=True)
    known = {(run["kind"], run["unit"], run["seed"]) for run in runs}
    wanted = [(kind, unit, seed) for seed in seeds for kind in options.kinds for unit in options.units]
    jobs = [job for job in wanted if job not in known]
    print(f"{len(wanted)} runs, {len(jobs)} of them to train; {out}", flush=True)
    lock, starts = Lock(), {}

    def finish(job: tuple[str, str, int]) -> None:
        if starts:
            starts[job[2]].result()
        entry = train(setting, *job, folder)
        with lock:
            runs.append(entry)
            write(setting, runs, out)
            print(f"{len(known & set(wanted)) + len(runs) - len(known)} of {len(wanted)}: {job}", flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        if options.start == "c2d":
            for seed in sorted({seed for _, _, seed in jobs}):
                starts[seed] = pool.submit(train, setting, "c2d", "none", seed, folder)
        list(pool.map(finish, jobs))
    print(write(setting, runs, out))


if __name__ == "__main__":
    main()
