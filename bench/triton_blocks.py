"""Looks for better block sizes of the Triton kernels than those of their table, kernel by kernel.

    python -m bench.triton_blocks [--device cuda] [--rounds 15] [--steps 3] [--types TYPE ...] [--kernels KERNEL ...]
                                  [--out FILE] [--quick]

At the paper's sizes, in parallel and as the cascade, for similarity "cosine". A kernel's launches of one forward and
one backward pass in both layouts are timed alone, with everything that they read in place. The choice of the table
(strf_cuda/backends/triton_kernels/blocks.py) is timed in turn with all choices that differ from it in one number, the
best of these with the table's and its own neighbours, and so on for at most so many steps. A choice must compute what
the table's computes. One that does not, does not compile or asks for more than the device has is listed with the
reason. At the end the whole operator is timed with the table's choices and with the best.

Prints a table for each problem and writes bench/results/triton_blocks.json, after every problem anew; with --quick,
which only shows that everything runs, the file is written only where --out says. TRITON_INTERPRET=1 in the environment
lets it run on the CPU, in Triton's interpreter, with --quick alone: times mean nothing there.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from bench.machine import RESULTS, write_result
from bench.operator import LIMITS, first_line
from bench.options import parse, parser, positive
from bench.problems import HALVES, LAYOUTS, POOLS, Problem, paper_problems
from bench.tables import with_quartiles
from strf_cuda.backends import native, triton
from strf_cuda.markdown import aligned
from strf_cuda.similarity import TEMPERATURES

TYPES = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32}


def plan(device: str, types: Sequence[str]) -> list[Problem]:
    """The paper's sizes by type, and the stage 2 of models that have the unit in front of the stride."""
    problems = []
    for name in types:
        paper = paper_problems(device, 32, [TYPES[name]])
        larger = dataclasses.replace(paper[0], name="stage 2 before its stride", height=64, width=32)
        problems += [
            dataclasses.replace(problem, tf32=name == "tf32")
            for problem in (*paper, larger)
            if problem.layout == "contiguous"
        ]
    return problems


def measure(problem: Problem, kernels: Sequence[str] | None, rounds: int, steps: int) -> dict:
    """The problem's entry in the JSON, with these kernels or all."""
    from bench.block_search import search, whole  # imports triton
    from strf_cuda.backends.triton_kernels.tuning import Kernel, record

    with problem.settings():
        problems = both_layouts(problem)
        sizes, recorded = problems[0][0].sizes, record(problems)
        found = {}
        for name in tqdm([name for name in recorded if not kernels or name in kernels], disable=None, leave=False):
            kernel = Kernel(name, sizes, recorded[name], LIMITS[problem.arithmetic])
            found[name] = search(kernel, rounds, steps, problem.device)
        best = {name: entry["best"]["blocks"] for name, entry in found.items()}
        return {
            "problem": problem.name,
            **{name: value for name, value in problem.sizes().items() if name != "layout"},
            "sizes": sizes._asdict(),
            "kernels": found,
            "whole": whole(problem, sizes, best, rounds),
        }


def both_layouts(problem: Problem) -> list[tuple]:
    """The launches and the gradient of y of every call that the problem makes, in both layouts."""
    found = []
    for layout in LAYOUTS:
        x, weight, grad = dataclasses.replace(problem, layout=layout).inputs()
        for first, last in HALVES[problem.integration]:
            windows = [size for pool in POOLS[first:last] for size in pool]
            kinds = [native.KINDS["max"]] * (last - first)
            similarity = problem.similarity
            options = windows, kinds, TEMPERATURES[similarity], problem.tf32, similarity == "cosine"
            found.append((triton.launches(x, weight[first:last], *options), grad))
    return found


def table(entry: dict) -> str:
    """The kernels of one problem: the table's choice, the best that was found, and the ratio of their times."""
    rows = [
        [
            name,
            f"{found['table']['us']['median']:.4g}",
            f"{found['best']['us']['median']:.4g}",
            with_quartiles(found["best"]["ratio"]),
            f"{len(found['tried'])}",
            f"{len(found['refused'])}",
            differences(found["table"]["blocks"], found["best"]["blocks"]),
        ]
        for name, found in entry["kernels"].items()
    ]
    us = entry["whole"]["us"]
    rows.append(["forward + backward", *(f"{us[name]['median']:.4g}" for name in ("table", "best")),
                 with_quartiles(entry["whole"]["ratio"]), "", "", ""])  # fmt: skip
    sizes = ", ".join(f"{name} {value}" for name, value in entry["sizes"].items())
    header = ["", "table us", "best us", "ratio", "tried", "refused", "the best has"]
    return f"{entry['problem']}, {entry['integration']}, {sizes}\n\n{aligned(header, rows)}\n"


def differences(table: dict[str, int], best: dict[str, int]) -> str:
    """What the best has other than the table, such as "BLOCK_N 64 for 128"."""
    return ", ".join(f"{name} {best[name]} for {value}" for name, value in table.items() if best[name] != value)


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=positive, default=3, help="at most so many changes to the table's choice")
    made.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    made.add_argument("--kernels", nargs="+", metavar="KERNEL", help="all unless given")
    options = parse(made, argv)
    if triton.INTERPRETED:
        options.device = "cpu"
    elif options.device == "cpu":
        made.error("block sizes are measured on a GPU, or with TRITON_INTERPRET=1 in the interpreter")
    if (reason := triton.why_not()) is not None:
        made.error(f"the Triton backend is not usable here: {reason}")
    if triton.INTERPRETED and not options.quick:
        made.error("times in the interpreter mean nothing; with --quick everything is run once")
    from strf_cuda.backends.triton_kernels.tuning import KERNELS  # imports triton

    if unknown := set(options.kernels or ()) - set(KERNELS):
        made.error(f"there is no kernel {', '.join(sorted(unknown))}; there are {', '.join(KERNELS)}")
    problems, rounds, steps = plan(options.device, options.types), options.rounds, options.steps
    if options.quick:
        problems, rounds, steps = [Problem("N=16", 1, 16, 4, 4, 1, device=options.device)], 1, 1
    out = options.out or (None if options.quick else RESULTS / "triton_blocks.json")
    entries, failed = [], []
    for problem in problems:
        try:
            entries.append(measure(problem, options.kernels, rounds, steps))
        except Exception as error:
            failed.append({"problem": problem.name, **problem.sizes(), "failed": first_line(error)})
            print(f"{problem} failed: {first_line(error)}\n")
        else:
            print(table(entries[-1]))
        if out:
            write(out, rounds, entries, failed)
    if failed:
        sys.exit(f"{len(failed)} of {len(problems)} problems failed; the first: {failed[0]['failed']}")


def write(out: Path, rounds: int, entries: list[dict], failed: list[dict]) -> None:
    """The JSON file with what has been measured so far."""
    meaning = "; in Triton's interpreter, where times mean nothing" if triton.INTERPRETED else ""
    write_result(
        "triton_blocks",
        f"microseconds of a kernel's launches in both passes and layouts; ratio: over the table's choice{meaning}",
        ("torch", "triton"),
        {"rounds": rounds, "problems": entries, "failed": failed},
        out,
    )


if __name__ == "__main__":
    main()
