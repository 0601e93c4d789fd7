"""The options that the benchmarks of torch code share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch


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
    found = torch.cuda.is_available()
    if options.device in ("cuda", "gpu") and not found:
        made.error(f"device is {options.device}, but torch finds no GPU here; use --device cpu")
    options.device = "cuda" if found and options.device != "cpu" else "cpu"
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number
