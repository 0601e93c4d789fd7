"""The signals that ask a command to stop: Ctrl-C, SIGTERM, and SIGHUP at the end of its terminal.

A shell may start a command in the background with Ctrl-C ignored, and so its children; a job runner may leave it
signals that are blocked. What asks to stop is heard all the same, but for SIGHUP where that is ignored, as nohup wants
it. To its children a command passes SIGTERM on, which ends them at any moment, and well once they are `interruptible`.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


def hear(handler: Handler) -> dict[int, Handler | int | None]:
    """Calls `handler` at those signals from now on; returns what was before. For the main thread."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    return before


@contextmanager
def heard(handler: Handler) -> Iterator[None]:
    """The same for as long as this lasts; outside the main thread, where no signal arrives, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = hear(handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def interruptible() -> Iterator[None]:
    """Each of those signals raises KeyboardInterrupt, as Ctrl-C does in Python; not in processes that are forked."""
    process = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        if number != signal.SIGINT:  # Ctrl-C comes to both, and the others are meant for the fork alone
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    with heard(interrupt):
        yield


def end_with_parent() -> None:
    """On Linux, lets the system end this process when its parent is killed, which cannot do so any more."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
