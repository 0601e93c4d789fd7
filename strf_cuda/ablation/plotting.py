"""A table as a picture, from the content of its JSON: this run on the left, the paper on the right.

Points instead of bars, since differences are small and an axis that does not begin at zero makes bars lie.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from strf_cuda.ablation.reporting import COMPARED, PAPER_NAMES, most_runs

STYLES = {"mAP": {"color": "#0b3c8c", "marker": "o"}, "rank-1": {"color": "#e08a1e", "marker": "D"}}
OFFSETS = {"mAP": -0.14, "rank-1": 0.14}  # of the two figures of a row, in rows
KIND_COLOURS = {"C2D": "#7f7f7f", "I3D": "#5f8f3e", "P3DC": "#0b3c8c"}
UNIT_MARKERS = {"": "o", "STRF": "*", "non-local": "s"}
QUOTED_COLOURS = ("#c0392b", "#8e5ea2")


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Writes the picture; the format follows the name of `path`."""
    figure = _over_parameters(content) if content["by_parameters"] else _by_row(content)
    figure.savefig(path, dpi=130)


def _by_row(content: Mapping[str, Any]) -> Figure:
    """A line for every row, with mAP and rank-1."""
    rows, data = content["rows"], content["paper_on"]
    has_paper = any(row["paper"] for row in rows)
    figure = Figure(figsize=(10.5 if has_paper else 7.5, 1.7 + 0.42 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2 if has_paper else 1, sharey=True, squeeze=False)[0]
    own = panels[0]
    for place, row in enumerate(rows):
        for name in COMPARED:
            _own_point(own, row, name, lambda value, at=place + OFFSETS[name]: (value, at), "xerr", STYLES[name])
    own.set(xlabel="%", title=_title(content))
    if has_paper:
        printed = panels[1]
        for place, row in enumerate(rows):
            figures = row["paper"].get(data, {})
            for name in COMPARED:
                if figures.get(name) is not None:
                    printed.plot(figures[name], place + OFFSETS[name], linestyle="", fillstyle="none", **STYLES[name])
            if figures.get("mAP") is None:
                printed.text(0.5, place, "not printed", transform=printed.get_yaxis_transform(), ha="center",
                             va="center", fontsize=8, color="#8a8a8a")  # fmt: skip
        printed.set(xlabel="%", title=f"paper, {PAPER_NAMES[data]}")
        _baseline_lines(printed, rows, lambda row: row["paper"].get(data, {}).get("mAP"))
    own.set_yticks(range(len(rows)), [row["name"] for row in rows])
    own.set_ylim(len(rows) - 0.5, -0.5)
    _baseline_lines(own, rows, lambda row: row["figures"]["mAP"] and 100 * row["figures"]["mAP"]["mean"])
    for panel in panels:
        panel.grid(True, axis="x", alpha=0.3)
        panel.margins(x=0.12)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    _legend(figure, content, [own.plot([], [], linestyle="", label=name, **STYLES[name])[0] for name in COMPARED])
    return figure


def _over_parameters(content: Mapping[str, Any]) -> Figure:
    """mAP against the number of parameters; a model has the same mark in both panels."""
    rows, data = content["rows"], content["paper_on"]
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    own, printed = figure.subplots(1, 2)
    handles = []
    for row in rows:
        kind, _, unit = row["name"].partition(" + ")
        style = {"color": KIND_COLOURS[kind], "marker": UNIT_MARKERS[unit]}
        handles.append(own.plot([], [], linestyle="", label=row["name"], **style)[0])
        if row["figures"]["mAP"] is not None:
            _own_point(own, row, "mAP", lambda value, at=row["parameters"] / 1e6: (at, value), "yerr", style)
        if (found := row["paper"].get(data)) and found["mAP"] is not None:
            printed.plot(row["parameters_at_full_size"] / 1e6, found["mAP"], linestyle="", **style)
    unit = next(row for row in rows if row["name"] == "P3DC + STRF")
    for model, colour in zip(content["quoted"], QUOTED_COLOURS, strict=True):
        millions = unit["parameters_at_full_size"] / 1e6 + model["more_parameters"]
        label = f"{model['name']}, about {millions:.0f} M"
        handles += printed.plot(
            millions, model["paper"][data]["mAP"], color=colour, marker="o", fillstyle="none", linestyle="", label=label
        )
    own.set(xlabel="million parameters", ylabel="mAP, %", title=_title(content))
    printed.set(xlabel="million parameters at full size", ylabel="mAP, %", title=f"paper, {PAPER_NAMES[data]}")
    for panel in (own, printed):
        panel.grid(True, alpha=0.3)
        panel.margins(0.1, 0.12)
        panel.spines[["top", "right"]].set_visible(False)
    _legend(figure, content, handles)
    return figure


def _own_point(
    panel: Axes,
    row: Mapping[str, Any],
    name: str,
    at: Callable[[float], tuple[float, float]],
    error: str,
    style: Mapping[str, Any],
) -> None:
    """The mean with its standard deviation, and every run as a faint dot."""
    found = row["figures"][name]
    if found is None:
        return
    if found["std"] is not None:
        for run in row["runs"]:
            if run[name] is not None:
                panel.plot(*at(100 * run[name]), alpha=0.3, markersize=3, linestyle="", **style)
    spread = {} if found["std"] is None else {error: 100 * found["std"]}
    panel.errorbar(*at(100 * found["mean"]), capsize=3, markersize=6, linestyle="", **style, **spread)


def _baseline_lines(panel: Axes, rows: Sequence[Mapping[str, Any]], mAP: Callable[[Mapping], float | None]) -> None:
    """The mAP of each baseline as a dashed line along the rows that are compared with it."""
    for place, row in enumerate(rows):
        followers = [at for at, other in enumerate(rows) if other["baseline"] == row["name"]]
        value = mAP(row)
        if followers and value is not None:
            ends = (min(place, *followers) - 0.3, max(place, *followers) + 0.3)
            panel.plot((value, value), ends, color=STYLES["mAP"]["color"], linestyle="--", linewidth=1, alpha=0.6)


def _title(content: Mapping[str, Any]) -> str:
    most = most_runs(content)
    return f"{content['data']}, {most} run{'s' if most > 1 else ''} a row"


def _legend(figure: Figure, content: Mapping[str, Any], handles: Sequence[Artist]) -> None:
    figure.suptitle(f"{content['title']} ({content['source']})", fontsize=11)
    chance = content["chance_mAP"]
    labels = [
        *(["dots: single runs, bars: their standard deviation"] if most_runs(content) > 1 else []),
        *(["dashed: the baseline's mAP"] if not content["by_parameters"] else []),
        *([f"a random ranking has mAP {100 * chance:.1f}"] if chance is not None else []),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False, fontsize=9,
                  title="; ".join(labels), title_fontsize=8)  # fmt: skip
