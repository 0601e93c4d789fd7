"""Times contenders against each other, in turn, so that a slow spell of the machine meets them all alike.

A ratio is formed within each round and never across rounds; what is reported is its median and its quartiles.
"""

import gc
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.spreads import spread

Call = Callable[[], object]
SHORTEST_SAMPLE = {"cpu": 0.005, "cuda": 0.002}  # seconds; shorter calls are timed several at once


def sample(call: Call, repeats: int, device: str) -> float:
    """Seconds a call, over `repeats` calls one after the other."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000 / repeats
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def fastest(call: Call, device: str, rounds: int) -> float:
    """Seconds of the quickest of `rounds` calls, after one that is not counted."""
    call()
    return min(sample(call, 1, device) for _ in range(rounds))


def interleave(
    calls: Mapping[str, Call], rounds: int, device: str, on_round: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds a call in each round: A B C, B C A, C A B, ... after two calls of each that are not counted.

    Args:
        on_round: called after each round, for a progress bar.
    """
    names = list(calls)
    repeats = {}
    for name in names:
        calls[name]()
        repeats[name] = max(1, math.ceil(SHORTEST_SAMPLE[device] / sample(calls[name], 1, device)))
    times = {name: [] for name in names}
    with _without_garbage_collection():
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(sample(calls[name], repeats[name], device))
            on_round()
    return times


def ratios(times: list[float], base: list[float]) -> dict[str, float]:
    """How many times longer than `base`, formed round by round."""
    return spread([own / other for own, other in zip(times, base, strict=True)])


def graphed(call: Call) -> Call:
    """`call` captured in a CUDA graph, to be replayed; it must read and write the same tensors every time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm up where the capture's stream rules hold
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def in_rotation(calls: Sequence[Call]) -> Call:
    """A call that makes one of these after the other, each time the next."""
    turns = itertools.cycle(calls)
    return lambda: next(turns)()


def held_for_backward(call: Call) -> int:
    """Bytes of all distinct memory that autograd keeps between `call`, a forward pass, and its backward pass.

    The inputs count where they are kept. A tensor that is kept on `ctx` past save_for_backward is not seen.
    """
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(storage.nbytes() for storage in storages.values())


def peak_memory(call: Call, device: str) -> int:
    """Bytes that torch's allocator hands out at most during `call`, beyond what was there before.

    On the CPU the profiler's record of every allocation is added up; what MKL, oneDNN and other libraries allocate for
    themselves is not in it.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr, through the progress bar
    with torch.autograd.profiler.profile(profile_memory=True, use_kineto=False) as profile:
        call()
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


class Stopwatch:
    """Divides the time between now and `stop` among named parts; a part lasts until the next one is entered."""

    def __init__(self, device: str):
        self.device = device
        self.marks = []

    def enter(self, part: str) -> None:
        """From here on the time is `part`'s."""
        self.marks.append((part, self._now()))

    def stop(self) -> dict[str, float]:
        """Seconds of each part."""
        self.enter("")
        if self.device == "cuda":
            torch.cuda.synchronize()
        parts = {}
        for (part, start), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            seconds = start.elapsed_time(end) / 1000 if self.device == "cuda" else end - start
            parts[part] = parts.get(part, 0.0) + seconds
        return parts

    def _now(self):
        if self.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


@contextmanager
def _without_garbage_collection():
    """As timeit does: a collection in one contender's time would be another's garbage."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
