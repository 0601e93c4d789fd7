"""Times the opening of a full-size MARS: 1,191,003 empty frames with exactly the official counts.

    python -m bench.index [--cold]

Builds the tree in a temporary folder (needs 1.2 million inodes), opens it in fresh processes, by reading it and from
the cached index, deletes it, and writes bench/results/index.json. With --cold, Linux is asked to forget the folders and
files it knows before the first run of each kind (needs root). Where strace is installed, the system calls on the data
set are counted: on a network file system each may cost a round trip.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.io import savemat

from bench.machine import REPOSITORY, write_result
from strf_cuda.data.witnesses import SETTLED_NANOSECONDS
from strf_cuda.markdown import aligned

# What is timed in a process of its own: reading, reading and keeping the index, and opening from the index.
KINDS = {
    "read": "MARS(root)",
    "read and kept": "open_dataset('mars', root)",
    "from the cache": "open_dataset('mars', root)",
}
TIMED = """
import json, pickle, resource, sys, time
start = time.perf_counter()
from strf_cuda.data import MARS, open_dataset
root = sys.argv[1]
imported = time.perf_counter()
data = {opening}
opened = time.perf_counter()
size = len(pickle.dumps((data.train, data.gallery)))
print(json.dumps({{
    "import_seconds": imported - start,
    "seconds": opened - imported,
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "pickled_mb": size / 1e6,
    "frames": sum(map(len, data.train)) + sum(map(len, data.gallery)),
    "notes": data.notes,
}}))
"""
WARM_RUNS = 5


def spread(total: int, count: int) -> list[int]:
    """`count` whole numbers that differ by one at most and add up to `total`."""
    return [total // count + (index < total % count) for index in range(count)]


def training_rows() -> list[tuple[int, int, int]]:
    """(frames, person, camera) of 8,298 tracklets of 625 people; lengths as officially distributed."""
    lengths = [5] + [20] * 3_905 + [36] * 300 + [900]
    lengths += spread(509_914 - sum(lengths), 8_298 - len(lengths))
    return sorted(
        ((length, 2 * (index % 625) + 1, index // 625 % 6 + 1) for index, length in enumerate(lengths)),
        key=lambda row: row[1:],
    )


def test_people() -> list[list[int]]:
    """Tracklets by camera for each test person, so that the official numbers of matches and junk pairs come out.

    70 people have one tracklet in each of two cameras (140 queries that match queries only). 556 have at least two in
    each of their cameras; what is left is dealt out among those with 2, 6 and 3 cameras. Eight are never queried.
    """
    alone = [[1, 1] for _ in range(70)]
    two, six, three, five = [[2] * 2 for _ in range(373)], [[2] * 6 for _ in range(181)], [[2] * 3], [[2] * 5]
    for people, extra in ((two, 2_963), (six, 1_260), (three, 3)):
        for index in range(extra):
            person = people[index % len(people)]
            person[index // len(people) % len(person)] += 1
    return alone + two + six + three + five


def test_rows() -> tuple[list[tuple[int, int, int]], list[int]]:
    """(frames, person, camera) of 12,180 rows, and the 1,980 queries among them, 1-based."""
    people = [(-1, index % 6 + 1) for index in range(870)] + [(0, index % 6 + 1) for index in range(3_248)]
    queries = []
    for index, cameras in enumerate(test_people()):
        for camera, count in enumerate(cameras, start=1):
            queries.append(len(people) + 1)
            people += [(2 * index + 2, camera)] * count
    for index in range(626, 634):
        people += [(2 * index + 2, 1)] * 2
    clips = iter(spread(168_487, 11_310))
    padding = iter([3] * 5_413 + [0] * 5_897)
    junk = iter(spread(23_380, 870))
    lengths = [next(junk) if person == -1 else 4 * next(clips) - next(padding) for person, _ in people]
    return [(length, *row) for length, row in zip(lengths, people, strict=True)], queries


def write_split(root: Path, name: str, rows: list[tuple[int, int, int]]) -> None:
    """The empty frames of one split, their list, and their rows."""
    names, info, tracklets = [], [], {}
    for length, person, camera in rows:
        label = f"{person:04d}" if person >= 0 else "00-1"
        folder = root / f"bbox_{name}" / label
        if label not in tracklets:
            folder.mkdir(parents=True)
        tracklets[label] = tracklets.get(label, 0) + 1
        info.append((len(names) + 1, len(names) + length, person, camera))
        for frame in range(1, length + 1):
            names.append(f"{label}C{camera}T{tracklets[label]:04d}F{frame:03d}.jpg")
            os.close(os.open(folder / names[-1], os.O_CREAT | os.O_WRONLY))
    (root / "info" / f"{name}_name.txt").write_text("\n".join(names) + "\n")
    savemat(root / "info" / f"tracks_{name}_info.mat", {f"track_{name}_info": np.array(info, dtype=np.int32)})


def build(root: Path) -> None:
    """The whole tree."""
    (root / "info").mkdir()
    rows, queries = test_rows()
    write_split(root, "train", training_rows())
    write_split(root, "test", rows)
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([queries], dtype=np.uint16)})


def command(kind: str, root: Path, cache: Path) -> tuple[list[str], dict[str, str]]:
    """The process that opens the tree, and its environment; of the two ways to read it neither finds an index."""
    if kind != "from the cache":
        shutil.rmtree(cache, ignore_errors=True)
    script = TIMED.format(opening=KINDS[kind])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(cache)}
    return [sys.executable, "-c", script, str(root)], environment


def timed_run(kind: str, root: Path, cache: Path, forget: bool = False) -> dict:
    """Opens the tree in a process of its own."""
    words, environment = command(kind, root, cache)
    if forget:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    return json.loads(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout)


def system_calls(kind: str, root: Path, cache: Path) -> dict[str, int]:
    """How often the process asks the system for something on a file or folder of the tree, by the call's name."""
    words, environment = command(kind, root, cache)
    with tempfile.NamedTemporaryFile("r", errors="replace") as log:
        trace = ["strace", "-f", "-y", "-e", "trace=%file,%desc", "-o", log.name]
        subprocess.run([*trace, *words], env=environment, check=True, capture_output=True)
        counts = Counter(line.split(None, 1)[1].partition("(")[0] for line in log if str(root) in line)
    counts.pop("execve", None)
    return dict(counts.most_common())


