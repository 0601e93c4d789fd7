"""Trained models as programs that need nothing of this package but, where they call it, its operator library.

    program   the graph that torch.export records; runs wherever torch does, on any processor or GPU, and can be
              compiled, lowered and looked at
    package   the same graph compiled by AOTInductor; runs without Python too, as in examples/cpp

Both are .pt2 files and map contiguous uint8 RGB clips [B, 3, T, H, W] to float32 features [B, F], whatever B is. Units
are calls of `torch.ops.strf_cuda.forward` where the operator library is usable when they are saved, and standard
operators otherwise. What a file holds is told in it by `Facts`.
"""

import dataclasses
import fnmatch
import io
import json
import os
import platform
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._inductor
from torch import Tensor

from strf_cuda import __version__
from strf_cuda.backends import choice
from strf_cuda.errors import InputError
from strf_cuda.exporting.embedder import DYNAMIC_BATCH, embedder, example_clips
from strf_cuda.files import replacing
from strf_cuda.trained import TrainedModel

SUFFIX = ".pt2"
OPERATOR, NO_OPERATOR = "strf_cuda::forward", "none"
_EXTRA_FILE = "strf_cuda.json"
# Where the facts are in the archives: a file that torch.export adds, and the metadata of AOTInductor.
_PROGRAM_FACTS, _PACKAGE_FACTS = f"*/extra/{_EXTRA_FILE}", "*/aotinductor/model/*metadata.json"
# Every x86-64 processor from about 2013 on: what AOTInductor compiles by itself runs on processors like its own only.
_PROCESSOR, _VECTOR_BITS = "x86-64-v3", 256


@dataclass(frozen=True)
class Facts:
    """What a program or package is.

    Attributes:
        fingerprint: of the trained model, `TrainedModel.fingerprint`.
        frames, height, width: of a clip.
        features: F, the length of a feature.
        operator: the operator of the library libstrf_cuda.so that it calls, "strf_cuda::forward", or "none".
        device: where it runs, "cpu" or "cuda", and for a program "any".
        processor: what it needs, for a program "any".
        torch: the version that saved it. A package may need this very version.
        strf_cuda: the version of this package that saved it.
    """

    fingerprint: str
    frames: int
    height: int
    width: int
    features: int
    operator: str
    device: str
    processor: str
    torch: str
    strf_cuda: str


class Program:
    """A program or package that was opened: maps uint8 RGB clips [B, 3, T, H, W] to float32 features [B, F].

    Attributes:
        facts: what it is.
    """

    def __init__(self, facts: Facts, compute: Callable[[Tensor], Tensor], device: str):
        self.facts = facts
        self._compute, self._device = compute, device

    def __call__(self, clips: Tensor) -> Tensor:
        """Features of clips, on the program's device; clips that are elsewhere or not contiguous are copied.

        Raises:
            InputError: clips of another type or size.
        """
        frames, height, width = self.facts.frames, self.facts.height, self.facts.width
        # Compiled code looks at neither, and would read beyond the end.
        if clips.dtype != torch.uint8 or clips.dim() != 5 or clips.shape[1:] != (3, frames, height, width):
            raise InputError(
                f"clips are {clips.dtype} {list(clips.shape)}, but they must be torch.uint8 "
                f"[any number, 3, {frames}, {height}, {width}]: RGB frames of {height}x{width}, {frames} to a clip"
            )
        with torch.inference_mode():
            return self._compute(clips.to(self._device).contiguous())


def save_program(trained: TrainedModel, path: str | Path, *, backend: str = "auto") -> Facts:
    """Saves a trained model as a program of torch.export.

    Args:
        path: ends in .pt2.
        backend: "auto" for the operator library where it is usable, "cpu" to insist on it, "reference" for a program of
            standard operators, which runs without it.

    Raises:
        InputError: the file cannot be written, or there is no such backend here.
    """
    path = _checked(path)
    program, facts = _exported(trained, backend, torch.device("cpu"))
    written = io.BytesIO()
    torch.export.save(program, written, extra_files={_EXTRA_FILE: json.dumps(dataclasses.asdict(facts))})
    with replacing(path) as temporary:
        temporary.write_bytes(written.getbuffer())
    return facts


def load_program(path: str | Path, device: str = "cpu") -> Program:
    """Opens what `save_program` saved; only files from people you trust, since torch may run code that is in them.

    Args:
        device: where it will take clips and give features, "cuda" for example.

    Raises:
        InputError: the file is missing, damaged or something else, or it calls the operator library, which is not
            usable here.
    """
    facts = _facts(path, _PROGRAM_FACTS, "program of torch.export")
    _check_operator(facts, path, device)
    with _without_advice():
        try:
            program = torch.export.load(io.BytesIO(Path(path).read_bytes()))  # torch opens names in UTF-8 alone
        except Exception as error:  # the faults of damaged archives have no common class
            raise InputError(f"the program {path} is damaged: {_first_line(error)}") from None
    if torch.device(device).type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return Program(facts, program.module(), device)


