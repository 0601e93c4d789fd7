"""How large the page of `strf_cuda.visualize report` is at MARS's size, how long it takes, and how it is in a browser.

    python -m bench.report

2,000 queries, the ten nearest of each among 12,000 tracklets, on made-up distances. The tracklets are pieces of those
of a few walkers, 256x128 pixels. Needs playwright and a Chromium on the PATH; writes bench/results/report.json, which
the table in docs/report.md shows.
"""

import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import write_result
from strf_cuda.config import ProtocolConfig, TrainConfig
from strf_cuda.data import MARS, Tracklet, TrackletDataset
from strf_cuda.data.walkers import WalkersConfig, make_walkers
from strf_cuda.evaluation import rank
from strf_cuda.models import create_model
from strf_cuda.trained import TrainedModel
from strf_cuda.visualization.page.content import page_content, rankings
from strf_cuda.visualization.page.history import run_history
from strf_cuda.visualization.page.loops import fitting_loop, strips
from strf_cuda.visualization.page.writing import write_page
from strf_cuda.visualization.report import ReportConfig

QUERIES, GALLERY, PEOPLE = 2_000, 12_000, 626
WALKERS = WalkersConfig(train_people=8, test_people=8, gait_groups=1, pace_groups=0, height=256, width=128)
SHORTEST = 20  # frames of a piece
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SCROLLS = 30


def made_up(source: list[Tracklet]) -> tuple[TrackletDataset, np.ndarray]:
    """A data set of pieces of tracklets, and distances [Q, G] that find most people."""
    random = np.random.default_rng(0)
    tracklets = []
    for index in range(GALLERY):
        whole = source[index % len(source)]
        first = index // len(source) % (len(whole) - SHORTEST)
        tracklets.append(replace(whole, paths=whole.paths[first:], person_id=index % PEOPLE + 1))
    persons = np.array([tracklet.person_id for tracklet in tracklets])
    distances = random.random((QUERIES, GALLERY), dtype=np.float32)
    distances += np.float32(0.6) * (persons[:QUERIES, None] != persons)
    return TrackletDataset("made up", [], tracklets[:QUERIES], tracklets), distances / 2


def written(path: Path, dataset: TrackletDataset, distances: np.ndarray) -> dict[str, Any]:
    """Writes the page as the command does; sizes, and seconds of what follows the evaluation."""
    evaluation = rank(dataset, distances)
    config = ReportConfig(checkpoint="made up")
    model = create_model("p3dc", PEOPLE, width=16, depth=(1, 1, 1, 1)).eval()
    trained = TrainedModel(model, TrainConfig(), config.checkpoint)
    started = time.monotonic()
    shown = rankings(evaluation, config.top)
    data = trained.config.data
    shape = (data.height, data.width)
    loop = fitting_loop(shown.tracklets, config.loop_frames, data.stride, shape, None, config.megabytes * 750_000)
    content = page_content(trained, data, ProtocolConfig(), evaluation, shown, loop, run_history(None))
    prepared, before = time.monotonic(), _processor_seconds()
    write_page(path, content, strips(shown.tracklets, loop))
    return {
        "queries": len(shown.queries),
        "tracklets": len(shown.tracklets),
        "megabytes": path.stat().st_size / 1e6,
        "loop": {"frames": loop.frames, "height": loop.height, "width": loop.width, "quality": loop.quality},
        "seconds_without_pictures": prepared - started,
        "seconds_of_pictures": time.monotonic() - prepared,
        "processor_seconds_of_pictures": _processor_seconds() - before,
    }


def _processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def browsed(path: Path) -> dict[str, Any]:
    """Times in milliseconds and memory in MB of the page in a headless browser."""
    from playwright.sync_api import sync_playwright  # not needed to read what was measured

    executable = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        session = browser.new_browser_cdp_session()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri())
        found = {
            "browser": browser.version,
            **page.evaluate(
                """() => ({
                    first_paint: performance.getEntriesByType('paint')[0].startTime,
                    interactive: performance.getEntriesByType('navigation')[0].domInteractive,
                    loaded: performance.getEntriesByType('navigation')[0].loadEventEnd,
                })"""
            ),
            **_used(page),
        }
        scripts = page.context.new_cdp_session(page)
        scripts.send("HeapProfiler.collectGarbage")
        found["heap_megabytes"] = scripts.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        resident = [_resident(process["id"]) for process in processes if process["type"] == "renderer"]
        found["renderer_megabytes"] = max(resident)
        browser.close()
    return found


def _used(page: Any) -> dict[str, float]:
    """The slowest of several uses, from the call to the layout."""
    return page.evaluate(
        """async (scrolls) => {
            const timed = (act) => {
                const started = performance.now();
                act();
                document.body.offsetHeight;
                return performance.now() - started;
            };
            const sort = Math.max(...['worst', 'late', 'near'].map((sort) => timed(() => change({ sort }))));
            const search = timed(() => change({ person: '12' }));
            change({ person: '' });
            const moves = [];
            for (let index = 1; index <= scrolls; index += 1) {
                moves.push(timed(() => { scrollTo(0, document.body.scrollHeight * index / scrolls); drawRows(); }));
                await new Promise((resolve) => setTimeout(resolve, 50));
            }
            const elements = document.querySelectorAll('body *:not(script)').length;
            return { sort, search, jump: moves.sort((one, other) => one - other)[scrolls / 2], elements };
        }""",
        SCROLLS,
    )


def _resident(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(result: dict[str, Any]) -> str:
    """The table of docs/report.md."""
    page, use = result["page"], result["browser"]
    loop = page["loop"]
    rows = [
        ("size of the file", f"{page['megabytes']:.0f} MB"),
        (
            "pictures",
            f"{page['tracklets']:,} loops of {loop['frames']} frames, {loop['height']}x{loop['width']}, "
            f"quality {loop['quality']}",
        ),
        (
            "written, after the evaluation",
            f"{page['processor_seconds_of_pictures']:.0f} s of processor time for the pictures, which all cores share; "
            f"{page['seconds_without_pictures']:.1f} s for all else",
        ),
        ("first paint", f"{use['first_paint'] / 1000:.1f} s"),
        ("all pictures read, fully usable", f"{use['interactive'] / 1000:.1f} s"),
        ("another order, another search", f"{use['sort']:.0f} ms, {use['search']:.0f} ms"),
        ("a jump to another place in the list", f"{use['jump']:.0f} ms"),
        ("elements in the document", f"{use['elements']:,}"),
        (
            "memory",
            f"{use['heap_megabytes']:.0f} MB of JavaScript, {use['renderer_megabytes']:.0f} MB for the browser's "
            "process of the page, after thirty jumps",
        ),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = make_walkers(Path(folder) / "walkers", WALKERS, workers=os.cpu_count() or 1)
        walkers = MARS(root)
        dataset, distances = made_up([*walkers.train, *walkers.gallery])
        path = Path(folder) / "report.html"
        load = os.getloadavg()[0]
        result = {"load": load, "page": written(path, dataset, distances), "browser": browsed(path)}
    what = f"the report of {QUERIES:,} queries, ten answers each, among {GALLERY:,} tracklets"
    write_result("report", what, ("numpy", "pillow", "playwright"), result)
    print(table(result))


if __name__ == "__main__":
    main()
