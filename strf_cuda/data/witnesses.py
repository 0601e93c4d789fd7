"""What a reader looked at: the folders that it listed and the files that it read, as they stood before it did.

Readers report through the three functions here instead of calling `os.listdir` and the like themselves. While nobody
gathers, that costs nothing. A data set that was read is the same as long as all of its witnesses stand as they stood:
a folder's time changes when an entry comes, goes or gets another name, a file's size or time when it is written.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from strf_cuda.errors import InputError

AnyPath = TypeVar("AnyPath", str, bytes, os.PathLike)
State = tuple[int, int, int]

# Of what is not there, or cannot be asked for.
ABSENT: State = (-1, -1, -1)

# Two changes within one tick of a file system's clock leave the same time. Ticks last up to two seconds (FAT).
SETTLED_NANOSECONDS = 2_000_000_000


class Witnesses:
    """The states of the paths that a reader looked at.

    Attributes:
        states: by path as the reader wrote it; see `state`.
        settled: nothing was so young that a further change might not show in its time.
    """

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.settled = True

    def add(self, path: str) -> None:
        """Stores the state of a path before it is looked at for the first time: a change meanwhile will show."""
        if path not in self.states:
            self.states[path] = found = state(path)
            self.settled &= max(found[1:]) + SETTLED_NANOSECONDS < time.time_ns()


_gathering: ContextVar[Witnesses | None] = ContextVar("gathering", default=None)


@contextmanager
def gather() -> Iterator[Witnesses]:
    """Gathers what the readers called inside report."""
    witnesses = Witnesses()
    token = _gathering.set(witnesses)
    try:
        yield witnesses
    finally:
        _gathering.reset(token)


def state(path: str) -> State:
    """Size and the times, in nanoseconds, of the last change of content and of the last change of any kind.

    The second time is one that no copying or unpacking can set back; it tells a file from another of the same size and
    time that was moved into its place.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ABSENT
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def witness(path: AnyPath) -> AnyPath:
    """Reports a file that is about to be read, or looked for; gives back the path."""
    witnesses = _gathering.get()
    if witnesses is not None:
        witnesses.add(os.fsdecode(path))
    return path


def list_folder(folder: AnyPath) -> list:
    """`os.listdir`, reported.

    Raises:
        InputError: this user may not list the folder.
        OSError: as `os.listdir`.
    """
    try:
        return os.listdir(witness(folder))
    except PermissionError as error:
        raise InputError(f"the folder {os.fsdecode(folder)} cannot be listed: {error.strerror}") from None


def is_folder(path: AnyPath) -> bool:
    """`os.path.isdir`, reported."""
    return os.path.isdir(witness(path))
