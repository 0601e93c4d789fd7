"""Builds strf_cuda from a copy of the tracked files, for the tests of what is built and installed."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def copy_sources(folder):
    """The tracked files, as they are now, without the tests."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if (ROOT / name).is_file() and not name.startswith("tests/")]
    if not names:
        pytest.skip("needs the git checkout")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@functools.cache
def built(base):
    """The sources and the wheel built from them, once for all tests, in the folder base: (folder, path)."""
    folder = base / "built"
    folder.mkdir()
    source = copy_sources(folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return source, wheel


def setup(source, *command, **environment):
    """The finished process of `python setup.py command`; environment: variables that are set for it."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--quiet", *command],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
