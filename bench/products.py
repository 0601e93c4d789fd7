"""Times nothing but the operator's matrix products, by every library that PyTorch has, beside the whole operator.

    python -m bench.products [--rounds 15] [--threads N] [--out FILE]

What an operator built around library products could reach at best: all products of forward + backward (the formulas of
bench/floor.py, parallel, float32, on the CPU), with operands that lie as the library likes them, and no pool, soft-max,
sum or copy between. Beside them strf_cuda's cpu backend, which does all of that too. In turn, ratios within a round.
Prints a table and writes bench/results/products.json.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bench.competitors import ours, solve
from bench.floor import cost
from bench.machine import RESULTS, write_result
from bench.options import positive
from bench.problems import POOLS, Problem, paper_problems
from bench.spreads import rounded, spread
from bench.tables import with_quartiles
from bench.timing import Call, interleave, ratios
from strf_cuda.markdown import aligned

Product = Callable[[Tensor, Tensor], Tensor]


def shapes(problem: Problem) -> list[tuple[int, int, int]]:
    """(rows, depth, columns) of a sample's products, forward and then backward."""
    n, paths, reduced = problem.positions, len(POOLS), problem.reduced
    rows, every = problem.channels * problem.frames, len(POOLS) * problem.reduced
    wide = problem.frames * n
    forward = [(every, problem.channels, wide), *[(n, reduced * problem.frames, n)] * paths, (rows, n, n)]
    backward = [(n, rows, n), (rows, n, n), *[(reduced * problem.frames, n, n)] * paths]
    return forward + backward + [(every, wide, problem.channels), (problem.channels, every, wide)]


def by_sample(product: Callable[[Tensor, Tensor], Tensor], problem: Problem) -> Call:
    """All products of the batch, sample after sample."""
    operands = [(torch.randn(m, k), torch.randn(k, n)) for m, k, n in shapes(problem)]

    def call() -> None:
        for _ in range(problem.batch):
            for a, b in operands:
                product(a, b)

    return call


def by_batch(problem: Problem) -> Call:
    """All products of the batch, each for all samples in one torch.bmm."""
    operands = [(torch.randn(problem.batch, m, k), torch.randn(problem.batch, k, n)) for m, k, n in shapes(problem)]

    def call() -> None:
        for a, b in operands:
            torch.bmm(a, b)

    return call


def by_convolution(problem: Problem) -> Call:
    """As 1x1 convolutions, which PyTorch gives to oneDNN: rows are pixels, the depth channels."""
    operands = [(torch.randn(1, m, 1, k).permute(0, 3, 1, 2), torch.randn(n, k, 1, 1)) for m, k, n in shapes(problem)]

    def call() -> None:
        for _ in range(problem.batch):
            for image, kernel in operands:
                F.conv2d(image, kernel)

    return call


def whole(problem: Problem) -> Call:
    """Forward and backward of strf_cuda's cpu backend."""
    x, weight, grad = problem.inputs()
    x, weight = x.requires_grad_(), weight.requires_grad_()
    return lambda: torch.autograd.grad(solve(ours("cpu"), problem, x, weight), (x, weight), grad)


def measure(problem: Problem, rounds: int, on_round: Callable[[], object]) -> dict:
    """Times and rates of one problem; the rate counts the operations of the products in every row."""
    operations = sum(2 * m * k * n for m, k, n in shapes(problem)) * problem.batch
    assert operations == cost(problem, backward=True).operations
    calls = {
        "strf_cuda cpu, the whole operator": whole(problem),
        "products alone, torch.mm": by_sample(torch.mm, problem),
        "products alone, torch.bmm": by_batch(problem),
        "products alone, 1x1 convolution": by_convolution(problem),
    }
    with torch.no_grad():
        times = interleave({name: torch.enable_grad()(call) for name, call in calls.items()}, rounds, "cpu", on_round)
    base = times[next(iter(calls))]
    return {
        "problem": problem.name,
        **problem.sizes(),
        "operations": operations,
        "contenders": {
            name: {
                "ms": spread([1000 * value for value in seconds]),
                "ratio": ratios(seconds, base),
                "gflops": rounded(operations / spread(seconds)["median"] / 1e9),
            }
            for name, seconds in times.items()
        },
    }


def table(entry: dict) -> str:
    """One problem's figures."""
    rows = [
        [name, f"{timed['ms']['median']:.4g}", with_quartiles(timed["ratio"]), f"{timed['gflops']:.0f}"]
        for name, timed in entry["contenders"].items()
    ]
    return f"{entry['problem']}, {entry['batch']} clips, forward + backward\n\n" + aligned(
        ["", "ms", "ratio", "GFLOP/s"], rows
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--threads", type=positive, help="torch's choice unless given")
    parser.add_argument("--out", type=Path, default=RESULTS / "products.json")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    problems = [
        problem
        for problem in paper_problems("cpu", 8, [torch.float32])
        if problem.integration == "parallel" and problem.layout == "contiguous"
    ]
    with tqdm(total=options.rounds * len(problems), unit="round", disable=None, leave=False) as bar:
        entries = [measure(problem, options.rounds, bar.update) for problem in problems]
    print("\n\n".join(map(table, entries)))
    write_result(
        "products",
        "milliseconds for all products of forward + backward, median and quartiles; ratio: time over the first's",
        ("torch",),
        {"rounds": options.rounds, "problems": entries},
        options.out,
    )


if __name__ == "__main__":
    main()
