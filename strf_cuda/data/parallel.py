"""A function of many things, in several processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from strf_cuda.stopping import end_with_parent

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Thing], Result], things: Sequence[Thing], workers: int, things_a_task: int
) -> Iterator[Result]:
    """The results in order; with one worker they are computed here.

    What asks to stop ends this process, and it the others, which end with it, too, when it is killed.
    """
    if workers == 1:
        yield from map(function, things)
        return
    # Forking a process that runs threads, as one that trains does, can deadlock: new processes are started instead.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_belong_to, initargs=(os.getpid(),))
    try:
        yield from pool.map(function, things, chunksize=things_a_task)
    finally:
        pool.shutdown(cancel_futures=True)


def _belong_to(parent: int) -> None:
    """Leaves Ctrl-C to the process that started this one, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if os.getppid() != parent:  # killed while this one began
        os._exit(1)
