"""Writes docs/input_table.md: the input pipeline in figures, from bench/results/data.json.

python -m bench.data && python tools/input_table.py
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from bench.data import tables  # noqa: E402

PAGE = ROOT / "docs" / "input_table.md"
RESULT = ROOT / "bench" / "results" / "data.json"
HEAD = """\
# The input pipeline in figures

Written by `python tools/input_table.py` from `bench/results/data.json`, which `{command}` wrote on {date}:
{cores} cores of {cpu}, {gpu}, torch {torch}, Pillow {pillow}; load average of other programs before it began: {load}.
[input.md](input.md) says what was concluded, and [benchmarks.md](benchmarks.md#the-input-pipeline) how it is measured.

The first tables: frames a second from files in the system's cache to clips that are normalised and augmented on the
device, and behind the stroke how many times those of re-ID code; medians of {rounds} rounds. Without a GPU augmentation
takes the training process's time, and "not augmented" is what a GPU would be fed.

![frames a second against the number of worker processes](../bench/results/data.png)

"""


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    device, versions = result["device"], result["versions"]
    return HEAD.format(
        command=result["command"],
        date=result["date"],
        cores=device["cores"],
        cpu=device["cpu"],
        gpu=device["gpu"] or "no GPU",
        torch=versions["torch"],
        pillow=versions["pillow"],
        rounds=result["rounds"],
        load=result["load_before"],
    ) + tables(result)


def main() -> None:
    PAGE.write_text(page(json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
