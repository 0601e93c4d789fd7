"""The CUDA kernels on the CPU: builds them for the host (tests/cuda_host) and runs them in processes of their own.

docs/host_run.md says what this proves. A process runs one block of threads at a time, so several work side by side, and
one that a sanitizer ends is replaced: its case fails with the sanitizer's report.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tests" / "cuda_host"
CACHE = ROOT / "build" / "cuda_host"
PROCESSES = 2
TYPES = {"float64": "Float64", "float32": "Float32", "bfloat16": "BFloat16", "float16": "Float16"}

# Contraction is off so that the results do not depend on the processor. Kernels read memory as several types. Local
# variables begin as garbage, as registers do.
FLAGS = ["-std=c++17", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-ftrivial-auto-var-init=pattern"]
FLAGS += ["-fPIC", "-fvisibility=hidden", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class BuildError(Exception):
    """What the compiler said."""


class RunError(Exception):
    """What the emulator or a sanitizer found, or how the process ended."""


def why_not() -> str | None:
    """Why kernels cannot be run on the host here, or None."""
    if platform.machine() != "x86_64":
        return f"running the CUDA kernels on the host is tried on x86-64 only, this is {platform.machine()}"
    if not shutil.which("g++"):
        return "running the CUDA kernels on the host needs g++"
    try:
        import pybind11  # noqa: F401
    except ImportError:
        return "running the CUDA kernels on the host needs pybind11: pip install pybind11"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        return f"running the CUDA kernels on the host needs {header}, of Python's development package"
    return None


# ---- Building --------------------------------------------------------------------------------------------------------


def build_operator(types=tuple(TYPES), *, sanitized: bool, csrc: Path = ROOT / "csrc") -> Path:
    """The module cuda_host_operator with these element types, from the kernels in `csrc`."""
    units = [
        _Unit(SOURCES / "module.cpp"),
        _Unit(csrc / "check.cpp"),
        _Unit(csrc / "cuda" / "workspace.cu", kernels=True),
    ]
    for name in types:
        codes = [f"-DSTRF_HOST_TYPE={TYPES[name]}", f"-DSTRF_HOST_CODE=STRF_{name.upper()}"]
        units.append(_Unit(SOURCES / "operator.cpp", codes, kernels=True))
    return _build("cuda_host_operator", units, sanitized, csrc)


def build_toys(*, sanitized: bool) -> Path:
    """The module cuda_host_toys."""
    return _build("cuda_host_toys", [_Unit(SOURCES / "toys.cpp", kernels=True)], sanitized, ROOT / "csrc")


class _Unit:
    def __init__(self, source, flags=(), *, kernels=False):
        self.source, self.flags, self.kernels = source, list(flags), kernels

    def command(self, sanitized, csrc):
        """Without the output. Kernels compile longer at -O2, with sanitizers much longer, and run hardly faster."""
        level = "-O1" if self.kernels else "-O2"
        include = [SOURCES, csrc / "cuda", csrc, *_python_includes()]
        flags = [*FLAGS, *(SANITIZE if sanitized else []), level, *[f"-I{folder}" for folder in include], *self.flags]
        return ["g++", *flags, "-c", "-x", "c++", str(self.source)]


def _build(name, units, sanitized, csrc):
    units = [_Unit(SOURCES / f"{part}.cpp") for part in ("fibers", "tensor_cores", "block")] + units
    with ThreadPoolExecutor(PROCESSES) as threads:
        objects = list(threads.map(lambda unit: _compile(unit, sanitized, csrc), units))
    flags = [*(SANITIZE if sanitized else []), "-shared"]
    key = _digest(*flags, *[path.name for path in objects])
    module = CACHE / key / f"{name}.so"
    return _made(module, ["g++", *flags, *map(str, objects)])


def _compile(unit, sanitized, csrc):
    command = unit.command(sanitized, csrc)
    headers = [*SOURCES.glob("*.h"), csrc / "strf.h", csrc / "cuda" / "operator.cuh"]
    if unit.kernels:
        headers += [*SOURCES.glob("*.cuh"), *csrc.glob("cuda/*.cuh")]
    contents = [path.read_bytes() for path in [unit.source, *sorted(headers)]]
    placeless = [word.replace(str(csrc), "csrc") for word in command]  # a copy of the kernels elsewhere is the same
    return _made(CACHE / f"{_digest(_compiler(), *placeless, *contents)}.o", command)


def _made(path, command):
    """`path`, made by the command unless it is there; in one step, as another process may be making it too."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    os.close(handle)
    done = subprocess.run([*command, "-o", temporary], capture_output=True, text=True)
    if done.returncode != 0:
        os.unlink(temporary)
        raise BuildError(f"{' '.join(command)}\n{done.stderr[:8000]}")
    os.replace(temporary, path)
    return path


