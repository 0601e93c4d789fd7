"""Times the ranking metrics at the size of a full MARS evaluation: 1,980 queries against 11,310 gallery tracklets.

    python -m bench.metrics

Each function runs in a fresh process on made-up features, so that its peak memory beside the distance matrix can be
read; writes bench/results/metrics.json. The goal is 2 seconds on 2 cores and 1 GB.
"""

import json
import os
import subprocess
import sys

from bench.machine import REPOSITORY, write_result

TIMED = """
import json, resource, sys, time
import numpy as np
from strf_cuda import metrics

random = np.random.default_rng(0)
gallery_ids = np.concatenate([random.integers(1, 627, 8_062), np.zeros(3_248, dtype=np.int64)])
gallery_cameras = random.integers(1, 7, 11_310)
queries = random.choice(8_062, 1_980, replace=False)
features = random.standard_normal((11_310, 64), dtype=np.float32)
features += random.standard_normal((627, 64), dtype=np.float32)[gallery_ids]
features /= np.linalg.norm(features, axis=1, keepdims=True)
features = features.astype(sys.argv[2])
distances = features[queries] @ features.T
np.subtract(1, distances, out=distances)  # in place, or this line would set the peak
if sys.argv[3] == "all equal":
    distances[:] = 0.5

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, start = peak(), time.perf_counter()
getattr(metrics, sys.argv[1])(distances, gallery_ids[queries], gallery_ids, gallery_cameras[queries], gallery_cameras)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "matrix_mb": distances.nbytes / 1e6, "extra_memory_mb": peak() - before}))
"""
CASES = [
    ("evaluate_ranking", "float32", "made-up features"),
    ("evaluate_ranking", "float64", "made-up features"),
    ("evaluate_ranking", "float32", "all equal"),
    ("top_matches", "float32", "made-up features"),
]


def timed_run(case: tuple[str, str, str]) -> dict:
    """Median and best time of five processes, and the largest memory of any."""
    command = [sys.executable, "-c", TIMED, *case]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    runs = [
        json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    seconds = sorted(run["seconds"] for run in runs)
    return {
        "function": case[0],
        "distances": f"{case[1]}, {case[2]}",
        "seconds_median": seconds[2],
        "seconds_best": seconds[0],
        "matrix_mb": runs[0]["matrix_mb"],
        "extra_memory_mb": max(run["extra_memory_mb"] for run in runs),
    }


def main() -> None:
    runs = [timed_run(case) for case in CASES]
    what = "ranking metrics, 1,980 queries x 11,310 gallery tracklets (goal: 2 s on 2 cores, 1 GB)"
    write_result("metrics", what, ("numpy",), {"runs": runs})
    for run in runs:
        name = f"{run['function']}, {run['distances']}"
        print(f"{name}: {run['seconds_median']:.2f} s, {run['extra_memory_mb']:.0f} MB beside the matrix")


if __name__ == "__main__":
    main()
