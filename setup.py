"""Builds and installs strf_cuda. What it is and needs stands in pyproject.toml, how it is built in docs/building.md.

The command `build_native` runs CMake and ninja in build/native, which is kept, and puts libstrf_cuda.so and
native_build.json (what was built, what was not and why) into the package. `build` runs it, so all ways to install do.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.build import build
from setuptools.command.install import install

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "native"
LIBRARY = "libstrf_cuda.so"
MANIFEST = "native_build.json"
OLDEST_TORCH = (2, 10)
GIB_A_JOB = 1.5  # the largest compiler process, nvcc's, stays below it


class BuildNative(Command):
    """Builds the operator library, or says why not."""

    description = "build the operator library for the CPU and, with nvcc, for CUDA"
    user_options: ClassVar = [("inplace", "i", "put it into the source tree")]
    boolean_options: ClassVar = ["inplace"]

    def initialize_options(self) -> None:
        self.inplace = False  # set by editable installs too
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        manifest = build_library(self.distribution.get_version())
        self.distribution.native = manifest
        folder = ROOT / "strf_cuda" if self.inplace else Path(self.build_lib, "strf_cuda")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text(json.dumps(manifest) + "\n", encoding="utf-8")
        if manifest["cpu"] == "built":
            # Moved into place, since a process that has the old one loaded would die of a file changed under it.
            shutil.copy2(BUILD / LIBRARY, folder / (LIBRARY + ".new"))
            os.replace(folder / (LIBRARY + ".new"), folder / LIBRARY)
        else:
            (folder / LIBRARY).unlink(missing_ok=True)

    def get_outputs(self) -> list[str]:
        names = [LIBRARY, MANIFEST] if self.distribution.has_ext_modules() else [MANIFEST]
        return [os.path.join(self.build_lib, "strf_cuda", name) for name in names]

    def get_output_mapping(self) -> dict[str, str]:
        return {path: os.path.join("strf_cuda", os.path.basename(path)) for path in self.get_outputs()}

    def get_source_files(self) -> list[str]:
        folders = [path for name in ("cmake", "csrc", "python") for path in ROOT.joinpath(name).rglob("*")]
        files = [ROOT / "CMakeLists.txt", ROOT / "tools" / "build_backend.py", *filter(Path.is_file, folders)]
        return [str(path.relative_to(ROOT)) for path in sorted(files)]


class Build(build):
    sub_commands: ClassVar = [*build.sub_commands, ("build_native", None)]


class Install(install):
    """`python setup.py install` copies the package and no dependencies, which setuptools 65 would fetch as eggs."""

    def run(self) -> None:
        self.single_version_externally_managed = True
        super().run()


class NativeDistribution(Distribution):
    """Belongs to one platform, unless no library was built."""

    native: dict | None = None  # what build_native found, once it ran

    def has_ext_modules(self) -> bool:
        return self.native is None or self.native["cpu"] == "built"


def commands() -> dict:
    """The commands by name; bdist_wheel where it exists, which installing does not need with an old setuptools."""
    found = {"build": Build, "build_native": BuildNative, "install": Install}
    try:
        from setuptools.command.bdist_wheel import bdist_wheel
    except ImportError:  # setuptools before 70.1 takes it from the package wheel
        try:
            from wheel.bdist_wheel import bdist_wheel
        except ImportError:
            return found

    class BdistWheel(bdist_wheel):
        """Any Python 3 of this platform: the library holds no symbol of CPython."""

        def run(self) -> None:
            self.run_command("build_native")  # before anything asks whether the wheel is for any platform
            self.root_is_pure = not self.distribution.has_ext_modules()
            super().run()

        def get_tag(self) -> tuple[str, str, str]:
            return "py3", "none", super().get_tag()[2]

    return {**found, "bdist_wheel": BdistWheel}


def build_library(version: str) -> dict:
    """Builds what this machine can build in BUILD and returns the manifest.

    Raises:
        SystemExit: the sources did not compile, although all tools are there.
    """
    torch, reason = find_torch()
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if not sys.platform.startswith("linux"):
        reason = f"the native part is built on Linux only, and this is {sys.platform}"
    elif not cmake or not ninja:
        missing = " and ".join(name for name, path in (("cmake", cmake), ("ninja", ninja)) if not path)
        reason = f"{missing} not found; install what is missing (pip install cmake ninja) and build again"
    if reason:
        return nothing_built(reason, version)
    forget_other_compilers()
    configure = [
        cmake,
        "--log-level=NOTICE",
        "--no-warn-unused-cli",
        "-S",
        ROOT,
        "-B",
        BUILD,
        "-G",
        "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
    ]
    if not run([*configure, f"-DSTRF_TORCH={torch}", f"-DSTRF_VERSION={version}"]):
        return nothing_built("CMake could not prepare the build; pip install -v shows what it said", version)
    manifest = json.loads((BUILD / MANIFEST).read_text(encoding="utf-8"))
    if manifest["cpu"] == "built" and not run([cmake, "--build", BUILD, "--parallel", str(jobs())]):
        sys.exit("error: the native part of strf_cuda does not compile; what the compiler said stands above")
    return manifest


def nothing_built(reason: str, version: str) -> dict:
    facts = {"compiler": None, "nvcc": None, "architectures": [], "version": version}
    return {"cpu": reason, "cuda": reason, **facts}


def forget_other_compilers() -> None:
    """Lets CMake look for compilers afresh when they may have changed; it asks once, and what is compiled stays."""
    names = ("CXX", "CXXFLAGS", "LDFLAGS", "CUDACXX", "CUDAFLAGS", "CUDA_HOME", "CUDA_PATH")
    programs = (shutil.which("c++"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc")
    seen = [os.environ.get(name) for name in names]
    seen += [(path, os.stat(path).st_mtime) for path in programs if path and os.path.exists(path)]
    now, note = json.dumps([str(ROOT), *seen]), BUILD / "compilers.json"
    if note.exists() and note.read_text(encoding="utf-8") == now:
        return
    for path in (BUILD / "CMakeCache.txt", *BUILD.glob("CMakeFiles/*/CMake*Compiler.cmake")):
        path.unlink(missing_ok=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    note.write_text(now, encoding="utf-8")


def run(command: list) -> bool:
    sys.stdout.flush()  # ours first, then the command's
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0


def find_torch() -> tuple[Path | None, str | None]:
    """The folder of a torch whose headers can be used, or None and why not.

    It is not imported, which takes seconds. pip's build isolation hides the environment that it installs into by
    PYTHONPATH; a Python that ignores that variable sees it.
    """
    ask = "import importlib.util as u; s = u.find_spec('torch'); print(*s.submodule_search_locations if s else [])"
    for options in ([], ["-E"]):
        done = subprocess.run([sys.executable, *options, "-c", ask], capture_output=True, text=True)
        if done.stdout.strip():
            break
    else:
        return None, (
            "torch was not found at build time; install torch >= 2.10, then run the same command again, "
            "or pip install --no-build-isolation"
        )
    folder = Path(done.stdout.strip())
    version = re.search(r"__version__ = '((\d+)\.(\d+)[^']*)'", (folder / "version.py").read_text(encoding="utf-8"))
    if version is None or (int(version[2]), int(version[3])) < OLDEST_TORCH:
        return None, f"torch is {version[1] if version else 'of an unknown version'}, but building needs 2.10 or newer"
    if not (folder / "include" / "torch" / "csrc" / "stable" / "library.h").exists():
        return None, f"the torch in {folder} comes without its C++ headers; install one that has them"
    return folder, None


def jobs() -> int:
    """As many compiler processes as there are cores, but not more than memory holds."""
    free = [float(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 2**10]
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        free.append(float(limit) - float(used))
    except (OSError, ValueError):  # no such group, or its limit is "max"
        pass
    return max(1, min(len(os.sched_getaffinity(0)), int(min(free) / 2**30 / GIB_A_JOB)))


def summary(manifest: dict) -> str:
    """What was built, what was not and why, and what serves instead."""
    built = {
        "cpu": f"built by {manifest['compiler']}",
        "cuda": f"built by nvcc {manifest['nvcc']} for {', '.join(manifest['architectures'])}",
    }
    instead = {
        "cpu": "plain PyTorch, the backend reference, serves CPUs",
        "cuda": "Triton, where it is usable, and otherwise plain PyTorch serve GPUs",
    }
    lines = [f"strf_cuda {manifest['version']}: the operator library"]
    for part in ("cpu", "cuda"):
        if manifest[part] == "built":
            lines.append(f"  {part.upper():4}  {built[part]}")
        else:
            lines.append(f"  {part.upper():4}  not built: {manifest[part]}.\n        Until then {instead[part]}.")
    lines.append('  python -c "import strf_cuda; print(strf_cuda.backends())" tells what is usable.')
    return "\n".join(lines)


distribution = setup(cmdclass=commands(), distclass=NativeDistribution)
if distribution.native is not None:
    print(f"\n{summary(distribution.native)}", flush=True)
