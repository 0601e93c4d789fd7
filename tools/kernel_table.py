"""Writes docs/kernels_table.md: what nvcc made of every CUDA kernel, and what launches ask for at the paper's sizes.

    python tools/kernel_table.py

Reads the operator library of this source tree, which must have the CUDA part for all architectures; make build builds
it. No GPU takes part.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))

import cuda_code  # noqa: E402
from cuda_code import TYPES, Bounds, Code, Device, Launch, Problem  # noqa: E402

PAGE = ROOT / "docs" / "kernels_table.md"
ARCHITECTURES = ("80", "90a", "100", "120")
SHOWN = "90a"  # whose instructions are counted
LARGE, SMALL = "H200", "RTX 4090"
# N = 512 and 128: stages 2 and 3 of the paper's networks; N = 2048: stage 2 with the unit before the stride.
PROBLEMS = [
    problem
    for name in TYPES
    for problem in (
        Problem(name, batch=32, channels=128, frames=4, height=32, width=16, reduced=8),
        Problem(name, batch=32, channels=256, frames=4, height=16, width=8, reduced=16),
        Problem(name, batch=32, channels=128, frames=4, height=64, width=32, reduced=8),
    )
]
HEAD = """\
# The CUDA kernels in figures

Written by `python tools/kernel_table.py` from kernels compiled by nvcc {compiler}; a test compares it with the build.

* **threads** of a block, and for how many blocks of a multiprocessor registers are kept.
* **registers** of a thread on sm_80 / 90a / 100 / 120, and the blocks of a multiprocessor that they allow. Nothing is
  spilled.
* **shared memory** of a block in KB at N = 512 / 128 / 2048 positions: 32 clips in stages 2 and 3 of the paper's
  networks, and in stage 2 with the unit before the stride; and the blocks of an H200's multiprocessor that it allows.
  On an H200, and on devices that give a block 99 KB. A dash where the kernel has nothing to do. Behind a colon, for
  Multiply, the positions of a strip and the panels of a warp.
* **instructions**, counted in the code for sm_90a: all of them, those of the tensor cores (**MMA**), powers of two
  (**EX2**; float64 computes its own), and accesses of 16 bytes: loads from global memory (**LDG**), asynchronous
  copies (**LDGSTS**), loads from shared memory (**LDS**), stores (**STG**).

"""
COLUMNS = ("kernel", "threads", "registers", "blocks by registers", "shared memory, H200", "blocks by shared memory")
COLUMNS += ("shared memory, 99 KB", "instructions", "MMA", "EX2", "LDG", "LDGSTS", "LDS", "STG")
Ask = Callable[[list[tuple[Problem, Device, bool]]], list[list[Launch]]]


def page(compiler: str, codes: dict[str, dict[str, Code]], bounds: dict[str, Bounds], ask: Ask) -> str:
    """The whole page. ask: cuda_code.launches for a program that is compiled already."""
    large, small = (asked_at_these_sizes(name, ask) for name in (LARGE, SMALL))
    lines = [row(COLUMNS), row(["---"] * len(COLUMNS))]
    order = list(large) + sorted(set(bounds) - set(large))
    for kernel in order:
        code, least = codes[kernel], bounds[kernel]
        shown = code[SHOWN]
        cells = [f"`{kernel.replace(',', ', ')}`", f"{least.threads} x {least.blocks}"]
        cells.append(" / ".join(str(code[name].registers) for name in ARCHITECTURES))
        cells.append(" / ".join(str(cuda_code.blocks_by_registers(code[name], least)) for name in ARCHITECTURES))
        cells += [memory(large.get(kernel)), occupancy(large.get(kernel)), memory(small.get(kernel))]
        cells += [f"{sum(shown.operations.values()):,}", str(sum(cuda_code.products_in(shown).values()))]
        cells.append(str(shown.count("MUFU", "EX2")))
        cells += [str(shown.count(name, "128")) for name in ("LDG", "LDGSTS", "LDS", "STG")]
        lines.append(row(cells))
    return HEAD.format(compiler=compiler) + "\n".join(lines) + "\n"


def asked_at_these_sizes(device: str, ask: Ask) -> dict[str, list[Launch | None]]:
    """Of every kernel the launch of most shared memory at each of its type's sizes, or None where there is none."""
    asked = [(problem, cuda_code.DEVICES[device], backward) for problem in PROBLEMS for backward in (False, True)]
    found = {}
    for (problem, _, _), launches in zip(asked, ask(asked), strict=True):
        sizes = [p for p in PROBLEMS if p.type == problem.type]
        for launch in launches:
            row = found.setdefault(launch.kernel, [None] * len(sizes))
            at = sizes.index(problem)
            if row[at] is None or row[at].shared < launch.shared:
                row[at] = launch
    return found


def memory(launches: list[Launch | None] | None) -> str:
    def cell(launch: Launch | None) -> str:
        if launch is None:
            return "-"
        strip = f":{launch.strip}x{launch.held}" if launch.strip else ""
        return f"{launch.shared / 1024:.1f}".removesuffix(".0") + strip

    return " / ".join(map(cell, launches or [None]))


def occupancy(launches: list[Launch | None] | None) -> str:
    device = cuda_code.DEVICES[LARGE]

    def cell(launch: Launch | None) -> str:
        return "-" if launch is None else str(cuda_code.blocks_by_shared(device, launch.shared))

    return " / ".join(map(cell, launches or [None]))


def row(cells) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    built = cuda_code.manifest()
    if built["cuda"] != "built" or not set(ARCHITECTURES) <= set(built["architectures"]):
        sys.exit(f"error: needs kernels for {', '.join(ARCHITECTURES)}; this library has {built['architectures']}")
    (compiler,) = cuda_code.compiler_versions()
    with tempfile.TemporaryDirectory() as folder:
        program = cuda_code.launch_program(Path(folder))
        text = page(
            compiler, cuda_code.compiled(), cuda_code.bounds(), lambda asked: cuda_code.launches(program, asked)
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
