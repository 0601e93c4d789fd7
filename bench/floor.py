"""The least that any implementation of the operator must do, and how fast this machine can do that at best.

Symbols as in the operator's equations: D = C T rows, N positions, P paths, E = C/n T rows of a reduction.
"""

import importlib.util
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bench.problems import HALVES, Problem
from bench.timing import fastest


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of the products (a multiply-add is two), bytes of memory, and exponentials."""

    operations: int
    bytes: int
    exponentials: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.operations + other.operations, self.bytes + other.bytes, self.exponentials + other.exponentials
        )


@dataclass(frozen=True)
class Peaks:
    """Measured: operations a second of the best large product, bytes a second of a large copy, read plus written.

    On a GPU with Triton also exponentials a second, and bytes a second read from the second-level cache.
    """

    operations: float
    bytes: float
    operations_by: dict[str, float]
    exponentials: float | None = None
    cached_bytes: float | None = None

    def floor(self, cost: Cost) -> float:
        """Seconds below which `cost` cannot be paid: products, memory or exponentials, whichever takes longest."""
        exponentials = cost.exponentials / self.exponentials if self.exponentials else 0.0
        return max(cost.operations / self.operations, cost.bytes / self.bytes, exponentials)


def cost(problem: Problem, backward: bool) -> Cost:
    """What the equations need, each result computed once and each large array moved once.

        forward     R_k = W_k x        2 B P (C/n) C T N         x, y, weight
                    S_k = T_k^T T_k    2 B P E N^2               B P N^2 exponentials
                    Y = X M            2 B D N^2
        backward    dM = X^T G         2 B D N^2                 x, G, dX, weight, dW
                    dX = G M^T         2 B D N^2
                    dT_k = T_k Q_k     2 B P E N^2
                    dW_k, W_k^T dR_k   2 B P (C/n) C T N each

    The statistics of the soft-max (two float32 numbers a column and path) are written once and read once. S is
    symmetric, but is counted in full. Recomputing R, S or its exponentials in the backward pass is not counted.
    """
    batch, n = problem.batch, problem.positions
    rows = problem.channels * problem.frames  # D
    total = Cost(0, 0, 0)
    for first, last in HALVES[problem.integration]:
        paths = last - first
        product = 2 * batch * rows * n * n
        covariance = 2 * batch * paths * problem.reduced * problem.frames * n * n
        reduction = 2 * batch * paths * problem.reduced * problem.channels * problem.frames * n
        size = problem.dtype.itemsize
        large, weight = batch * rows * n * size, paths * problem.reduced * problem.channels * size
        statistic = 2 * 4 * batch * paths * n
        total += Cost(product + covariance + reduction, 2 * large + weight + statistic, batch * paths * n * n)
        if backward:
            total += Cost(2 * product + covariance + 2 * reduction, 3 * large + 2 * weight + statistic, 0)
    return total


def measure_peaks(device: str, dtype: torch.dtype, size: int | None = None, rounds: int = 20) -> Peaks:
    """Measures this machine; the best of `rounds`.

    On the CPU the product is tried through torch.mm (MKL in most builds) and as a 1x1 convolution (oneDNN): on some
    processors they differ by more than two.

    Args:
        size: of the square matrices; the copy moves 16 times as many elements as one has, up to 2^26 on the CPU and
            2^28 on a GPU, many times its cache. Default 2,048 on the CPU and 8,192 on a GPU.
    """
    size = size or (8192 if device == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in "ab")
    products = {"torch.mm": lambda: torch.mm(a, b)}
    if device == "cpu":
        image = torch.randn(1, size, size // 16, 16, dtype=dtype).contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(size, size, 1, 1, dtype=dtype)
        products["1x1 convolution"] = lambda: F.conv2d(image, kernel)
    rates = {name: 2 * size**3 / fastest(product, device, rounds) for name, product in products.items()}
    source = torch.ones(min(16 * size * size, 2**28 if device == "cuda" else 2**26), device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / fastest(lambda: target.copy_(source), device, rounds)
    if device != "cuda" or importlib.util.find_spec("triton") is None:
        return Peaks(max(rates.values()), copied, rates)
    from bench.rates import cached_bytes, exponentials

    return Peaks(max(rates.values()), copied, rates, exponentials(rounds), cached_bytes(rounds))
