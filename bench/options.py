"""The options that the benchmarks of torch code share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from strf_cuda.devices import resolve_device
from strf_cuda.errors import InputError


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the shared options; the description is a module's docstring."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=positive, default=15)
    made.add_argument("--threads", type=positive, help="of the CPU; torch's choice unless given")
    made.add_argument("--device", choices=("auto", "cpu", "cuda", "gpu"), default="auto", help="gpu: the same as cuda")
    made.add_argument("--quick", action="store_true", help="few rounds of little, to see that everything runs")
    made.add_argument("--out", type=Path, help="the JSON file; the plot goes beside it")
    return made


def parse(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with `device` "cpu" or "cuda"; sets torch's threads. Ends the program where there is no such GPU."""
    options = made.parse_args(argv)
    try:
        options.device = resolve_device("gpu" if options.device == "cuda" else options.device).type
    except InputError as error:
        made.error(str(error))
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number
