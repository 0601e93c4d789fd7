"""The CUDA kernels as nvcc left them in the operator library: registers, memory and instructions on each architecture.

Everything is read from the library itself, by cuobjdump. ptxas' own spill figures are not kept there; but what is
spilled lies in local memory, so it shows twice: as a stack frame, and as the instructions LDL and STL.

How many blocks a launch has, and how much shared memory it asks for, comes from the operator's own host code, compiled
without CUDA (tests/cuda_launches.cpp).
"""

import functools
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "strf_cuda" / "libstrf_cuda.so"
TYPES = ("Float64", "Float32", "BFloat16", "Float16")  # in the order of strf_type
HALF_TYPES = ("BFloat16", "Float16")
MULTIPROCESSOR_REGISTERS = 65536


class Device(NamedTuple):
    """Limits from the CUDA programming guide's table of compute capabilities."""

    architecture: str  # whose code it runs
    block_shared: int  # bytes of shared memory that a block may ask for
    shared: int  # bytes that a multiprocessor has; each block costs RESERVED more than it asks for
    multiprocessors: int
    threads: int  # of a multiprocessor
    blocks: int


RESERVED = 1024
DEVICES = {
    "A100": Device("80", 166_912, 167_936, 108, 2048, 32),
    "RTX 3090": Device("80", 101_376, 102_400, 82, 1536, 16),
    "RTX 4090": Device("80", 101_376, 102_400, 128, 1536, 24),
    "H200": Device("90a", 232_448, 233_472, 132, 2048, 32),
    "B200": Device("100", 232_448, 233_472, 148, 2048, 32),
    "RTX 5090": Device("120", 101_376, 102_400, 170, 1536, 24),
}


@dataclass
class Code:
    """One kernel on one architecture."""

    registers: int
    stack: int  # bytes a thread, as local memory: zero unless registers are spilled or arrays indexed at run time
    local: int
    shared: int  # bytes that are not asked for at launch; what the system reserves is left out
    operations: Counter = field(default_factory=Counter)  # instructions without operands: {"LDG.E.128.CONSTANT": 4}

    def count(self, *parts: str) -> int:
        """Instructions of an operation with all these suffixes: count("LDG", "128")."""
        name, *suffixes = parts
        return sum(
            number
            for operation, number in self.operations.items()
            if operation.split(".")[0] == name and set(suffixes) <= set(operation.split("."))
        )


class Bounds(NamedTuple):
    """What the source promises and asks of the compiler."""

    threads: int  # of a block
    blocks: int  # of a multiprocessor, that registers must allow


class Launch(NamedTuple):
    kernel: str
    strip: int  # positions of a strip and panels of a warp, where a kernel has them, otherwise 0
    held: int
    bounds: Bounds
    blocks: int
    shared: int  # bytes


class Problem(NamedTuple):
    type: str
    batch: int
    channels: int
    frames: int
    height: int
    width: int
    reduced: int
    paths: int = 4
    window: int = 3
    average: bool = False
    channels_last: bool = True
    tf32: bool = False
    cosine: bool = True


# ---- What must hold -------------------------------------------------------------------------------------------------

# The instructions of the tensor cores by which a type's kernels multiply, and how many of each 16 rows by a block of
# columns by a block of k need at least (csrc/cuda/types.cuh). Float32's are in TF32, or, when exact, of three bfloat16
# terms.
PRODUCTS = {
    "BFloat16": {"HMMA.16816.F32.BF16": 8},
    "Float16": {"HMMA.16816.F32": 8},
    "Float32": {"HMMA.1688.F32.TF32": 4, "HMMA.16816.F32.BF16": 12},
    "Float64": {"DMMA": 4},
}
MATRIX_OPERATIONS = ("HMMA", "DMMA", "IMMA", "QMMA", "OMMA", "HGMMA")


def kind_of(kernel: str) -> str:
    return kernel.partition("<")[0]


def type_of(kernel: str) -> str | None:
    return next((name for name in TYPES if f"<{name}" in kernel), None)


def required_operations(kernel: str) -> dict[str, tuple[str, ...]]:
    """Instructions without which a kernel is not what its source says, besides those of the tensor cores: what they
    are for, and Code.count's arguments."""
    kind, half = kind_of(kernel), type_of(kernel) in HALF_TYPES
    required = {}
    if kind in ("Multiply", "Columns", "Gradient"):
        required["16-byte loads of T from global memory"] = ("LDG", "128")
        if type_of(kernel) != "Float64":
            required["powers of two of the soft-max"] = ("MUFU", "EX2")
    if kind in ("Multiply", "Product"):
        required["16-byte asynchronous copies into panels"] = ("LDGSTS", "128")
        required["16-byte loads from shared memory"] = ("LDS", "128")
        if half:
            required["transposed loads from panels"] = ("LDSM",)
    if kind in ("Multiply", "Product", "Gradient", "PoolForward"):
        required["16-byte stores of the result"] = ("STG", "128")
    return required


