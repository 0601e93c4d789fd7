"""The commands of the pages that the tests do not run, each with the reason, and what is looked at instead."""

import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def has_target(argv: list[str]) -> None:
    """make's targets exist."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    given = [word for word in argv[1:] if "=" not in word]
    assert given and set(given) <= set(targets), f"the Makefile has no target {given}"


def installs(argv: list[str]) -> None:
    """pip installs this project, with extras that it has."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (requirement,) = (word for word in argv[2:] if not word.startswith("-") and word != "wheels")
    own = re.fullmatch(r"(?:\.|strf_cuda|wheels/strf_cuda-\*\.whl)(?:\[(.*)\])?", requirement)
    assert own, f"{requirement} is not this project"
    assert set(own[1].split(",") if own[1] else []) <= set(extras), f"there is no extra {own[1]}"


def takes_options(argv: list[str]) -> None:
    """The program reads its options, and ends."""
    import runpy

    import page_runner

    page_runner.only_parse()
    sys.argv = argv[2:]
    runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
    raise AssertionError(f"{argv[2]} reads no options by argparse")


def starts_the_command(argv: list[str]) -> None:
    """torchrun takes its options, and the command of this project that it starts takes its own."""
    from torch.distributed.run import get_args_parser

    from strf_cuda import train

    words = argv[argv.index("torchrun") + 1 :]
    arguments = get_args_parser().parse_args(words)
    assert (arguments.module, arguments.training_script) == (True, "strf_cuda.train")
    train.read_options(arguments.training_script_args)


def reads_options(argv: list[str]) -> None:
    """A command of this project takes its options."""
    importlib.import_module(argv[2]).read_options(argv[3:])


def is_there(argv: list[str]) -> None:
    """The files that are named exist."""
    (script,) = [word for word in argv[1:] if "/" in word]
    assert (ROOT / script).is_file(), f"there is no {script}"


def nothing(argv: list[str]) -> None:
    """A program of others, which says here what it would say on a cluster: nothing."""


@dataclass(frozen=True)
class LeftOut:
    """`commands` is a pattern of whole command lines, their words joined by single spaces."""

    commands: str
    reason: str
    check: Callable[[list[str]], None]


LEFT_OUT = [
    LeftOut("make train", "minutes: sets everything up and trains", has_target),
    LeftOut("make test", "runs this test", has_target),
    LeftOut("make setup", "installs packages", has_target),
    LeftOut("pip install *", "installs packages", installs),
    LeftOut("pip wheel *", "minutes: builds the library; test_package.py has a wheel", installs),
    LeftOut("python setup.py install", "minutes: builds the library, and installs it", lambda argv: None),
    LeftOut("bash bench/gpu.sh *", "needs a GPU, and ten minutes", is_there),
    LeftOut("python -m strf_cuda.* --gpus *", "needs GPUs", reads_options),
    LeftOut("python -m strf_cuda.ablate all *", "minutes, of other tables like those that are run", reads_options),
    LeftOut("python -m strf_cuda.index mars.safetensors *", "the stand-in for MARS is too small for it", reads_options),
    LeftOut("python -m strf_cuda.export * --out strf.onnx", "seconds, of what is run without it", reads_options),
    LeftOut("python -m strf_cuda.export * --format aoti", "compiles; test_cpp_example.py does", reads_options),
    LeftOut("python -m strf_cuda.* --checkpoint hf://*", "needs the hub; test_hub.py stands in for it", reads_options),
    LeftOut("python -m strf_cuda.* --push_to_hub *", "needs the hub; test_hub.py stands in for it", reads_options),
    LeftOut("torchrun *", "several processes, which test_distributed.py starts", starts_the_command),
    LeftOut("srun torchrun *", "needs a cluster", starts_the_command),
    LeftOut("scontrol show hostnames *", "needs a cluster", nothing),
    LeftOut("cmake *", "test_cpp_example.py builds the program", nothing),
    LeftOut("ffmpeg *", "a program of others, which need not be here", nothing),
    LeftOut("python -m bench.*", "minutes: a benchmark; test_bench.py runs them quickly", takes_options),
]


def find(argv: list[str]) -> LeftOut | None:
    line = " ".join(argv)
    return next((left_out for left_out in LEFT_OUT if fnmatch(line, left_out.commands)), None)


def programs() -> list[str]:
    """The programs that the table begins with."""
    return sorted({shlex.split(left_out.commands)[0] for left_out in LEFT_OUT} - {"python"})
