"""Data sets by the names that configurations use, and the place of the built-in one."""

import hashlib
import os
from pathlib import Path

from strf_cuda.data.cache import cache_folder, open_cached
from strf_cuda.data.duke import DukeMTMCVideoReID
from strf_cuda.data.folder import TrackletFolder
from strf_cuda.data.ilids import ILIDSVID
from strf_cuda.data.mars import MARS
from strf_cuda.data.packed import PackedDataset
from strf_cuda.data.prid import PRID2011
from strf_cuda.data.splits import SPLITS
from strf_cuda.data.table import TrackletTable
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.data.walkers import WalkersConfig, make_walkers
from strf_cuda.data.walkers.config import GENERATOR_VERSION
from strf_cuda.errors import InputError

_READERS = {
    "walkers": MARS,
    "mars": MARS,
    "duke": DukeMTMCVideoReID,
    "folder": TrackletFolder,
    "table": TrackletTable,
}
_SPLIT_READERS = {"ilids": ILIDSVID, "prid": PRID2011}


def open_dataset(name: str, root: str | None, split: int | None = None) -> TrackletDataset:
    """Opens a data set, from its cached index if it stands as it stood (`strf_cuda.data.cache`).

    Args:
        name: "walkers", "mars", "duke", "ilids", "prid", "folder", "table" or "packed".
        root: its folder or CSV file. For walkers, None stands for the small built-in set, which is drawn into the
            cache folder when it is not there yet.
        split: which split, 0 to 9, of iLIDS-VID and PRID2011; None for the first, or for data sets with one split.

    Raises:
        InputError: no root where one is needed, a split of a data set with one only, or a fault of the data set.
    """
    if root is None:
        if name != "walkers":
            raise InputError(
                f"the data set {name} needs its folder or file: --data.root in training, --root in evaluation"
            )
        root = str(built_in_walkers())
    if name in _SPLIT_READERS:
        return open_cached(_SPLIT_READERS[name], root, split=split or 0)
    if name == "packed":
        return PackedDataset(root, split)
    if split is not None:
        raise InputError(f"split is {split}, but the data set {name} has one split only: leave it out")
    return open_cached(_READERS[name], root)


def open_every_split(name: str, root: str) -> list[TrackletDataset]:
    """All splits of a data set, one for most, in order.

    Raises:
        InputError: a fault of the data set.
    """
    if name in _SPLIT_READERS:
        return [open_dataset(name, root, split) for split in range(SPLITS)]
    return [open_dataset(name, root)]


def built_in_walkers() -> Path:
    """The folder of the small built-in set, drawn on first use; sets of other parameters have other folders."""
    parameters = repr((GENERATOR_VERSION, WalkersConfig()))
    name = f"walkers-{hashlib.sha256(parameters.encode()).hexdigest()[:8]}"
    return make_walkers(cache_folder() / name, workers=min(8, os.cpu_count() or 1))
