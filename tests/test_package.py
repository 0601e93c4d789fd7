"""What a user installs: the wheel holds the whole package, and metadata and pins agree."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel built from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines():
        if (ROOT / name).exists() and name.startswith(("strf_cuda/", "pyproject", "setup", "README", "LICENSE")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    if not source.exists():
        pytest.skip("needs the git checkout")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_holds_every_module_and_preset(wheel):
    package = ROOT / "strf_cuda"
    expected = {str(path.relative_to(ROOT)) for path in [*package.rglob("*.py"), *package.rglob("*.yaml")]}
    assert expected <= wheel
    assert any(name.endswith("licenses/LICENSE") or name.endswith(".dist-info/LICENSE") for name in wheel)


def test_every_dependency_is_pinned_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
        name, least = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
        pinned = pins[re.sub(r"[-_.]+", "-", name).lower()]
        assert [int(part) for part in pinned.split(".")] >= [int(part) for part in least.split(".")], requirement


def test_package_and_metadata_name_the_same_version():
    import strf_cuda

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == strf_cuda.__version__
