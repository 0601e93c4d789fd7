"""Looks for better blocks of the Triton kernels than those of the table, by time, on the GPU at hand."""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import triton
from torch import Tensor

from strf_cuda.backends.triton import INTERPRETED
from strf_cuda.backends.triton_kernels import blocks, launches, masks, pools, products
from strf_cuda.backends.triton_kernels.blocks import Sizes, blocks_for, covering
from strf_cuda.backends.triton_kernels.launches import Launches

Blocks = dict[str, int]
Call = Callable[[], object]

# The name of a kernel is also that of the method of Launches that launches it.
KERNELS = [name for module in (products, pools, masks) for name in vars(module) if callable(vars(Launches).get(name))]
BETTER = 0.98  # of the best time so far: a choice that takes no less is not called better
STEPS = 3  # changes to the table's choice
SIDES = (16, 128)  # the smallest that a product of tiles takes, and the largest that leaves registers for its operands
WARPS = (4, 16)
STAGES = (2, 4)
ELEMENTS = (256, 4096)  # of a program without products
REGISTERS = 65536 // 32  # of a multiprocessor, for each thread of a warp


def tune(passes: Launches, grad: Tensor, time: Callable[[Call], float]) -> dict[str, Blocks]:
    """Finds each kernel's quickest blocks within a forward and a backward pass and puts them into `blocks.TUNED`.

    Args:
        time: says how long a call takes, `median_time` for example.

    Returns:
        The blocks by kernel, as far as they are others than the table's.
    """
    for name in KERNELS:
        blocks.TUNED.pop((name, passes.sizes), None)
    found = {}
    for name, calls in record([(passes, grad)]).items():
        kernel = Kernel(name, passes.sizes, calls, tolerance(passes))
        choice = _quickest(kernel, time)
        if choice != kernel.table:
            found[name] = choice
    blocks.TUNED.update({(name, passes.sizes): choice for name, choice in found.items()})
    return found


def median_time(call: Call) -> float:
    """Milliseconds of a call on the current GPU."""
    return triton.testing.do_bench(call, return_mode="median")


def _quickest(kernel: "Kernel", time: Callable[[Call], float]) -> Blocks:
    """From the table's choice to its best neighbour, and on from there."""
    best = kernel.table
    least = time(kernel.call(best))
    for _ in range(STEPS):
        near = neighbours(kernel.name, kernel.sizes, best)
        kernel.compile(near)
        times = {}
        for index, choice in enumerate(near):
            with contextlib.suppress(Exception):  # it does not compile, or the device has no room for it
                times[index] = time(kernel.call(choice))
        quickest = min(times, key=times.get, default=None)
        if quickest is None or times[quickest] > BETTER * least:
            break
        best, least = near[quickest], times[quickest]
    return best


def tolerance(passes: Launches) -> float:
    """How far the results of two choices may be from each other: a relative error in the Euclidean norm."""
    digits = {"half": 8, "split": 8, "tf32": 11, "float32": 24, "float64": 53}[passes.sizes.arithmetic]
    return math.sqrt(2.0**-digits)


