"""A function of many things, in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Thing], Result], things: Sequence[Thing], workers: int, things_a_task: int
) -> Iterator[Result]:
    """The results in order; with one worker they are computed here. Ctrl-C ends this process, and it the others."""
    if workers == 1:
        yield from map(function, things)
        return
    # Forking a process that runs threads, as one that trains does, can deadlock: new processes are started instead.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield from pool.map(function, things, chunksize=things_a_task)
    finally:
        pool.shutdown(cancel_futures=True)