def forget_old_builds(keep: int = 200) -> None:
    """Removes all but the newest files of the cache."""
    times = {}
    for path in CACHE.rglob("*.*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just given it its name
            times[path] = path.stat().st_mtime
    for path in sorted(times, key=times.get)[:-keep]:
        path.unlink(missing_ok=True)


def _digest(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


@functools.cache
def _compiler():
    """What of compiler, processor and Python an object depends on."""
    native = subprocess.run(["g++", "-march=native", "-dM", "-E", "-x", "c++", "/dev/null"], capture_output=True)
    return native.stdout + sys.version.encode()


def _python_includes():
    import pybind11

    return [pybind11.get_include(), sysconfig.get_paths()["include"]]


# ---- Running ---------------------------------------------------------------------------------------------------------


class Workers:
    """Processes that run functions of one module; a context manager."""

    def __init__(self, module: Path, *, sanitized: bool, timeout: float = 300.0):
        self._module, self._sanitized, self._timeout = module, sanitized, timeout
        self._threads = ThreadPoolExecutor(PROCESSES)
        self._of_thread = threading.local()
        self._processes: list[_Process] = []

    def submit(self, function: str, **arguments) -> Future:
        """The future result of module.function(**arguments); RunError if it raises or if the process ends."""
        return self._threads.submit(self._run, function, arguments)

    def run(self, function: str, **arguments):
        return self.submit(function, **arguments).result()

    def _run(self, function, arguments):
        process = getattr(self._of_thread, "process", None)
        if process is None:
            process = self._of_thread.process = _Process(self._module, self._sanitized)
            self._processes.append(process)
        try:
            result, error = process.call(function, arguments, self._timeout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self._of_thread.process = None
            raise RunError(process.last_words()) from None
        if error is not None:
            raise RunError(error)
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.end()


class _Process:
    def __init__(self, module, sanitized):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if sanitized:
            libraries = [_library(name) for name in ("libasan.so", "libstdc++.so")]
            environment |= {**SANITIZER_OPTIONS, "LD_PRELOAD": ":".join(libraries)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, SOURCES / "worker.py", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def call(self, function, arguments, timeout):
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        try:
            pickle.dump((function, arguments), self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        finally:
            timer.cancel()

    def last_words(self):
        """What the process left on standard error, after its end."""
        code = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        self.end()
        return f"the process ended with {code}: {text[:6000]}"

    def end(self):
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            stream.close()


@functools.cache
def _library(name):
    return subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()


# ---- The operator ----------------------------------------------------------------------------------------------------

# Shared memory of a block in bytes, and multiprocessors. A full batch gives each multiprocessor the work of several
# samples, and is cut into wide strips and large tiles; few samples are cut so for a device with few multiprocessors.
LIMITS = {
    "sm_80": (163 * 1024, 108),
    "sm_87": (163 * 1024, 8),
    "sm_89": (99 * 1024, 128),
    "sm_90": (227 * 1024, 132),
    "sm_80-full": (163 * 1024, 2),
    "sm_89-full": (99 * 1024, 2),
    "sm_90-full": (227 * 1024, 2),
}


def arguments_of(
    x, weight, windows, kinds, temperature, similarity="dot", *, grad=None, channels_last=False, tf32=False,
    limits="sm_90", seed=0, offsets=(0, 0, 0), left_out=("", 0),
):  # fmt: skip
    """The arguments of the module's `run`, from contiguous tensors; `offsets` are those of x, weight and grad in bytes.

    In the file and line that `left_out` names threads do not wait for each other or for copies.

    An offset is from an address that is aligned to 256 bytes, as PyTorch's memory is, to the array's first element.
    """

    def placed(tensor):
        return array_of(tensor.permute(0, 2, 3, 4, 1) if channels_last else tensor)

    shared_bytes, multiprocessors = LIMITS[limits]
    return dict(
        x=placed(x),
        weight=array_of(weight),
        windows=list(windows),
        kinds=list(kinds),
        temperature=temperature,
        type=str(x.dtype).removeprefix("torch."),
        channels_last=channels_last,
        tf32=tf32,
        cosine=similarity == "cosine",
        grad=None if grad is None else placed(grad),
        shared_bytes=shared_bytes,
        multiprocessors=multiprocessors,
        seed=seed,
        offsets=list(offsets),
        left_out=left_out,
    )


def tensors_of(results: dict, dtype: torch.dtype, *, channels_last: bool = False) -> dict:
    """The module's results as tensors of the operator's shapes."""
    tensors = {name: torch.from_numpy(array) for name, array in results.items()}
    for name in {"y", "grad_x", "grad_weight"} & tensors.keys():
        tensors[name] = tensors[name].view(dtype)
    if channels_last:
        for name in {"y", "grad_x"} & tensors.keys():
            tensors[name] = tensors[name].permute(0, 4, 1, 2, 3)
    return tensors


def array_of(tensor):
    tensor = tensor.contiguous()
    return tensor.view(torch.int16).numpy().view("uint16") if tensor.dtype.itemsize == 2 else tensor.numpy()
