"""The Triton kernels as they are compiled on a machine without a GPU: registers, spills, memory and instructions.

A driver that knows nothing but its target takes the place of the GPU's, tensors have sizes and no memory, and the
backend's own `Launches` goes through its forward and backward pass; so every kernel is compiled for exactly the blocks,
types and divisibilities of a real call. Compiling is done in processes of its own, where Triton's interpreter is off
and its cache begins empty.

This module imports neither Triton nor the backend before it has to: both read TRITON_INTERPRET when they are imported.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import re
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import torch

import cuda_code

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "sm_120": ("cuda", 120, 32),
    "gfx942": ("hip", "gfx942", 64),
}
TYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "tf32": torch.float32,
    "float64": torch.float64,
}
# The instructions of the tensor cores, as regular expressions.
TENSOR_CORES = {"cuda": r"(HMMA|DMMA|IMMA|QMMA|OMMA|\w*GMMA|UTC\w*MMA)\b.*", "hip": r"v_s?mfma_.*"}
WINDOWS = (1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 3, 3)  # of the paper's four paths: frames, height, width


def maker(target: str) -> str:
    return TARGETS[target][0]


class Problem(NamedTuple):
    """A call of the operator."""

    type: str
    batch: int
    channels: int
    frames: int
    height: int
    width: int
    reduced: int
    paths: int = 4
    average: bool = False
    channels_last: bool = False
    temperature: float = 4.0
    windows: tuple[int, ...] = WINDOWS
    offset: int = 0  # elements between an aligned address and x
    backward: bool = True  # whether the backward pass follows
    cosine: bool = False


class Launch(NamedTuple):
    """A kernel and what is chosen for it: blocks, flags and types, num_warps and num_stages."""

    kernel: str
    options: tuple[tuple[str, object], ...]

    def __str__(self):
        return f"{self.kernel}({', '.join(f'{name}={value}' for name, value in self.options)})"

    @property
    def blocks(self) -> dict[str, int]:
        """What strf_cuda/backends/triton_kernels/blocks.py chose."""
        return {name: value for name, value in self.options if name.startswith(("BLOCK", "num_", "maxnreg"))}

    def option(self, name: str):
        return dict(self.options)[name]


@dataclass(frozen=True)
class Compiled:
    """One kernel as compiled for one target."""

    target: str
    launch: Launch
    seconds: float = 0.0  # of compiling
    error: str = ""  # why there is no code, if there is none
    registers: int = 0  # of a thread; on AMD's GPUs vector registers, accumulating ones included
    shared: int = 0  # bytes of a block
    # What is not 0 unless nothing is in memory that should not be.
    spilled: dict[str, int] = field(default_factory=dict)
    operations: Counter = field(default_factory=Counter)  # instructions without operands

    def matching(self, pattern: str) -> Counter:
        """The instructions whose whole name a regular expression describes."""
        return Counter({name: number for name, number in self.operations.items() if re.fullmatch(pattern, name)})


# ---- What is launched -----------------------------------------------------------------------------------------------


def call(problem: Problem) -> None:
    """Launches the kernels of one problem on tensors without memory."""
    from strf_cuda.backends.triton_kernels.launches import Launches

    batch, channels, frames, height, width = problem[1:6]
    dtype = TYPES[problem.type]
    size = batch * channels * frames * height * width
    x = torch.empty(problem.offset + size, device="meta", dtype=dtype)[problem.offset :]
    if problem.channels_last:
        x = x.view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)
    else:
        x = x.view(batch, channels, frames, height, width)
    weight = torch.empty(problem.paths, problem.reduced, channels, device="meta", dtype=dtype)
    windows, kinds = problem.windows[: 3 * problem.paths], [int(problem.average)] * problem.paths
    launches = Launches(x, weight, windows, kinds, problem.temperature, problem.type == "tf32", problem.cosine)
    _, maximum, normalizer = launches.forward()
    if problem.backward:
        launches.backward(torch.empty_like(x), maximum, normalizer)


@contextlib.contextmanager
def launching(function: Callable) -> Iterator[None]:
    """Where kernels are handed to function(kernel, programs, *arguments, **options) instead of being launched."""
    from strf_cuda.backends.triton_kernels import launches

    with mock.patch.object(launches, "launch", function):
        yield


def launched(problem: Problem) -> list[Launch]:
    """What a call launches, without compiling it."""
    found = []
    with launching(lambda kernel, programs, *arguments, **options: found.append(launch_of(kernel, options))):
        call(problem)
    return found


def launch_of(kernel, options: dict) -> Launch:
    plain = ((name, value if isinstance(value, int | str) else str(value)) for name, value in options.items())
    return Launch(kernel.__name__, tuple(sorted(plain)))


# ---- Compiling ------------------------------------------------------------------------------------------------------


class Driver:
    """As much of a driver as Triton asks for in order to compile."""

    def __init__(self, target: str):
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget(*TARGETS[target])
        self.device = object()  # by which Triton remembers what it has compiled

    def get_current_target(self):
        return self.target

    def get_current_device(self) -> object:
        return self.device

    def get_current_stream(self, device=None) -> int:
        return 0


class Made(NamedTuple):
    """What came of one launch."""

    kernel: object  # Triton's compiled kernel, or the exception instead
    launch: Launch
    seconds: float
    new: bool  # whether this form of the kernel was not known


class Compiler:
    """Compiles for one target in this process; what it has compiled before is not compiled again."""

    def __init__(self, target: str):
        self.target, self.driver = target, Driver(target)
        self.known = {}  # Triton's compiled kernels and ours, by the identity of the former

    def __call__(self, calls: Iterable[Callable[[], None]]) -> list[list[Compiled]]:
        """The kernels that each of these functions launches, each kernel once."""
        groups = [self.launches(call) for call in calls]
        new = {}
        for made in itertools.chain(*groups):
            if id(made.kernel) not in self.known:
                new.setdefault(id(made.kernel), made)  # its first launch is the one that took time
        codes = self._codes([made.kernel for made in new.values()])
        for made, code in zip(new.values(), codes, strict=True):
            self.known[id(made.kernel)] = made.kernel, Compiled(self.target, made.launch, made.seconds, **code)
        return [[self.known[name][1] for name in dict.fromkeys(id(made.kernel) for made in group)] for group in groups]

    def launches(self, call: Callable[[], None]) -> list[Made]:
        """What comes of every launch of a call."""
        from triton.runtime import driver

        driver.set_active(self.driver)
        found = []

        def compile_only(kernel, programs, *arguments, **options):
            launch = launch_of(kernel, options)
            if maker(self.target) == "hip":
                options.pop("maxnreg", None)  # as launches.launch does
            known = kernel.device_caches[self.driver.device][0]
            before, start = len(known), time.perf_counter()
            try:
                made = kernel.warmup(*arguments, grid=(programs,), **options)
            except Exception as error:  # of any of the compiler's many parts
                made = error
            seconds = time.perf_counter() - start
            found.append(Made(made, launch, seconds, len(known) > before))

        with launching(compile_only):
            call()
        return found

    def _codes(self, kernels: list) -> list[dict]:
        good = [kernel for kernel in kernels if not isinstance(kernel, Exception)]
        read = {"hip": amd_codes, "cuda": nvidia_codes}[maker(self.target)]
        codes = iter(read(self.target, good) if good else [])
        return [
            dict(error=f"{type(kernel).__name__}: {kernel}") if isinstance(kernel, Exception) else next(codes)
            for kernel in kernels
        ]


# ---- Reading what was compiled --------------------------------------------------------------------------------------


def nvidia_codes(target: str, kernels: list) -> list[dict]:
    """Registers, memory and instructions of kernels in Triton's form."""
    architecture = target.removeprefix("sm_")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kernel, operations in zip(kernels, disassembled(target, kernels), strict=True):
            file = os.path.join(folder, "kernel.cubin")
            with open(file, "wb") as opened:
                opened.write(kernel.asm["cubin"])
            text = f"arch = sm_{architecture}\n{run_tool('cuobjdump', '-res-usage', file)}"
            (code,) = cuda_code.parse_resources(text).values()
            spilled = dict(stack=code.stack, local=code.local, STL=0, LDL=0)
            for operation, number in operations.items():
                if (name := operation.partition(".")[0]) in spilled:
                    spilled[name] += number
            shared = kernel.metadata.shared + code.shared
            found.append(dict(registers=code.registers, shared=shared, spilled=spilled, operations=operations))
    return found


