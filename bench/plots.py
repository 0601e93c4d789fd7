"""The pictures beside the figures of the benchmarks, drawn where matplotlib is installed."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

OURS = ("#0b3c8c", "#4f8fdd", "#9cc3ef")  # by backend, the first the darkest
OTHERS = ("#c0392b", "#e08a1e", "#5f8f3e", "#8e5ea2", "#7f7f7f", "#16807a")
PARTS = {
    "backbone": "#b9c0c9",
    "STRF forward": "#4f8fdd",
    "STRF backward": "#0b3c8c",
    "loss": "#e08a1e",
    "optimizer": "#5f8f3e",
}


def draw(plot: Callable, figures: object, out: Path) -> None:
    """Calls one of the functions below, or says that it cannot be called."""
    if importlib.util.find_spec("matplotlib") is None:
        print("No plot is drawn: matplotlib is not installed here.")
    else:
        plot(figures, out)


def plot_operator(entries: Sequence[dict], out: Path) -> None:
    """Time a clip and share of the floor against the number of positions, from the entries of the JSON.

    Of a GPU the figures inside CUDA graphs are drawn.
    """
    mode = "CUDA graph" if any(entry["mode"] == "CUDA graph" for entry in entries) else "eager"
    swept = [entry for entry in entries if entry["problem"].startswith("N=") and entry["mode"] == mode]
    swept.sort(key=lambda entry: entry["height"] * entry["width"])
    positions = [entry["height"] * entry["width"] for entry in swept]
    directions = list(swept[0]["floor"])
    figure, axes = _pyplot().subplots(
        len(directions), 2, figsize=(11, 3.7 * len(directions)), sharex=True, squeeze=False, layout="constrained"
    )
    for (times, shares), direction in zip(axes, directions, strict=True):
        floor = [entry["floor"][direction]["ms"] / entry["batch"] for entry in swept]
        times.plot(positions, floor, color="black", linestyle=":", label="floor")
        for name, style in line_styles(swept[0]["contenders"]).items():
            timed = [entry["contenders"][name][direction] for entry in swept]
            if any("not_run" in figures for figures in timed):
                continue
            per_clip = [f["ms"]["median"] / entry["batch"] for f, entry in zip(timed, swept, strict=True)]
            times.plot(positions, per_clip, marker="o", markersize=3.5, label=name, **style)
            percent = [100 * figures["share_of_floor"] for figures in timed]
            shares.plot(positions, percent, marker="o", markersize=3.5, label=name, **style)
        times.set(xscale="log", yscale="log", ylabel="ms a clip", title=f"{direction}: time")
        shares.set(ylim=(0, None), ylabel="%", title=f"{direction}: share of the floor")
        times.grid(True, which="major", alpha=0.3)
        shares.grid(True, which="major", alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("positions N")
        axis.set_xticks(positions, [str(n) for n in positions], fontsize=8)
        axis.minorticks_off()
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, fontsize=9, ncols=len(names), loc="outside lower center")
    first = swept[0]
    figure.suptitle(
        f"{first['channels']} channels, {first['frames']} frames, {first['integration']}, {first['layout']}, "
        f"{first['dtype']}, {mode}"
    )
    save(figure, out)


def line_styles(names: Sequence[str]) -> dict[str, dict]:
    """A colour and width for each contender: blue and thick for ours."""
    ours = [name for name in names if name.startswith("strf_cuda")]
    others = [name for name in names if name not in ours]
    thick = {name: {"color": color, "linewidth": 2.4} for name, color in zip(ours, OURS, strict=False)}
    return thick | {name: {"color": color, "linewidth": 1.3} for name, color in zip(others, OTHERS, strict=False)}


def plot_training_step(models: dict[str, dict], out: Path) -> None:
    """The parts of one training step of each model as bars, with the ratio to the first model beside them.

    Args:
        models: the "models" of the JSON.
    """
    figure, axis = _pyplot().subplots(figsize=(9, 1.6 + 0.7 * len(models)), layout="constrained")
    names = list(models)[::-1]
    for row, name in enumerate(names):
        left = 0.0
        step, ratio = models[name]["ms"]["median"], models[name]["ratio"]
        for part, color in PARTS.items():
            width = models[name]["shares"].get(part, 0.0) * step
            axis.barh(row, width, left=left, color=color, label=part if row == 0 else None)
            left += width
        low, high = ratio["quartiles"]
        label = "baseline" if row == len(names) - 1 else f"{ratio['median']:.3f}\n({low:.3f}-{high:.3f})"
        axis.text(left * 1.01, row, label, va="center", fontsize=9)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlim(0, 1.16 * max(models[name]["ms"]["median"] for name in names))
    axis.set(xlabel="ms a training step", title="one training step, and its ratio to the baseline (quartiles)")
    figure.legend(frameon=False, fontsize=9, ncols=len(PARTS), loc="outside lower center")
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, out)


def plot_data(entries: Sequence[dict], out: Path, cores: int) -> None:
    """Frames a second against the number of worker processes, one panel for each set of frames."""
    figure, axes = _pyplot().subplots(
        1, len(entries), figsize=(5.5 * len(entries), 4), squeeze=False, layout="constrained"
    )
    for axis, entry in zip(axes[0], entries, strict=True):
        counts = [int(workers) for workers in entry["loaders"]]
        floor = [min(max(workers, 1), cores) * entry["floor"]["frames_per_s_a_core"] for workers in counts]
        places = range(len(counts))
        axis.plot(places, floor, color="black", linestyle=":", label="floor: read and decode")
        for name, style in line_styles(list(entry["loaders"][str(counts[0])])).items():
            found = [entry["loaders"][str(workers)][name]["frames_per_s"]["median"] for workers in counts]
            axis.plot(places, found, marker="o", markersize=3.5, label=name, **style)
        axis.set(ylim=(0, None), xlabel="worker processes", ylabel="frames a second", title=entry["frames"])
        axis.set_xticks(places, [str(workers) for workers in counts])
        axis.grid(True, alpha=0.3)
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, fontsize=9, ncols=3, loc="outside lower center")
    save(figure, out)


def plot_search(figures: dict, out: Path) -> None:
    """Recall against the time of a query as more lists are read, a panel for each size of the gallery."""
    sizes = figures["sizes"]
    figure, axes = _pyplot().subplots(1, len(sizes), figsize=(4.6 * len(sizes), 4), squeeze=False, layout="constrained")
    styles = {"pq": OURS[0], "sq8": OTHERS[1]}
    for axis, entry in zip(axes[0], sizes, strict=True):
        for codes, color in styles.items():
            for candidates, searched in entry[codes]["searched"].items():
                points = searched["by_probes"]
                name = f"{codes}, codes alone" if candidates == "0" else f"{codes}, exact vectors of {candidates}"
                axis.plot(
                    [point["ms"]["one"]["median"] for point in points],
                    [100 * point["nearest_10"] for point in points],
                    marker="o",
                    markersize=3.5,
                    color=color,
                    linestyle="--" if candidates == "0" else "-",
                    label=name,
                )
        if "exact" in entry:
            axis.plot(entry["exact"]["ms"]["one"]["median"], 100, "k*", markersize=9, label="exact", linestyle="none")
        axis.set(
            xscale="log",
            ylim=(0, 102),
            xlabel="ms a query",
            ylabel="% of the ten nearest found",
            title=f"{entry['rows']:,} tracklets",
        )
        axis.grid(True, which="both", alpha=0.3)
    names = {}
    for axis in axes[0]:
        names |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(names.values(), names, frameon=False, fontsize=9, ncols=5, loc="outside lower center")
    save(figure, out)


def new_figure(panels: int, title: str):
    """A figure with panels side by side that share their vertical axis, and the panels."""
    figure, axes = _pyplot().subplots(
        1, panels, figsize=(1.2 + 2.9 * panels, 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    return figure, list(axes[0])


def save(figure, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130, bbox_inches="tight")
    _pyplot().close(figure)


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