def product_of(operation: str) -> str | None:
    """An instruction of the tensor cores by its name in PRODUCTS: DMMA's one shape has several suffixes."""
    kind = operation.split(".")[0]
    return (kind if kind == "DMMA" else operation) if kind in MATRIX_OPERATIONS else None


def products_in(code: Code) -> Counter:
    found = Counter()
    for operation, number in code.operations.items():
        if product := product_of(operation):
            found[product] += number
    return found


def complaints(kernel: str, code: Code, bounds: Bounds) -> list[str]:
    """What is wrong with a kernel's code, a sentence each."""
    wrong = []
    if code.registers > 255:
        wrong.append(f"{code.registers} registers, of which there are 255")
    if registers_of_block(code, bounds) * bounds.blocks > MULTIPROCESSOR_REGISTERS:
        wrong.append(f"{code.registers} registers do not allow {bounds.blocks} blocks of {bounds.threads} threads")
    if code.stack or code.local:
        wrong.append(f"a stack frame of {code.stack} bytes and {code.local} bytes of local memory, not 0")
    if loads_and_stores := code.count("LDL") + code.count("STL"):
        wrong.append(f"{loads_and_stores} loads and stores of local memory, not 0")
    if code.shared:
        wrong.append(f"{code.shared} bytes of shared memory that no launch asks for")
    for purpose, parts in required_operations(kernel).items():
        if not code.count(*parts):
            wrong.append(f"no {purpose} ({' '.join(parts)})")
    multiplies = kind_of(kernel) in ("Multiply", "Product", "Columns", "Gradient")
    products, found = PRODUCTS[type_of(kernel)] if multiplies else {}, products_in(code)
    wrong += [
        f"{found[name]} of {name}, not {least} or more" for name, least in products.items() if found[name] < least
    ]
    if others := set(found) - set(products):
        wrong.append(f"tensor cores used as {', '.join(sorted(others))}")
    return wrong


