"""Puts stand_in.py in the place of the processes that commands start."""

import json
import shlex
import sys
import time
from pathlib import Path


class StandIn:
    """What the processes do, and what they were asked for.

    Attributes:
        executable: takes the place of sys.executable.
    """

    def __init__(self, folder: Path):
        self.executable, self._plan, self._calls = (folder / f"stand-in{end}" for end in (".sh", ".json", ".calls"))
        words = [sys.executable, str(Path(__file__).with_name("stand_in.py")), str(self._plan)]
        self.executable.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        self.executable.chmod(0o755)
        self.plan()

    def plan(self, **faults: str) -> None:
        """The faults of processes that start from now on."""
        self._plan.write_text(json.dumps({"calls": str(self._calls), **faults}))

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def wait_for(self, line: str) -> None:
        """Returns when a process has written a line."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if line in self.calls():
                return
            time.sleep(0.02)
        raise AssertionError(f"no process wrote {line!r}: {self.calls()}")
