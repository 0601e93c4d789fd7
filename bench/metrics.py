"""Times what follows the embeddings in an evaluation of MARS: 1,980 queries against 11,310 gallery tracklets.

    python -m bench.metrics

The ranking metrics alone, on distances of various kinds; then all steps from 2048-dimensional features on, plain and
re-ranked. Each runs in a fresh process on made-up features, so that its peak memory beside its input can be read;
writes bench/results/metrics.json. The goal is 2 seconds on 2 cores and 1 GB for the steps without re-ranking.
"""

import json
import os
import statistics
import subprocess
import sys

from bench.machine import REPOSITORY, write_result

MADE_UP = """
import json, resource, sys, time
import numpy as np

random = np.random.default_rng(0)
gallery_ids = np.concatenate([random.integers(1, 627, 8_062), np.zeros(3_248, dtype=np.int64)])
gallery_cameras = random.integers(1, 7, 11_310)
queries = random.choice(8_062, 1_980, replace=False)
identities = (gallery_ids[queries], gallery_ids, gallery_cameras[queries], gallery_cameras)

def made_up(size):
    features = random.standard_normal((11_310, size), dtype=np.float32)
    for start in range(0, 11_310, 1_000):  # some at a time, or this would set the peak
        rows = slice(start, start + 1_000)
        features[rows] += random.standard_normal((627, size), dtype=np.float32)[gallery_ids[rows]]
        features[rows] /= np.linalg.norm(features[rows], axis=1, keepdims=True)
    return features

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""
RANKING = """
from strf_cuda import metrics

features = made_up(64).astype(sys.argv[2])
distances = features[queries] @ features.T
np.subtract(1, distances, out=distances)
if sys.argv[3] == "all equal":
    distances[:] = 0.5
before, start = peak(), time.perf_counter()
getattr(metrics, sys.argv[1])(distances, *identities)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "input_mb": distances.nbytes / 1e6, "extra_memory_mb": peak() - before}))
"""
EVALUATION = """
import torch
from strf_cuda.embedding import cosine_distances
from strf_cuda.metrics import chance_mAP, evaluate_ranking, top_matches
from strf_cuda.reranking import rerank

features = torch.from_numpy(made_up(2048))
steps, last = {}, [0.0]

def passed(step):
    now = time.perf_counter()
    steps[step], last[0] = now - last[0], now

before, last[0] = peak(), time.perf_counter()
if sys.argv[1] == "plain":
    distances = cosine_distances(features[queries], features).numpy()
else:
    distances = rerank(features.numpy(), queries, np.arange(11_310))
passed("distances")
evaluate_ranking(distances, *identities)
passed("evaluate_ranking")
chance_mAP(*identities)
passed("chance_mAP")
top_matches(distances, *identities)
passed("top_matches")
seconds, extra = sum(steps.values()), peak() - before
print(json.dumps({"seconds": seconds, "steps": steps, "input_mb": features.nbytes / 1e6, "extra_memory_mb": extra}))
"""
RANKINGS = [
    ("evaluate_ranking", "float32", "made-up features"),
    ("evaluate_ranking", "float64", "made-up features"),
    ("evaluate_ranking", "float32", "all equal"),
    ("top_matches", "float32", "made-up features"),
]
EVALUATIONS = ("plain", "re-ranked")


def timed_runs(code: str, *arguments: str) -> dict:
    """Median and best time of five processes, and the largest memory of any."""
    command = [sys.executable, "-c", MADE_UP + code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    runs = [
        json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    seconds = sorted(run["seconds"] for run in runs)
    result = {
        "seconds_median": seconds[2],
        "seconds_best": seconds[0],
        "input_mb": runs[0]["input_mb"],
        "extra_memory_mb": max(run["extra_memory_mb"] for run in runs),
    }
    if "steps" in runs[0]:
        result["steps_median"] = {
            step: statistics.median(run["steps"][step] for run in runs) for step in runs[0]["steps"]
        }
    return result


def main() -> None:
    rankings = [
        {"function": case[0], "distances": f"{case[1]}, {case[2]}", **timed_runs(RANKING, *case)} for case in RANKINGS
    ]
    for run in rankings:
        print(f"{run['function']}, {run['distances']}: {figures(run)}")
    evaluations = {case: timed_runs(EVALUATION, case) for case in EVALUATIONS}
    for case, run in evaluations.items():
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in run["steps_median"].items())
        print(f"all steps from features on, {case}: {figures(run)} ({steps})")
    what = "what follows the embeddings, 1,980 queries x 11,310 gallery tracklets (goal: 2 s on 2 cores, 1 GB)"
    versions = ("numpy", "scipy", "torch")
    write_result("metrics", what, versions, {"runs": rankings, "evaluation": evaluations})


def figures(run: dict) -> str:
    """Time and memory of a run, in words."""
    return f"{run['seconds_median']:.2f} s, {run['extra_memory_mb']:.0f} MB beside the input"


if __name__ == "__main__":
    main()
