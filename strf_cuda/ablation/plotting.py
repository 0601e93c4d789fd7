"""A table as a picture, from the content of its JSON: this run on the left, the paper on the right.

Points instead of bars, since differences are small and an axis that does not begin at zero makes bars lie.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from strf_cuda.ablation.reporting import COMPARED, PAPER_NAMES, most_runs
from strf_cuda.ablation.tables import paper_data

COLOURS = {"mAP": "#0b3c8c", "rank-1": "#e08a1e"}
MARKERS = {"mAP": "o", "rank-1": "D"}
OFFSETS = {"mAP": -0.14, "rank-1": 0.14}  # of the two figures of a row, in rows


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Writes the picture; the format follows the name of `path`."""
    figure = _over_parameters(content) if content["by_parameters"] else _by_row(content)
    figure.savefig(path, dpi=130)


def _by_row(content: Mapping[str, Any]) -> Figure:
    """A line for every row, with mAP and rank-1."""
    rows, data = content["rows"], paper_data(content["data"])
    has_paper = any(row["paper"] for row in rows)
    figure = Figure(figsize=(10.5 if has_paper else 7.5, 1.7 + 0.42 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2 if has_paper else 1, sharey=True, squeeze=False)[0]
    own = panels[0]
    for place, row in enumerate(rows):
        for name in COMPARED:
            _own_point(own, row, name, lambda value, at=place + OFFSETS[name]: (value, at), "xerr")
    own.set(xlabel="%", title=_title(content))
    if has_paper:
        printed = panels[1]
        for place, row in enumerate(rows):
            figures = row["paper"].get(data, {})
            for name in COMPARED:
                if figures.get(name) is not None:
                    style = {"color": COLOURS[name], "marker": MARKERS[name], "fillstyle": "none"}
                    printed.plot(figures[name], place + OFFSETS[name], linestyle="", **style)
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
    _legend(figure, content)
    return figure


def _over_parameters(content: Mapping[str, Any]) -> Figure:
    """mAP against the number of parameters."""
    rows, data = content["rows"], paper_data(content["data"])
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    own, printed = figure.subplots(1, 2)
    for row in rows:
        if row["figures"]["mAP"] is not None:
            millions = row["parameters"] / 1e6
            _own_point(own, row, "mAP", lambda value, at=millions: (at, value), "yerr")
            _name(own, row["name"], millions, 100 * row["figures"]["mAP"]["mean"])
        found = row["paper"].get(data)
        if found and found["mAP"] is not None:
            _paper_point(printed, row["name"], row["parameters_at_full_size"] / 1e6, found["mAP"], filled=True)
    unit = next((row for row in rows if row["name"] == "P3DC + STRF"), None)
    for model in content["quoted"]:
        millions = unit["parameters_at_full_size"] / 1e6 + model["more_parameters"]
        _paper_point(printed, model["name"], millions, model["paper"][data]["mAP"], filled=False)
    own.set(xlabel="million parameters", ylabel="mAP, %", title=_title(content))
    printed.set(xlabel="million parameters", ylabel="mAP, %", title=f"paper, {PAPER_NAMES[data]}")
    for panel in (own, printed):
        panel.grid(True, alpha=0.3)
        panel.margins(0.22, 0.16)
        panel.spines[["top", "right"]].set_visible(False)
    _legend(figure, content, "open circles: parameters as section 4.3 says, about")
    return figure


def _own_point(
    panel: Axes, row: Mapping[str, Any], name: str, at: Callable[[float], tuple[float, float]], error: str
) -> None:
    """The mean with its standard deviation, and every run as a faint dot."""
    found = row["figures"][name]
    if found is None:
        return
    style = {"color": COLOURS[name], "marker": MARKERS[name]}
    if found["std"] is not None:
        for run in row["runs"]:
            if run[name] is not None:
                panel.plot(*at(100 * run[name]), alpha=0.3, markersize=3, linestyle="", **style)
    spread = {} if found["std"] is None else {error: 100 * found["std"]}
    panel.errorbar(*at(100 * found["mean"]), capsize=3, markersize=6, linestyle="", **style, **spread)


def _paper_point(panel: Axes, name: str, millions: float, mAP: float, filled: bool) -> None:
    panel.plot(millions, mAP, color=COLOURS["mAP"], marker="o", linestyle="", fillstyle="full" if filled else "none")
    _name(panel, name, millions, mAP)


def _name(panel: Axes, name: str, x: float, y: float) -> None:
    panel.annotate(name, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8)


def _baseline_lines(panel: Axes, rows: Sequence[Mapping[str, Any]], mAP: Callable[[Mapping], float | None]) -> None:
    """The mAP of each baseline as a dashed line along the rows that are compared with it."""
    for place, row in enumerate(rows):
        followers = [at for at, other in enumerate(rows) if other["baseline"] == row["name"]]
        value = mAP(row)
        if followers and value is not None:
            ends = (min(place, *followers) - 0.3, max(place, *followers) + 0.3)
            panel.plot((value, value), ends, color=COLOURS["mAP"], linestyle="--", linewidth=1, alpha=0.6)


def _title(content: Mapping[str, Any]) -> str:
    most = most_runs(content)
    return f"{content['data']}, {most} run{'s' if most > 1 else ''} a row"


def _legend(figure: Figure, content: Mapping[str, Any], more: str | None = None) -> None:
    figure.suptitle(f"{content['title']} ({content['source']})", fontsize=11)
    handles = [
        figure.axes[0].plot([], [], color=COLOURS[name], marker=MARKERS[name], linestyle="", label=name)[0]
        for name in (COMPARED if not content["by_parameters"] else COMPARED[:1])
    ]
    chance = content["chance_mAP"]
    labels = [
        *(["dots: single runs, bars: their standard deviation"] if most_runs(content) > 1 else []),
        *(["dashed: the baseline's mAP"] if not content["by_parameters"] else []),
        *([f"a random ranking has mAP {100 * chance:.1f}"] if chance is not None else []),
        *([more] if more else []),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9,
                  title="; ".join(labels), title_fontsize=8)  # fmt: skip