def disassembled(target: str, kernels: list) -> list[Counter]:
    """Instructions of all kernels by one run of nvdisasm: it takes longer to start than to read a kernel."""
    codes = [instructions_of(kernel.asm["cubin"]) for kernel in kernels]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(codes))
        file.flush()
        # Triton compiles for sm_90a and sm_100a, whose instructions are more than sm_90's and sm_100's.
        architecture = target.replace("sm_", "SM") + ("" if target == "sm_80" else "a")
        text = run_tool("nvdisasm", "--no-dataflow", "--binary", architecture, file.name)
    lines = [line for line in text.splitlines() if re.match(r"\s*/\*[0-9a-f]{4,}\*/", line)]
    if len(lines) * 16 != sum(map(len, codes)):
        raise RuntimeError(f"nvdisasm shows {len(lines)} instructions of 16 bytes in {sum(map(len, codes))} bytes")
    heads, at = [f"code for {target}"], 0
    for number, code in enumerate(codes):
        end = at + len(code) // 16
        heads += [f"Function : {number}", *lines[at:end]]
        at = end
    found = cuda_code.parse_operations("\n".join(heads))
    return [found[target.removeprefix("sm_"), str(number)] for number in range(len(codes))]


def instructions_of(cubin: bytes) -> bytes:
    """The one .text section of an ELF file of 64 bits."""
    (sections,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", cubin, sections + number * size) for number in range(count)]
    start = heads[names][4]
    (found,) = (head for head in heads if cubin.startswith(b".text.", start + head[0]))
    return cubin[found[4] : found[4] + found[5]]


def amd_codes(target: str, kernels: list) -> list[dict]:
    found = []
    for kernel in kernels:
        text = kernel.asm["amdgcn"]
        figures = {name: int(value) for name, value in re.findall(r"^\s+\.(\w+):\s+(\d+)$", text, re.MULTILINE)}
        # Scalar registers are spilled to vector registers, unless there is a private segment.
        names = ("vgpr_spill_count", "private_segment_fixed_size")
        operations = Counter(re.findall(r"^\t([a-z]+_\w+)", text, re.MULTILINE))
        spilled = {name: figures[name] for name in names}
        spilled["scratch"] = sum(number for name, number in operations.items() if name.startswith("scratch_"))
        found.append(
            dict(
                registers=figures["vgpr_count"],
                shared=kernel.metadata.shared,
                spilled=spilled,
                operations=operations,
            )
        )
    return found


def run_tool(name: str, *options) -> str:
    """What a program that came with Triton prints."""
    from triton import knobs

    done = subprocess.run([getattr(knobs.nvidia, name).path, *options], capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"{name} {' '.join(map(str, options))} says: {done.stderr or 'nothing'}")
    return done.stdout


# ---- In processes of their own --------------------------------------------------------------------------------------


@contextlib.contextmanager
def processes(count: int = 2) -> Iterator[ProcessPoolExecutor]:
    """Processes that compile, with one cache of Triton's that is empty at first."""
    with (
        tempfile.TemporaryDirectory() as cache,
        ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _prepare, (cache,)) as pool,
    ):
        yield pool