def registers_of_block(code: Code, bounds: Bounds) -> int:
    """A warp gets its registers in units of 256."""
    return -(-code.registers * 32 // 256) * 256 * (bounds.threads // 32)


def blocks_by_registers(code: Code, bounds: Bounds) -> int:
    return MULTIPROCESSOR_REGISTERS // registers_of_block(code, bounds)


def blocks_by_shared(device: Device, shared: int) -> int:
    return min(device.shared // (shared + RESERVED), device.blocks)


# ---- Reading the library --------------------------------------------------------------------------------------------


def manifest() -> dict:
    path = LIBRARY.with_name("native_build.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cuda": "nothing has been built here"}


def find_program(name: str) -> str | None:
    """A program of the CUDA toolkit: on the path, in the toolkit's folder, or in the triton package."""
    folders = [os.path.join(os.environ.get(home, "/usr/local/cuda"), "bin") for home in ("CUDA_HOME", "CUDA_PATH")]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    triton = importlib.util.find_spec("triton")
    if not found and triton:
        found = shutil.which(name, path=Path(triton.submodule_search_locations[0], "backends", "nvidia", "bin"))
    return found


def cuobjdump(*options, folder: str | None = None) -> str:
    """What it prints; folder is where it writes files."""
    program = os.path.abspath(find_program("cuobjdump"))
    done = subprocess.run([program, *options], cwd=folder, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"cuobjdump {' '.join(map(str, options))} says: {done.stderr or 'nothing'}")
    return done.stdout


def compiler_versions(library: Path = LIBRARY) -> set[str]:
    """The versions of ptxas that made the code, as it is noted there."""
    with tempfile.TemporaryDirectory() as folder:
        cuobjdump("-xelf", "all", library.resolve(), folder=folder)
        codes = [path.read_bytes() for path in Path(folder).iterdir()]
    notes = itertools.chain(
        *(re.findall(rb"Cuda compilation tools, release [\d.]+, V([\d.]+)", code) for code in codes)
    )
    return {version.decode() for version in notes}


def names_of(mangled: set[str]) -> dict[str, str]:
    """Short names: Multiply<BFloat16,true> for strf::entry<strf::Multiply<strf::BFloat16, true> >(...)."""
    listed = sorted(mangled)
    done = subprocess.run(["c++filt", *listed], capture_output=True, text=True, check=True)
    names = {}
    for symbol, name in zip(listed, done.stdout.splitlines(), strict=True):
        entry = re.match(r"void strf::entry<(.+?) ?>\(", name)
        name = entry[1] if entry else re.sub(r"\(anonymous namespace\)::|\(.*", "", name)
        names[symbol] = re.sub(r"strf::| ", "", name)
    return names


def parse_resources(text: str) -> dict[tuple[str, str], Code]:
    """By architecture and mangled name, from `cuobjdump -res-usage`."""
    found, architecture, kernel = {}, None, None
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\w+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function (\S+):$", line):
            kernel = match[1]
        elif match := re.match(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            # From sm_90 on the figure has in it what the system reserves, if a block may use shared memory at all.
            reserved = RESERVED if int(re.sub(r"\D", "", architecture)) >= 90 and shared else 0
            found[architecture, kernel] = Code(registers, stack, local, shared - reserved)
    return found


def parse_operations(text: str) -> dict[tuple[str, str], Counter]:
    """By architecture and mangled name, from `cuobjdump -sass`."""
    found = {}
    heads = list(re.finditer(r"^\s*code for sm_(\w+)$|^\s*Function : (\S+)$", text, re.MULTILINE))
    architecture = None
    for head, following in itertools.zip_longest(heads, heads[1:]):
        if head[1]:
            architecture = head[1]
            continue
        body = text[head.end() : following.start() if following else None]
        # An address, perhaps a predicate, and the operation.
        operations = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", body)
        found[architecture, head[2]] = Counter(operations)
    return found


def parse_bounds(text: str) -> dict[str, Bounds]:
    """By mangled name, from `cuobjdump -ptx`."""
    pattern = r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)[^\n]*\n\.minnctapersm (\d+)"
    return {name: Bounds(int(threads), int(blocks)) for name, threads, blocks in re.findall(pattern, text)}


@functools.cache
def compiled(library: Path = LIBRARY) -> dict[str, dict[str, Code]]:
    """Of every kernel the code for every architecture: compiled()["Sum<Float32>"]["90a"]."""
    resources = parse_resources(cuobjdump("-res-usage", library))
    names = names_of({kernel for _, kernel in resources})
    architectures = sorted({architecture for architecture, _ in resources})
    with ThreadPoolExecutor() as threads:  # cuobjdump is what takes the time
        texts = threads.map(
            lambda name: parse_operations(cuobjdump("-sass", "-arch", f"sm_{name}", library)), architectures
        )
        operations = {key: counts for found in texts for key, counts in found.items()}
    found = {}
    for (architecture, kernel), code in resources.items():
        code.operations = operations[architecture, kernel]
        found.setdefault(names[kernel], {})[architecture] = code
    return found


@functools.cache
def bounds(library: Path = LIBRARY) -> dict[str, Bounds]:
    """Of every kernel that states them."""
    found = parse_bounds(cuobjdump("-ptx", library))
    names = names_of(set(found))
    return {names[kernel]: value for kernel, value in found.items()}


# ---- Asking the operator --------------------------------------------------------------------------------------------


@functools.cache
def launch_program(folder: Path) -> Path:
    """tests/cuda_launches.cpp, compiled into the folder."""
    program, tests = folder / "cuda_launches", ROOT / "tests"
    command = [shutil.which("c++"), "-std=c++17", "-O0", "-Wno-unknown-pragmas", f"-I{tests / 'cuda_host'}"]
    command += [f"-I{ROOT / 'csrc' / 'cuda'}", tests / "cuda_launches.cpp", ROOT / "csrc" / "check.cpp", "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return program


def launches(program: Path, asked: list[tuple[Problem, Device, bool]]) -> list[list[Launch]]:
    """The different launches that the operator makes for each problem, device and direction: True is backward."""
    lines = [
        f"{backward:d} {TYPES.index(p.type)} {p.channels_last:d} {p.tf32:d} {p.batch} {p.channels} {p.frames} "
        f"{p.height} {p.width} {p.reduced} {p.paths} {p.window} {p.average:d} {p.cosine:d} "
        f"{device.block_shared} {device.multiprocessors}\n"
        for p, device, backward in asked
    ]
    done = subprocess.run([program], input="".join(lines), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = []
    for group in done.stdout.removesuffix("\n\n").split("\n\n"):
        rows = [line.split() for line in group.splitlines()]
        found.append(
            [
                Launch(kernel, int(strip), int(held), Bounds(int(threads), int(least)), int(blocks), int(shared))
                for kernel, strip, held, threads, least, blocks, shared in rows
            ]
        )
    if len(found) != len(asked):
        raise RuntimeError(f"asked for {len(asked)} problems, answered were {len(found)}: {done.stderr}")
    return found
