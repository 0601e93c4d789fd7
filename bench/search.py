"""Times search in galleries of many sizes, exact and compressed, and measures what the compressed ones find.

    python -m bench.search                                   # 10 thousand, 1 million and 10 million tracklets
    python -m bench.search --rows 10000 --out /tmp/small.json

The embeddings are made up (bench/made_up_embeddings.py). Up to 1 million they are written to embeddings files in a
temporary folder, 8.2 GB of them, and searched exactly as well; beyond, they are drawn from a seed block by block, coded
and forgotten, and what is nearest to the queries is found on the way. Queries are further tracklets of people in the
gallery. Recall is the share of the ten nearest that are among the ten found.

Every gallery is built and searched in a process of its own. Writes bench/results/search.json and search.png after each
size; given again, it goes on with the sizes that are missing there.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.galleries import Task, alone, build, search_compressed, search_exactly, write_files
from bench.machine import RESULTS, write_result
from bench.plots import draw, plot_search
from strf_cuda.markdown import aligned

SIZES = (10_000, 1_000_000, 10_000_000)
KEPT = 1_000_000  # rows; more are not written to the disk
CODES = ("pq", "sq8")
CANDIDATES = (0, 200)
_BYTES_A_ROW = {True: 9_500, False: 1_300}  # on the disk at most, by whether vectors are kept


def measure(task: Task, on_step=lambda name: None) -> dict:
    """The figures of one size, an entry for each gallery."""
    entry = {"rows": task.rows, "vectors": "in embeddings files" if task.kept else "drawn, kept nowhere"}
    if task.kept:
        on_step("writing embeddings")
        entry["files"] = alone(write_files, task)
        on_step("exact search")
        entry["exact"] = alone(search_exactly, task)
    for codes in CODES:
        on_step(f"building {codes}")
        entry[codes] = {"built": alone(build, task, codes), "searched": {}}
        for candidates in CANDIDATES if task.kept else (0,):
            on_step(f"searching {codes}, {candidates} exact")
            entry[codes]["searched"][str(candidates)] = alone(search_compressed, task, codes, candidates)
    return entry


def lines(figures: dict) -> list[list[str]]:
    """The rows of the table in docs/searching.md."""
    found = []
    for entry in figures["sizes"]:
        rows = f"{entry['rows']:,}"
        if "exact" in entry:
            exact = entry["exact"]
            files = entry["files"]["bytes"]
            sizes = [_size(files, entry["rows"]), f"{exact['memory_mb']:,.0f} MB"]
            found.append([rows, "exact", "-", *_searched(exact, exact["right_exactly"]), *sizes])
        for codes in CODES:
            built = entry[codes]["built"]
            spent = sum(built["seconds"].values())
            for candidates, searched in entry[codes]["searched"].items():
                default = next(one for one in searched["by_probes"] if one["probes"] == searched["default_probes"])
                name = f"{codes}, exact vectors of {candidates}" if candidates != "0" else f"{codes}, codes alone"
                sizes = [_size(built["bytes"], entry["rows"]), f"{searched['memory_mb']:,.0f} MB"]
                found.append([rows, name, f"{spent:,.0f} s", *_searched(default, default["right"]), *sizes])
    return found


def table(figures: dict) -> str:
    """The table as docs/searching.md has it."""
    header = [
        "tracklets", "search", "built in", "ms a query", "of 100 at once", "nearest first", "of the ten nearest",
        "right person", "on the disk", "memory",
    ]  # fmt: skip
    return aligned(header, lines(figures))


def _searched(figures: dict, right: float) -> list[str]:
    times = [figures["ms"]["one"]["median"], figures["ms"]["of_100"]]
    shares = [figures["rank_1"], figures["nearest_10"], right]
    return [*(f"{time:.3g}" for time in times), *(f"{100 * share:.1f}" for share in shares)]


def _size(size: int, rows: int) -> str:
    return f"{size / 1e6:,.0f} MB, {size / rows:,.0f} B each"


def main(argv: Sequence[str] | None = None) -> None:
    from bench.options import positive  # brings torch, which the processes that are measured do without

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive, nargs="+", default=list(SIZES))
    parser.add_argument("--queries", type=positive, default=200)
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="for the galleries, with 14 GB free; a temporary one unless given")
    parser.add_argument("--out", type=Path, default=RESULTS / "search.json", help="the plot goes beside it")
    parser.add_argument("--again", action="store_true", help="measure the sizes that are in the file anew")
    options = parser.parse_args(argv)
    load = round(os.getloadavg()[0], 1)  # of other programs
    figures = {"queries": options.queries, "threads": options.threads, "load_before": load, "sizes": []}
    if options.out.is_file():
        before = json.loads(options.out.read_text())
        if all(before[name] == figures[name] for name in ("queries", "threads")):
            figures["sizes"] = [one for one in before["sizes"] if not (options.again and one["rows"] in options.rows)]
    for rows in sorted(set(options.rows) - {one["rows"] for one in figures["sizes"]}):
        _measure_size(rows, figures, options)
        figures["sizes"].sort(key=lambda one: one["rows"])
        what = "search in galleries of made-up embeddings of 2048 numbers"
        write_result("search", what, ("faiss-cpu", "numpy"), figures, out=options.out)
        draw(plot_search, figures, options.out.with_suffix(".png"))
    print(table(figures))


def _measure_size(rows: int, figures: dict, options: argparse.Namespace) -> None:
    kept = rows <= KEPT
    with tempfile.TemporaryDirectory(prefix="search-", dir=options.folder) as folder:
        needed, free = rows * _BYTES_A_ROW[kept], shutil.disk_usage(folder).free
        if needed > free:
            raise SystemExit(f"{folder} has {free / 1e9:.0f} GB free, but {needed / 1e9:.0f} GB are needed: --folder")
        task = Task(rows, Path(folder), kept, min(options.queries, rows // 10), options.threads)
        with tqdm(bar_format="{desc} [{elapsed}]", disable=None, leave=False) as bar:
            figures["sizes"].append(measure(task, lambda name: bar.set_description_str(f"{rows:,} tracklets: {name}")))


if __name__ == "__main__":
    main()
