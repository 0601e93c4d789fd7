"""`python -m strf_cuda.visualize WHAT`: pictures of what a model attends to, and of what it finds.

attention   where a stage's features are large, over the frames of a tracklet, with and without STRF
masks       where one position of the unit's output takes its values from, path by path
ranking     queries and their nearest tracklets, with and without STRF
report      one HTML page with curves, figures and a gallery of queries to browse
"""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from strf_cuda.cli import run
from strf_cuda.errors import InputError, nearest

PICTURES = ("attention", "masks", "ranking", "report")


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--help"], ["-h"]):
        print(__doc__.strip())
        return
    module, config = read_options(words)

    from strf_cuda.quiet import show_warnings_in_one_line

    show_warnings_in_one_line()
    module.draw(config)


def read_options(words: Sequence[str]) -> tuple[ModuleType, Any]:
    """The module that draws, which has a `draw(config)`, and its configuration, from a command line."""
    name = words[0] if words else None
    if name not in PICTURES:
        given = "nothing is given" if name is None else f"{name!r} is given{nearest(name, PICTURES)}"
        raise InputError(f"the first word must say what to draw, {', '.join(PICTURES)}, but {given}")
    module = importlib.import_module(f"strf_cuda.visualization.{name}")
    return module, module.read_options(list(words[1:]))


if __name__ == "__main__":
    raise SystemExit(run(main))
