"""Writes docs/triton_table.md: what Triton makes of every kernel of the Triton backend at the sizes of stage 2.

    python tools/triton_table.py

Compiles for all targets without a GPU, and measures how long that takes: nothing else should run meanwhile.
"""

import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import triton_code  # noqa: E402
from triton_code import TARGETS, TENSOR_CORES, Compiled, Problem, maker  # noqa: E402

PAGE = ROOT / "docs" / "triton_table.md"
TYPES = ("bfloat16", "tf32", "float32", "float64")
STAGE_2 = Problem("bfloat16", batch=32, channels=128, frames=4, height=32, width=16, reduced=8)
# 2048 positions are too many for one pass over the masks; the forward pass then has kernels of its own.
TWO_PASSES = STAGE_2._replace(height=64, width=32, backward=False)
PROBLEMS = tuple(
    problem._replace(**similarity)
    for similarity in ({}, dict(cosine=True, temperature=16.0))
    for problem in (STAGE_2, TWO_PASSES)
)
HEAD = """\
# The Triton kernels in figures

Written by `python tools/triton_table.py` from kernels compiled by Triton {version} without a GPU; tests compare it with
what is compiled. Sizes are those of stage 2 of the paper's networks: 32 clips of 4 frames, 128 channels, 512 positions,
4 paths of 8 reduced channels. The kernels of two passes are as with the unit before the stride, at 2048 positions.
float16 has the blocks of bfloat16. Kernels are of similarity "dot", or serve both, unless it says "cosine";
**of two parts** are those of half types for it and for averages.

* **blocks**, **warps** and stages as the backend launches the kernel, on every GPU alike, and how many registers
  NVIDIA's assembler may use **at most**, where it is told.
* **registers** of a thread, **shared memory** of a block in KB, and instructions of the **tensor cores** in the code,
  for {targets}. Nothing is spilled.

"""
COLUMNS = ("kernel", "blocks", "warps x stages", "at most", "registers", "shared memory", "tensor cores")
FLAGS = {
    "COSINE": "cosine",
    "BOUNDED": "cosine",
    "KEEP": "for the backward pass",
    "TURNED": "transposed",
    "APPENDED": "and through the reduction",
}
SECONDS = "## The first call\n"
SECONDS_HEAD = """
Seconds that compiling takes at the first call of a process, with bfloat16 in stage 2, as long as Triton's cache on disk
has nothing of it: all kernels one after the other, on one core of {machine}.

"""


def asked(types: Iterable[str] = TYPES) -> list[tuple[str, Problem]]:
    """What `figures` needs, for triton_code.compile_all."""
    return [(target, problem._replace(type=type)) for type in types for target in TARGETS for problem in PROBLEMS]


def section(type: str, compiled: dict[tuple[str, Problem], list[Compiled]]) -> str:
    """One type's table."""
    rows = {}  # of every kernel in each of its forms, by target
    for target in TARGETS:
        for problem in PROBLEMS:
            for code in compiled[target, problem._replace(type=type)]:
                rows.setdefault(label(code), {}).setdefault(target, code)
    lines = [f"## {type}\n", row(COLUMNS), row(["---"] * len(COLUMNS))]
    for name, codes in rows.items():
        chosen = {tuple(code.launch.blocks.items()) for code in codes.values()}
        (blocks,) = map(dict, chosen)
        sizes = " ".join(f"{key.removeprefix('BLOCK_')}={size}" for key, size in blocks.items() if "BLOCK" in key)
        cells = [name, sizes.removeprefix("BLOCK="), f"{blocks['num_warps']} x {blocks['num_stages']}"]
        cells.append(str(blocks.get("maxnreg", "")))
        cells.append(" / ".join(str(codes[target].registers) for target in TARGETS))
        cells.append(" / ".join(f"{codes[target].shared / 1024:.1f}".removesuffix(".0") for target in TARGETS))
        cells.append(" / ".join(products(codes[target]) for target in TARGETS))
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def label(code: Compiled) -> str:
    options = dict(code.launch.options)
    flags = [words for name, words in FLAGS.items() if options.get(name) is True]
    flags += ["of two parts"] if options.get("SPLIT") == 2 else []
    return ", ".join([f"`{code.launch.kernel}`", *flags])


def products(code: Compiled) -> str:
    """12 HGMMA; a dash where there are none."""
    counts = {}
    for operation, number in code.matching(TENSOR_CORES[maker(code.target)]).items():
        name = operation.split(".")[0].split("_f")[0].removeprefix("v_")
        counts[name] = counts.get(name, 0) + number
    return " + ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "-"


def figures(version: str, compiled: dict[tuple[str, Problem], list[Compiled]]) -> str:
    """The page without the measured seconds."""
    head = HEAD.format(version=version, targets=" / ".join(TARGETS))
    return head + "\n".join(section(type, compiled) for type in TYPES)


def seconds(measured: dict[str, tuple[float, float]], machine: str) -> str:
    """measured: of every target the forward pass, and forward and backward."""
    lines = [row(["", *TARGETS]), row(["---"] * (len(TARGETS) + 1))]
    for number, name in enumerate(("forward", "forward and backward")):
        lines.append(row([name, *(f"{measured[target][number]:.1f}" for target in TARGETS)]))
    return SECONDS + SECONDS_HEAD.format(machine=machine) + "\n".join(lines) + "\n"


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    with triton_code.processes() as pool:
        compiled = triton_code.compile_all(pool, asked())
    measured = {}
    for target in TARGETS:
        forward, both = (
            triton_code.first_call_seconds(target, STAGE_2._replace(backward=backward)) for backward in (False, True)
        )
        measured[target] = forward, both
    text = figures(importlib.metadata.version("triton"), compiled)
    PAGE.write_text(f"{text}\n{seconds(measured, processor())}", encoding="utf-8")


if __name__ == "__main__":
    main()
