"""The operator library libstrf_cuda.so: found beside the package, loaded once, or why it cannot be used, in words.

Importing this module loads the library, or, where there is none, defines the same operators from Python without
kernels: `torch.ops.strf_cuda` then still has their signatures, so that a program exported elsewhere can be read here.
"""

import ctypes
import json
import os
import struct
from pathlib import Path

import torch

from strf_cuda.errors import InputError

FILE = Path(__file__).resolve().parent.parent / "libstrf_cuda.so"
BUILD_FACTS = FILE.with_name("native_build.json")  # written by setup.py, also when nothing could be built
BUILD_AGAIN = "build it again with pip install . or make setup"

# As the library registers them. windows: (t, h, w) of every path; kinds: 0 max, 1 average; tf32: whether products of
# float32 tensors on CUDA may round their operands to TF32; cosine: the similarity, which programs that were exported by
# earlier versions do not name.
SCHEMAS = {
    "forward": "(Tensor x, Tensor weight, int[] windows, int[] kinds, float temperature, bool tf32, "
    "bool cosine=False) -> (Tensor, Tensor, Tensor)",
    "backward": "(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer, int[] windows, int[] kinds, "
    "float temperature, bool tf32, bool cosine=False) -> (Tensor, Tensor)",
    "probe": "(Tensor values) -> Tensor",
    "build": "() -> str",
}


def build_facts() -> dict:
    """What the loaded library says of itself: compiler, nvcc, architectures, version, level of the CPU code.

    Raises:
        InputError: the library is not usable here.
    """
    if REASON is not None:
        raise InputError(f"the operator library is not usable here: {REASON}")
    return json.loads(torch.ops.strf_cuda.build())


def cuda_code_runs(device: int) -> str | None:
    """None where the library's CUDA kernels run on that device, otherwise one sentence; not to be asked at every call.

    By the C interface, since tracers see operators and would run this one on no device.
    """
    supports = ctypes.CDLL(FILE).strf_cuda_supports
    supports.restype = ctypes.c_char_p
    said = supports(device)
    return said and said.decode()


def _load() -> str | None:
    """Loads the library; None, or one sentence on why it cannot be used."""
    if _defined():
        # Loading a second copy would end the process: both register the same names.
        if os.path.realpath(FILE) not in torch.ops.loaded_libraries:
            return _another_copy()
    elif not FILE.exists():
        return _why_absent()
    elif _is_truncated(FILE):
        return f"the operator library {FILE} is cut off; {BUILD_AGAIN}"
    else:
        try:
            torch.ops.load_library(FILE)
        except OSError as error:
            return f"the operator library does not load here ({error.__cause__ or error}); {BUILD_AGAIN}"
    return _mismatch()


def _defined() -> bool:
    return any(hasattr(torch.ops.strf_cuda, name) for name in SCHEMAS)


def _another_copy() -> str:
    copies = [path for path in torch.ops.loaded_libraries if os.path.basename(path) == FILE.name]
    return (
        f"another copy of the operator library was loaded before, {' and '.join(copies) or 'from an unknown place'}, "
        f"and the one of this package, {FILE}, cannot be loaded beside it; load only one of them"
    )


def _why_absent() -> str:
    try:
        reason = json.loads(BUILD_FACTS.read_text(encoding="utf-8"))["cpu"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"the operator library has not been built, there is no {FILE}; build it with pip install . or make setup"
    if reason == "built":
        return f"the operator library was built but {FILE} is missing; {BUILD_AGAIN}"
    return f"the operator library was not built: {reason}"


def _why_without_cuda() -> str | None:
    state = build_facts()["cuda"]
    return None if state == "built" else f"the operator library was built without CUDA code: {state}"


def _is_truncated(path: Path) -> bool:
    """Whether an ELF file ends before its section headers, which stand last: the loader would die of a bus error."""
    with path.open("rb") as file:
        head = file.read(64)
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return False  # The loader says what is wrong with it.
    (offset,), (size, count) = struct.unpack_from("<Q", head, 0x28), struct.unpack_from("<HH", head, 0x3A)
    return path.stat().st_size < offset + size * count


def _mismatch() -> str | None:
    """One sentence when the loaded library is that of another version of the package."""
    from strf_cuda import __version__

    # The version comes first: a library of another version may well have other operators.
    build = getattr(torch.ops.strf_cuda, "build", None)
    version = json.loads(build())["version"] if build else "unknown"
    if version != __version__:
        return f"the operator library {FILE} is of version {version} but the package of {__version__}; {BUILD_AGAIN}"
    for name, schema in SCHEMAS.items():
        operator = getattr(torch.ops.strf_cuda, name, None)
        if operator is None or str(operator.default._schema) != f"strf_cuda::{name}{schema}":
            return f"the operator {name} of {FILE} is not the one that this package calls; {BUILD_AGAIN}"
    return None


def _define(reason: str) -> None:
    """The operators without kernels: a call says why."""
    for name, schema in SCHEMAS.items():

        def refuse(*args, name=name):
            raise InputError(f"torch.ops.strf_cuda.{name} has no kernels here: {reason}")

        LIBRARY.define(f"{name}{schema}")
        LIBRARY.impl(name, refuse, "CompositeExplicitAutograd")


# What Python adds to the operators lives as long as this object.
LIBRARY = torch.library.Library("strf_cuda", "FRAGMENT")
REASON = _load()  # None: usable
CUDA_REASON = REASON or _why_without_cuda()  # None: usable, and has CUDA kernels; another question is where they run
# Whether torch.ops.strf_cuda has the operators of SCHEMAS, with kernels or without; not so with somebody else's copy.
HAS_OPERATORS = REASON is None or not _defined()
if REASON is not None and HAS_OPERATORS:
    _define(REASON)
