"""`python -m strf_cuda.pack ROOT OUT`: packs a data set into few large files, where opening many small ones is slow."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from strf_cuda.cli import load_config, run
from strf_cuda.config import DataName
from strf_cuda.errors import InputError

PROG = "python -m strf_cuda.pack"


@dataclass(frozen=True)
class PackConfig:
    """Packs a data set into few large files; given again after it was stopped, it goes on where it was.

    Root and out may be given without their names: python -m strf_cuda.pack ROOT OUT. Train and evaluate on the copy
    with --data.name packed --data.root OUT.

    Args:
        root: folder or CSV file of the data set
        out: folder for the packed copy, new, empty or begun
        name: which reader opens root; null tells that from the layout
        verify: a packed copy to compare with its checksums, instead of packing
    """

    root: str | None = None
    out: str | None = None
    name: DataName | None = None
    verify: str | None = None


def main(argv: Sequence[str] | None = None) -> None:
    """Packs or verifies.

    Raises:
        InputError: options that cannot be used, a fault of the data set or of the packed copy.
    """
    config = read_options(sys.argv[1:] if argv is None else argv)
    if config.verify is not None:
        _verify(config.verify)
        return

    from strf_cuda.data.layouts import recognise

    name = config.name or recognise(config.root)
    if name == "packed":
        raise InputError(f"{config.root} is a packed copy already: give the data set that it was made from")
    _pack(config.root, config.out, name)


def read_options(words: Sequence[str]) -> PackConfig:
    """The checked configuration that a command line gives."""
    config = load_config(PackConfig, words, prog=PROG, positional=["root", "out"])
    if config.verify is None:
        if config.root is None or config.out is None:
            raise InputError(f"both a data set and a folder for its copy are needed: {PROG} ROOT OUT")
    elif (config.root, config.out, config.name) != (None, None, None):
        raise InputError("--verify takes a packed copy, and neither root, out nor name")
    return config


def _pack(root: str, out: str, name: str) -> None:
    from tqdm import tqdm

    from strf_cuda.data.packing import make_plan, pack
    from strf_cuda.data.registry import open_every_split

    datasets = open_every_split(name, root)
    plan = make_plan(datasets, root)
    size = int(plan.arrays["frame_length"].sum())
    splits = f", {len(datasets)} splits" if len(datasets) > 1 else ""
    print(
        f"{datasets[0].name} in {root}, read as {name}{splits}: {_amount(len(plan.paths), size)}, "
        f"shards: {len(plan.shards) - 1}",
        flush=True,
    )
    with tqdm(total=size, desc="packing", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        anything = pack(plan, out, bar.update)
    if not anything:
        print(f"{out} is complete already")
    print(f"read it with --data.name packed --data.root {shlex.quote(out)}")


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
