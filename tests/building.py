"""Builds strf_cuda from a copy of the tracked files, for the tests of what is built and installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
ONE_GPU = {"CUDAARCHS": "80"}  # quicker to build; the library of the source tree, which has all, is looked at as well


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


def built(tmp_path_factory):
    """The sources and the wheel built from them, once for all tests and processes of a run: (folder, path)."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all of them have
    source, wheels = folder / "built", folder / "wheels"
    with FileLock(folder / "built.lock"):
        if not source.exists():
            copy_sources(source)
            command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels]
            done = subprocess.run([*command, source], env={**os.environ, **ONE_GPU}, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("*.whl")
    return source, wheel


def setup(source, *command, **environment):
    """The finished process of `python setup.py command`, for one GPU; environment: other variables set for it."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--quiet", *command],
        cwd=source,
        env={**os.environ, **ONE_GPU, **environment},
        capture_output=True,
        text=True,
    )
