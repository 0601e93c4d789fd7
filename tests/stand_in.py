"""Stands in for the processes of the commands that run many trainings: figures at once, and faults on demand.

    python stand_in.py PLAN.json -m strf_cuda.train|evaluate OPTIONS

The plan is a JSON file: "calls" is a file that gets a line for each process. A run whose folder contains the text of
"fails", "crashes", "dies" or "waits" fails with a sentence, fails with a traceback, is killed, or waits after its
first epoch until it is told to stop.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from strf_cuda.cli import flat_dict, load_config, to_dict
from strf_cuda.config import PRESETS, EvaluateConfig, TrainConfig
from strf_cuda.stopping import interruptible

RANKS = {"rank-1": 0.1, "rank-5": 0.2, "rank-10": 0.3, "rank-20": 0.4, "mINP": -0.1}


def main() -> int:
    plan, _, module, *words = sys.argv[1:]
    plan = json.loads(Path(plan).read_text())
    return train(plan, words) if module == "strf_cuda.train" else evaluate(plan, words)


def wanted(plan, fault, folder) -> bool:
    return fault in plan and plan[fault] in str(folder)


def note(plan, line) -> None:
    with open(plan["calls"], "a") as calls:
        calls.write(line + "\n")


def train(plan, words) -> int:
    config = load_config(TrainConfig, words, prog="train", presets=PRESETS)
    folder = Path(config.out)
    threads = os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES")
    note(plan, f"train {'/'.join(folder.parts[-2:])} {'resumed' if config.resume else 'new'} {threads}")
    if wanted(plan, "fails", folder):
        print("error: the disk is full", file=sys.stderr)
        return 2
    if wanted(plan, "crashes", folder):
        raise ZeroDivisionError("of the model")
    if wanted(plan, "dies", folder):
        os.kill(os.getpid(), signal.SIGKILL)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**to_dict(config), "resume": False}))
    print(f"epoch 1/{config.epochs}: loss 1.0", flush=True)
    if wanted(plan, "waits", folder):
        try:
            with interruptible():
                note(plan, "waiting")
                time.sleep(60)
        except KeyboardInterrupt:
            note(plan, "saved")
            return 130
    (folder / "last.ckpt").touch()
    # Every option that differs from the built-in model's moves the figure.
    differing = sum(flat_dict(config)[f"model.{name}"] != value for name, value in DEFAULTS.items())
    write(folder, 0.3 + 0.01 * config.seed + 0.001 * (config.data.split or 0) - 0.05 * differing)
    return 0


DEFAULTS = {"unit": "strf", "kind": "p3dc", "placement": "temporal", "integration": "temporal_spatial"}


def evaluate(plan, words) -> int:
    config = load_config(EvaluateConfig, words, prog="evaluate")
    note(plan, f"evaluate {'/'.join(Path(config.out).parts[-3:])}")
    if wanted(plan, "fails", config.out):
        print("error: the disk is full", file=sys.stderr)
        return 2
    Path(config.out).mkdir()
    assert Path(config.checkpoint).exists()
    write(Path(config.out), json.loads((Path(config.checkpoint).parent / "metrics.json").read_text())["mAP"] + 0.02)
    return 0


def write(folder, mAP) -> None:
    figures = {"mAP": mAP, **{name: mAP + more for name, more in RANKS.items()}}
    rest = {"chance_mAP": 0.033, "queries": 50, "valid_queries": 50, "parameters": 577_136, "epochs": 1, "seconds": 1.5}
    (folder / "metrics.json").write_text(json.dumps({**figures, **rest}))


if __name__ == "__main__":
    sys.exit(main())