def table(figures: dict) -> str:
    """The figures as docs/data.md has them."""
    rows = []
    for kind, runs in figures["runs"].items():
        warm = [run["seconds"] for name, run in runs.items() if name.startswith("warm")]
        calls = figures["system_calls"] and sum(figures["system_calls"][kind].values())
        rows.append(
            [
                kind,
                f"{runs['cold']['seconds']:.2f} s" if "cold" in runs else "-",
                f"{statistics.median(warm):.2f} s ({min(warm):.2f}-{max(warm):.2f})",
                f"{max(run['peak_memory_mb'] for run in runs.values()):.0f} MB",
                f"{calls:,}" if calls else "-",
            ]
        )
    return aligned(["", "nothing in memory", "warm", "peak memory", "system calls on the tree"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="forget cached folders before the first runs (needs root)")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mars-shaped-"))
    root, cache = work / "MARS", work / "cache"
    try:
        start = time.perf_counter()
        root.mkdir()
        build(root)
        print(f"tree built in {time.perf_counter() - start:.0f} s", flush=True)
        time.sleep(2 * SETTLED_NANOSECONDS / 1e9)  # an index is kept of folders that are older than that
        runs = {}
        for kind in KINDS:
            runs[kind] = {"cold" if arguments.cold else "first": timed_run(kind, root, cache, arguments.cold)}
            for index in range(1, WARM_RUNS + 1):
                runs[kind][f"warm {index}"] = timed_run(kind, root, cache)
        calls = {kind: system_calls(kind, root, cache) for kind in KINDS} if shutil.which("strace") else None
        kept = next((cache / "strf_cuda" / "index").iterdir()).stat().st_size
    finally:
        shutil.rmtree(work)
    figures = {"runs": runs, "index_mb": kept / 1e6, "system_calls": calls}
    write_result("index", "opening 1,191,003 empty files with the official counts of MARS", ("numpy", "scipy"), figures)
    print(table(figures))


if __name__ == "__main__":
    main()
