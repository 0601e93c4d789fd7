"""What a command shows beside its own output: none of Lightning's advice, a warning as one line, no end of a pipe."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm


def quiet_lightning() -> None:
    """Silences Lightning's log and its advice on settings that commands have chosen with care."""
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*treespec.*")  # Lightning's own use of torch


def show_warnings_in_one_line() -> None:
    """Warnings go to stderr as "warning: ...", above a progress bar, without file name and source line."""

    def show(message, category, filename, lineno, file=None, line=None):
        tqdm.write(f"warning: {message}", file=sys.stderr)

    warnings.showwarning = show


@contextmanager
def lasting_output() -> Iterator[None]:
    """Lets a run outlive what shows it: after a terminal or a pipe has closed, output to it is dropped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_LastingStream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _LastingStream:
    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Also what is buffered, which the interpreter would write at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
