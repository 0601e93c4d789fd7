"""What a user installs: the wheel holds the whole package and its library, and metadata and pins agree."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
import zlib

import pytest

from building import ONE_GPU, ROOT, built

LARGEST_LIBRARY = 8 * 2**20  # bytes
LARGEST_WHEEL = 6 * 2**20
# A C library and its compiler's run-time libraries are on every Linux system; libtorch.so is in the process already.
LIBRARIES = r"lib(torch|stdc\+\+|gcc_s|c|m|pthread|dl|rt)\.so(\.\d+)?|ld-linux.*\.so\.\d+"
SYSTEM_SYMBOLS = r"\w+@(GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+"
COMPILER_SYMBOLS = {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"}  # weak, never there


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel built from a copy of the tracked files, as an open archive."""
    _, path = built(tmp_path_factory)
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def manifest(wheel):
    return json.loads(wheel.read("strf_cuda/native_build.json"))


@pytest.fixture(scope="module")
def library(wheel, manifest, tmp_path_factory):
    """The path of the library, taken out of the wheel."""
    if manifest["cpu"] != "built":
        pytest.skip(f"the wheel holds no library: {manifest['cpu']}")
    if not (shutil.which("nm") and shutil.which("readelf")):
        pytest.skip("needs nm and readelf")
    return wheel.extract("strf_cuda/libstrf_cuda.so", tmp_path_factory.mktemp("library"))


def lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_wheel_holds_every_module_preset_and_asset(wheel):
    patterns = ("*.py", "*.yaml", "assets/*")
    expected = {str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / "strf_cuda").rglob(pattern)}
    names = set(wheel.namelist())
    assert expected <= names
    assert any(name.endswith("licenses/LICENSE") or name.endswith(".dist-info/LICENSE") for name in names)


def test_the_wheel_is_for_any_python_3_of_the_platforms_that_it_runs_on(wheel, manifest):
    native = manifest["cpu"] == "built"
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform()) if native else "any"
    assert wheel.filename.endswith(f"-py3-none-{platform}.whl")
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/WHEEL")]
    told = wheel.read(name).decode()
    assert f"Tag: py3-none-{platform}\n" in told and f"Root-Is-Purelib: {str(not native).lower()}\n" in told
    assert ("strf_cuda/libstrf_cuda.so" in wheel.namelist()) == native


def test_the_library_needs_only_what_every_system_and_torch_has(library):
    dynamic = "\n".join(lines("readelf", "--dynamic", "--wide", library))
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert "libtorch.so" in needed
    assert [name for name in needed if not re.fullmatch(LIBRARIES, name)] == []
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


def test_the_library_calls_only_the_system_and_the_stable_interface_of_torch(library):
    undefined = [line.split()[-1] for line in lines("nm", "--dynamic", "--undefined-only", library)]
    of_torch = [name for name in undefined if re.fullmatch(r"(aoti_)?torch_\w+", name)]
    assert "torch_library_impl" in of_torch
    others = [name for name in undefined if name not in of_torch and not re.fullmatch(SYSTEM_SYMBOLS, name)]
    assert set(others) <= COMPILER_SYMBOLS


def test_the_library_shows_its_c_functions_alone(library):
    defined = [line.split()[-1] for line in lines("nm", "--dynamic", "--defined-only", library)]
    assert "strf_cpu_forward" in defined
    assert [name for name in defined if not name.startswith("strf_")] == []


def test_the_wheel_is_built_for_the_gpus_that_were_named(manifest):
    if manifest["cuda"] != "built":
        pytest.skip(f"the wheel holds no CUDA kernels: {manifest['cuda']}")
    assert manifest["architectures"] == [ONE_GPU["CUDAARCHS"], f"{ONE_GPU['CUDAARCHS']}-ptx"]


def test_library_and_wheel_are_small(wheel, library):
    """With the library of the source tree in the wheel too, which is built for all GPUs."""
    of_all = ROOT / "strf_cuda" / "libstrf_cuda.so"
    assert of_all.stat().st_size <= LARGEST_LIBRARY
    (compressed,) = [entry.compress_size for entry in wheel.infolist() if entry.filename.endswith(".so")]
    compressed_of_all = len(zlib.compress(of_all.read_bytes()))
    assert os.path.getsize(wheel.filename) - compressed + compressed_of_all <= LARGEST_WHEEL


def test_the_unpacked_wheel_works(wheel, library, tmp_path):
    wheel.extractall(tmp_path)
    program = "import strf_cuda; print(strf_cuda.__file__, strf_cuda.backends()['cpu'])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'strf_cuda' / '__init__.py'} usable\n", done.stderr


def test_every_dependency_is_pinned_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *(each for each in extras if not each.startswith("strf_cuda["))]:
        name, least = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:;.*)?", requirement).groups()
        pinned = pins[re.sub(r"[-_.]+", "-", name).lower()]
        assert [int(part) for part in pinned.split(".")] >= [int(part) for part in least.split(".")], requirement


def test_package_and_metadata_name_the_same_version():
    import strf_cuda

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == strf_cuda.__version__