def neighbours(kernel: str, sizes: Sizes, chosen: Blocks) -> list[Blocks]:
    """All that differ from `chosen` in one number: a size or the warps halved or doubled, one stage more or fewer.

    maxnreg goes down where there are not as many registers for all warps.
    """
    found = []
    for name, value in chosen.items():
        least, most = limits(kernel, name, sizes)
        near = (value - 1, value + 1) if name == "num_stages" else (value // 2, value * 2)
        found += [{**chosen, name: other} for other in near if least <= other <= most]
    for choice in found:
        if "maxnreg" in choice:
            choice["maxnreg"] = min(choice["maxnreg"], REGISTERS // choice["num_warps"])
    return found


def limits(kernel: str, name: str, sizes: Sizes) -> tuple[int, int]:
    """The least and the most that one of a kernel's numbers may be; the most is less where it is fixed."""
    # All kernels must sum S in the same blocks.
    if name in ("BLOCK_E", "maxnreg") or (kernel, name) == ("masks_and_statistics", "BLOCK_I"):
        return 1, 0
    if name == "num_warps":
        return WARPS
    if name == "num_stages":
        return STAGES if kernel not in ("pool", "pool_gradient") else (1, 0)
    if name == "BLOCK":
        return ELEMENTS
    lengths = dict.fromkeys(("BLOCK_N", "BLOCK_I", "BLOCK_J", "BLOCK_K"), sizes.N)
    lengths |= {"BLOCK_C": sizes.C, "BLOCK_Q": sizes.Q, "BLOCK_OUT": sizes.E}
    return SIDES[0], covering(lengths[name], SIDES[1])


def record(problems: Sequence[tuple[Launches, Tensor]]) -> dict[str, list[partial]]:
    """Makes both passes of problems of the same sizes; the calls that launch each kernel, with all they were given.

    Args:
        problems: the launches of each, and the gradient of its y, contiguous or channels-last.
    """
    calls = defaultdict(list)

    def kept(method: Callable, own: list[partial]) -> Callable:
        def call(*arguments, **options):
            own.append(partial(method, *arguments, **options))
            return method(*arguments, **options)

        return call

    for passes, grad in problems:
        for name in KERNELS:
            setattr(passes, name, kept(getattr(passes, name), calls[name]))
        _, *statistics = passes.forward()
        passes.backward(grad, *statistics)
    return {name: own for name, own in calls.items() if own}


@contextlib.contextmanager
def chosen(choices: Mapping[str, Blocks], sizes: Sizes) -> Iterator[None]:
    """Within it, kernels have these blocks at these sizes."""
    before = dict(blocks.TUNED)
    blocks.TUNED.update({(kernel, sizes): choice for kernel, choice in choices.items()})
    try:
        yield
    finally:
        blocks.TUNED.clear()
        blocks.TUNED.update(before)


class Kernel:
    """One kernel's recorded calls.

    Args:
        limit: how far its results may be from those with the table's blocks: a relative error in the Euclidean norm.
    """

    def __init__(self, name: str, sizes: Sizes, calls: Sequence[partial], limit: float):
        self.name, self.sizes, self.calls, self.limit = name, sizes, calls, limit
        self.table = blocks_for(name, sizes)
        self.expected = [tensor.clone() for tensor in self._tensors(self.table)]

    def compile(self, choices: Sequence[Blocks]) -> None:
        """Compiles on all processors what `call` will launch; errors come up there."""
        if INTERPRETED:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool, triton.AsyncCompileMode(pool, ignore_errors=True):
            for choice in choices:
                for kernel, programs, arguments, options in self._launches(choice):
                    kernel.warmup(*arguments, grid=(programs,), **options)

    def call(self, choice: Blocks) -> Call:
        """All launches with these blocks, one after the other.

        Raises:
            Exception: what Triton says of blocks that do not compile, or for which the device has no room.
            AssertionError: the results are others than the table's.
        """
        try:
            self._check(choice)
        except Exception:
            self._tensors(self.table)  # as other kernels read what this one wrote
            raise
        ready = [
            partial(launches.launch, kernel, programs, *arguments, **options)
            for kernel, programs, arguments, options in self._launches(choice)
        ]

        def call() -> None:
            for launch in ready:
                launch()

        return call

    def _check(self, choice: Blocks) -> None:
        for tensor, truth in zip(self._tensors(choice), self.expected, strict=True):
            error, norm = (tensor.double() - truth).norm().item(), truth.double().norm().item()
            assert error <= self.limit * norm, f"differs from the table's result, by {error:.1e} in {norm:.1e}"

    def _launches(self, choice: Blocks) -> list[tuple]:
        """Kernel, number of programs, arguments and options of each launch."""
        found, launch = [], launches.launch
        launches.launch = lambda kernel, programs, *arguments, **options: found.append(
            (kernel, programs, arguments, launches.options_here(options))
        )
        try:
            with chosen({self.name: choice}, self.sizes):
                for call in self.calls:
                    call()
        finally:
            launches.launch = launch
        return found

    def _tensors(self, choice: Blocks) -> list[Tensor]:
        """What the launches read and wrote, each tensor once."""
        found = []
        with chosen({self.name: choice}, self.sizes):
            for call in self.calls:
                for value in (*call.args, call()):
                    found += value if isinstance(value, tuple) else [value]
        return list({id(value): value for value in found if isinstance(value, Tensor)}.values())
