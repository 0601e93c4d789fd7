"""`python -m strf_cuda.pack ROOT OUT`: packs a data set into few large files, where opening many small ones is slow.

    python -m strf_cuda.pack ROOT OUT --name mars      packs; stopped and given again, it goes on where it was
    python -m strf_cuda.pack --verify OUT              compares every shard with its SHA-256

Train and evaluate on the copy with --data.name packed --data.root OUT.
"""

import argparse
from collections.abc import Sequence
from typing import NoReturn, get_args

from strf_cuda.cli import run
from strf_cuda.config import DataName
from strf_cuda.errors import InputError

NAMES = [name for name in get_args(DataName) if name != "packed"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see python -m strf_cuda.pack --help")


def main(argv: Sequence[str] | None = None) -> None:
    """Packs or verifies.

    Raises:
        InputError: options that cannot be used, a fault of the data set or of the packed copy.
    """
    parser = _Parser(
        prog="python -m strf_cuda.pack",
        description=__doc__.split("\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", nargs="?", metavar="ROOT", help="the data set's folder or CSV file")
    parser.add_argument("out", nargs="?", metavar="OUT", help="folder for the packed copy, new or begun")
    parser.add_argument("--name", choices=NAMES, help="what ROOT is")
    parser.add_argument("--verify", metavar="OUT", help="check a packed copy instead")
    options = parser.parse_args(argv)
    if options.verify is not None:
        if options.root is not None or options.name is not None:
            parser.error("--verify takes the packed copy alone")
        _verify(options.verify)
    elif options.out is None:
        parser.error("both ROOT, the data set, and OUT, the folder for the packed copy, are needed")
    else:
        _pack(options.root, options.out, options.name)


def _pack(root: str, out: str, name: str | None) -> None:
    from tqdm import tqdm

    from strf_cuda.data.packing import make_plan, pack
    from strf_cuda.data.registry import open_every_split

    datasets = open_every_split(name, root)
    plan = make_plan(datasets, root)
    size = int(plan.arrays["frame_length"].sum())
    splits = f", {len(datasets)} splits" if len(datasets) > 1 else ""
    print(f"{datasets[0].name}{splits}: {_amount(len(plan.paths), size)}, shards: {len(plan.shards) - 1}", flush=True)
    with tqdm(total=size, desc="packing", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        anything = pack(plan, out, bar.update)
    if not anything:
        print(f"{out} is complete already")
    print(f"read it with --data.name packed --data.root {out}")


def _verify(out: str) -> None:
    from tqdm import tqdm

    from strf_cuda.data.packed import Archive
    from strf_cuda.data.packing import verify

    archive = Archive(out)
    shards = archive.description["shards"]
    size = sum(shard["bytes"] for shard in shards)
    with tqdm(total=size, desc="verifying", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        faults = verify(out, bar.update)
    if faults:
        raise InputError("; ".join(faults))
    print(f"{out} is sound: {_amount(len(archive.arrays['frame_name']), size)}, shards: {len(shards)}")


def _amount(frames: int, size: int) -> str:
    return f"{frames:,} frames, {size / 1e6:,.1f} MB"


if __name__ == "__main__":
    raise SystemExit(run(main))