def _prepare(cache: str) -> None:
    os.environ.pop("TRITON_INTERPRET", None)
    os.environ["TRITON_CACHE_DIR"] = cache
    torch.set_num_threads(1)


@functools.cache
def _compiler(target: str) -> Compiler:
    return Compiler(target)


def _compile(target: str, problems: list[Problem]) -> list[list[Compiled]]:
    return _compiler(target)([functools.partial(call, problem) for problem in problems])


def compile_all(
    pool: ProcessPoolExecutor, asked: Iterable[tuple[str, Problem]]
) -> dict[tuple[str, Problem], list[Compiled]]:
    """The kernels of each problem for each target. What problems share is compiled once."""
    asked = list(dict.fromkeys(asked))
    chunks = []
    for target in dict.fromkeys(target for target, _ in asked):
        problems = [problem for other, problem in asked if other == target]
        chunks += [(target, problems[first : first + 5]) for first in range(0, len(problems), 5)]
    answers = pool.map(_compile, *zip(*chunks, strict=True))
    return {
        (target, problem): compiled
        for (target, problems), answer in zip(chunks, answers, strict=True)
        for problem, compiled in zip(problems, answer, strict=True)
    }


def specializations(target: str, problems: Iterable[Problem]) -> list[Counter]:
    """How many forms of each kernel have to be compiled for each of the problems, one after the other."""
    compiler = Compiler(target)
    groups = [compiler.launches(functools.partial(call, problem)) for problem in problems]
    return [Counter(made.launch.kernel for made in group if made.new) for group in groups]


def _seconds(target: str, problem: Problem) -> float:
    return sum(made.seconds for made in Compiler(target).launches(functools.partial(call, problem)))


def first_call_seconds(target: str, problem: Problem) -> float:
    """How long all kernels of a problem take to compile, one after the other, in a new process."""
    with processes(1) as pool:
        return pool.submit(_seconds, target, problem).result()
