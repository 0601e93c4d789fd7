"""A table as Markdown, from the content of its JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from strf_cuda.ablation.provenance import in_words
from strf_cuda.ablation.results import percent, with_spread
from strf_cuda.markdown import aligned

COMPARED = ("mAP", "rank-1")
PAPER_NAMES = {"mars": "MARS", "duke": "DukeMTMC-VideoReID"}


def markdown(content: Mapping[str, Any]) -> str:
    """The table with its warning, notes and origin."""
    rows = content["rows"]
    footnotes: list[str] = []
    header, lines = _columns(rows, content["quoted"], content["paper_on"], footnotes)
    return "\n".join(
        [
            f"# {content['title']}\n",
            f"{content['source']}.\n",
            *(f"**{sentence}**\n" for sentence in warnings(content)),
            aligned(header, lines),
            "\n" + caption(content),
            *([reading] if (reading := beyond_chance(rows)) else []),
            "",
            *(f"[{number}] {text}.  " for number, text in enumerate(footnotes, start=1)),
            *(f"* {note}" for note in content["notes"]),
            f"\n{in_words(content)}\n",
        ]
    )


def warnings(content: Mapping[str, Any]) -> list[str]:
    """What forbids to compare these figures with the paper's."""
    has_paper = any(row["paper"] for row in content["rows"])
    if not has_paper:
        return []
    if content["data"] == "walkers":
        return [
            "These are walkers, drawn people: no figure here can be compared with the paper's, at most the direction "
            "of a difference, and only where it is larger than its spread."
        ]
    if content["data"] != content["paper_on"]:
        printed = PAPER_NAMES[content["paper_on"]]
        return [
            f"The paper's figures are for {printed}, and the runs are on {content['data']}: compare directions only."
        ]
    differing = [name for name in content["options"] if name not in ("preset", "data.name", "model.weights")]
    if content["options"]["preset"] != "paper" or differing:
        return [f"Not the paper's recipe: {', '.join(differing) or 'preset demo'}."]
    return []


def caption(content: Mapping[str, Any]) -> str:
    """How the figures are to be read."""
    most = most_runs(content)
    over = (
        f"mean ± standard deviation of {most} runs; differences are taken seed by seed" if most > 1 else "a single run"
    )
    known = content["chance_mAP"]
    chance = "" if known is None else f" A random ranking has mAP {percent(known)}."
    queries = content["queries"]
    steps = "" if not queries else f" {queries[0]:,} queries: one of them is {100 / queries[0]:.2f} of rank-1."
    return f"Percent, {over}.{chance}{steps}"


def most_runs(content: Mapping[str, Any]) -> int:
    """Of a row; rows of which some failed have fewer."""
    return max(len(row["runs"]) for row in content["rows"])


def beyond_chance(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which differences in mAP exceed what the seeds alone would explain, in words."""
    compared = [row for row in rows if row["difference"] and row["difference"]["mAP"]]
    known = [row for row in compared if row["difference"]["mAP"]["half_width_95"] is not None]
    if not compared:
        return ""
    if not known:
        return "One seed says nothing about the spread: any of these differences may be chance."
    clear = [
        f"{row['name']} ({'+' if row['difference']['mAP']['mean'] > 0 else '-'})"
        for row in known
        if abs(row["difference"]["mAP"]["mean"]) > row["difference"]["mAP"]["half_width_95"]
    ]
    return (
        f"Differences in mAP that lie outside the 95% interval of the seeds (Student's t): {len(clear)} of {len(known)}"
        f"{': ' + ', '.join(clear) if clear else ''}. One in twenty does by chance."
    )


def _columns(
    rows: Sequence[Mapping[str, Any]], quoted: Sequence[Mapping[str, Any]], data: str, footnotes: list[str]
) -> tuple[list[str], list[list[str]]]:
    full_size = any(row["parameters"] not in (None, row["parameters_at_full_size"]) for row in rows)
    printed = any(row["paper_parameters"] for row in rows)
    paper = any(row["paper"] for row in rows)
    header = ["", "parameters", *(["at full size"] if full_size else []), *(["paper, M"] if printed else [])]
    header += [*COMPARED, *(f"Δ {name}" for name in COMPARED)]
    if paper:
        where = PAPER_NAMES[data]
        header += [f"{where} mAP", "R@1", "Δ mAP", "Δ R@1"]
    by_name = {row["name"]: row for row in rows}
    lines = []
    for row in rows:
        line = [row["name"] + _marks([*row["failed"], *([row["note"]] if row["note"] else [])], footnotes)]
        line.append("-" if row["parameters"] is None else f"{row['parameters']:,}")
        line += [f"{row['parameters_at_full_size']:,}"] if full_size else []
        line += [row["paper_parameters"] or ""] if printed else []
        line += [with_spread(row["figures"][name]) for name in COMPARED]
        line += [signed(row["difference"] and row["difference"][name]) for name in COMPARED]
        if paper:
            baseline = by_name[row["baseline"]]["paper"] if row["baseline"] else {}
            line += _paper_cells(row["paper"].get(data), baseline.get(data), footnotes)
        lines.append(line)
    for model in quoted:
        more = f"about {model['more_parameters']:g} M more than STRF"
        empty = [""] * (len(header) - 5)
        line = [model["name"] + _marks([more], footnotes), *empty]
        lines.append([*line, *_paper_cells(model["paper"].get(data), None, footnotes)])
    return header, lines


def _paper_cells(own: Mapping[str, Any] | None, baseline: Mapping[str, Any] | None, footnotes: list[str]) -> list[str]:
    if own is None:
        return [""] * 4
    figures = ["" if own[name] is None else f"{own[name]:.1f}" for name in COMPARED]
    if own["source"]:
        figures[0] = (figures[0] + _marks([own["source"]], footnotes)).strip()
    changes = [
        f"{own[name] - baseline[name]:+.1f}" if baseline and None not in (own[name], baseline[name]) else ""
        for name in COMPARED
    ]
    return [*figures, *changes]


def signed(found: Mapping[str, Any] | None) -> str:
    """A difference with its spread, such as "+2.1 ± 0.8"."""
    if found is None:
        return ""
    return f"{100 * found['mean']:+.1f}" + ("" if found["std"] is None else f" ± {percent(found['std'])}")


def _marks(texts: Sequence[str], footnotes: list[str]) -> str:
    """Marks such as " [1]"; equal texts share one."""
    for text in texts:
        if text not in footnotes:
            footnotes.append(text)
    return "".join(f" [{footnotes.index(text) + 1}]" for text in texts)
