"""`python -m strf_cuda`: versions, processor, GPUs, the build, and what computes the operator here; for bug reports.

It needs none of the packages that training needs.
"""

import argparse
import os
import platform
from pathlib import Path

from strf_cuda import __version__, backends
from strf_cuda.machine import processor, version_of


def report() -> list[tuple[str, str]]:
    """What the command prints: pairs of a heading and what is said under it."""
    import torch

    from strf_cuda.backends import library

    cuda = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    if library.REASON is None:
        facts = (f"{name} {_plain(fact)}" for name, fact in library.build_facts().items())
        build = ", ".join([str(library.FILE), *facts])
    else:
        build = "none in use"
    return [
        ("strf_cuda", f"{__version__}, {Path(__file__).resolve().parent}"),
        ("python", f"{platform.python_version()}, {platform.platform()}"),
        ("torch", f"{torch.__version__}, {cuda}"),
        *((name, version_of(name)) for name in ("numpy", "triton")),
        ("processor", f"{processor()}, {os.cpu_count()} logical cores, {torch.get_num_threads()} torch threads"),
        ("GPU", "; ".join(f"{gpu.name} ({gpu.major}.{gpu.minor})" for gpu in gpus) or "none that torch finds"),
        ("library", build),
        *((f"backend {name}", state) for name, state in backends().items()),
    ]


def _plain(fact) -> str:
    return " ".join(map(str, fact)) if isinstance(fact, list) else "none" if fact is None else str(fact)


def main() -> None:
    argparse.ArgumentParser(prog="python -m strf_cuda", description="Prints what a bug report should say.").parse_args()
    for name, words in report():
        print(f"{name:<19}{words}")


if __name__ == "__main__":
    main()