def save_package(trained: TrainedModel, path: str | Path, *, backend: str = "auto", device: str = "cpu") -> Facts:
    """Compiles a trained model into a package of AOTInductor, which takes half a minute and a C++ compiler.

    Args:
        path: ends in .pt2.
        backend: as in `save_program`; on a GPU "cuda" in place of "cpu".
        device: where the package will run; for "cuda" there must be such a GPU here.

    Raises:
        InputError: there is no C++ compiler, the file cannot be written, or there is no such backend here.
    """
    path = _checked(path)
    compilers = [name for name in torch._inductor.config.cpp.cxx if name]
    if not any(shutil.which(name) for name in compilers):
        raise InputError(
            f"compiling a package needs a C++ compiler, and {' or '.join(compilers)} was not found; install g++ or "
            "clang++, set CXX if it has another name, or save a program of torch.export"
        )
    program, facts = _exported(trained, backend, torch.device(device))
    settings = {
        "cpp.dynamic_threads": True,  # otherwise it runs on as many threads as this process has, for ever
        "aot_inductor.precompile_headers": False,  # which pays from the second package on and leaves a gigabyte
    }
    processor = f"{platform.machine()}, as where it was compiled"
    if _compiles_for_most_processors():
        processor = _PROCESSOR
        settings |= {"cpp.march": _PROCESSOR, "cpp.simdlen": _VECTOR_BITS}
    facts = dataclasses.replace(facts, device=torch.device(device).type, processor=processor)
    settings["aot_inductor.metadata"] = {name: str(value) for name, value in dataclasses.asdict(facts).items()}
    from torch._inductor.utils import fresh_cache

    with replacing(path) as temporary, tempfile.TemporaryDirectory() as folder, _without_advice():
        compiled = Path(folder, "model.pt2")  # the archive holds the file's name
        with fresh_cache(dir=folder):  # which would keep a copy of the weights
            torch._inductor.aoti_compile_and_package(program, package_path=str(compiled), inductor_configs=settings)
        shutil.copyfile(compiled, temporary)
    return facts


def load_package(path: str | Path) -> Program:
    """Opens what `save_package` saved; only files from people you trust, since a package is machine code.

    Raises:
        InputError: as `load_program`.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"torch opens packages only where all names are UTF-8: give {path} another") from None
    facts = _facts(path, _PACKAGE_FACTS, "package of AOTInductor")
    _check_operator(facts, path, facts.device)
    # torch compares the vector instructions with those that it would take now, and would warn of fewer.
    ours = {"cpp.simdlen": _VECTOR_BITS} if facts.processor == _PROCESSOR else {}
    with torch._inductor.config.patch(ours):
        return Program(facts, torch._inductor.aoti_load_package(str(path)), facts.device)


def _exported(trained: TrainedModel, backend: str, device: torch.device) -> tuple[torch.export.ExportedProgram, Facts]:
    if backend not in ("auto", device.type, "reference") or device.type not in ("cpu", "cuda"):
        raise InputError(
            f"backend is {backend!r} and device {device}, but the device must be cpu or cuda, and the backend auto, "
            "reference or the device's own"
        )
    if backend == "auto":  # whose second choice on a GPU, Triton, needs Python
        backend = "reference" if choice.why_not(device.type) else device.type
    module, clips = embedder(trained, backend=backend).to(device), example_clips(trained).to(device)
    with torch.no_grad(), _without_advice():
        program = torch.export.export(module, (clips,), dynamic_shapes=DYNAMIC_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names the folders of this machine
    called = {node.target for node in program.graph.nodes}
    data = trained.config.data
    return program, Facts(
        fingerprint=trained.fingerprint,
        frames=data.frames,
        height=data.height,
        width=data.width,
        features=trained.model.feature_size,
        operator=OPERATOR if torch.ops.strf_cuda.forward.default in called else NO_OPERATOR,
        device="any",
        processor="any",
        torch=torch.__version__,
        strf_cuda=__version__,
    )


def _facts(path: str | Path, place: str, kind: str) -> Facts:
    """The facts in a file, read before anything else of it is trusted."""
    try:
        with zipfile.ZipFile(path) as archive:
            told = [json.loads(archive.read(name)) for name in archive.namelist() if fnmatch.fnmatch(name, place)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no {kind}, or damaged: {getattr(error, 'strerror', None) or error}") from None
    types = {field.name: field.type for field in dataclasses.fields(Facts)}
    told = next((each for each in told if set(types) <= set(each)), None)
    if told is None:
        raise InputError(f"{path} is no {kind} that strf_cuda.export has saved")
    return Facts(**{name: type(told[name]) for name, type in types.items()})


def _check_operator(facts: Facts, path: str | Path, device: str) -> None:
    if facts.operator != NO_OPERATOR and (reason := choice.why_not(torch.device(device).type)) is not None:
        raise InputError(f"{path} calls {facts.operator}, and {reason}; or save the model with the backend reference")


def _compiles_for_most_processors() -> bool:
    """Whether code can be asked for, and runs here, that is not for this machine's processor alone."""
    can_be_asked = hasattr(torch._inductor.config.cpp, "march")  # from torch 2.13 on
    capability = torch.backends.cpu.get_cpu_capability()
    return can_be_asked and platform.machine() == "x86_64" and capability in ("AVX2", "AVX512")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError(f"a program or package is a file that ends in {SUFFIX}, but the name given is {path}")
    return path


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _without_advice() -> warnings.catch_warnings:
    """Keeps torch's warnings of its own doing from people who can do nothing about them."""
    return warnings.catch_warnings(action="ignore")
