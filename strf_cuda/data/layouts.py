"""Which reader a folder or file is for, told from its layout; only a few folders are looked into."""

import os
from pathlib import Path

from strf_cuda.data import duke, ilids, mars, packed, prid
from strf_cuda.data.folder import SPLITS, visible
from strf_cuda.data.indexing import IMAGES, is_image
from strf_cuda.data.two_cameras import TwoCameraLayout
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

# Folders that are looked into on each level for the first picture: a few may be empty.
FOLDERS_A_LEVEL = 5
MOST_LEVELS = 3
FOLDERS_BELOW = 20  # that may be data sets


def recognise(root: str | os.PathLike) -> str:
    """The name under which `strf_cuda.data.open_dataset` opens this root.

    Raises:
        InputError: there is nothing, or nothing that is known; the sentence says what was looked for.
    """
    path = expanded(root)
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "table"
        raise InputError(f"{path} is a file, but not a table (.csv): give a data set's folder or table")
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a data set's folder or table")
    name = _name_of(path)
    if name is None:
        raise InputError(
            f"{path} is in no layout known here: looked for bbox_train and bbox_test (mars, walkers), train, query and "
            f"gallery (duke), {ilids.LAYOUT.nestings[0]} (ilids), {prid.LAYOUT.nestings[0]} (prid), {packed.INDEX} "
            f"(packed), {IMAGES} in person/camera/tracklet (folder), or a .csv file (table){_nearby(path)}"
        )
    return name


def _name_of(path: Path) -> str | None:
    if (path / packed.INDEX).is_file() or (path / packed.UNFINISHED).is_file():
        return "packed"
    if mars.is_base(path):
        return _mars_or_walkers(path)
    for name, layout in (("ilids", ilids.LAYOUT), ("prid", prid.LAYOUT)):
        if _has_cameras(path, layout):
            return name
    for nesting in duke.NESTINGS:
        # Both have train, query and gallery; below these, folders of one's own have a level more, the camera's.
        if all((path / nesting / split).is_dir() for split in SPLITS):
            depth = depth_of_pictures(path / nesting / "train")
            if depth in (2, 3):
                return "duke" if depth == 2 else "folder"
    if mars.is_base(base := mars.find_base(path)):
        return _mars_or_walkers(base)
    return "folder" if depth_of_pictures(path) == 3 else None


def _mars_or_walkers(base: Path) -> str:
    return "walkers" if (base / "info" / "walkers.json").is_file() else "mars"


def _nearby(path: Path) -> str:
    """The data set a level above or below, in words, if there is one."""
    inner = [path / name for name in visible(path) if (path / name).is_dir()]
    for other in (Path(os.path.abspath(path)).parent, *inner[:FOLDERS_BELOW]):
        if name := _name_of(other):
            return f"; {other} is one ({name}): give that"
    return ""


def _has_cameras(root: Path, layout: TwoCameraLayout) -> bool:
    return any((root / nesting / camera).is_dir() for nesting in layout.nestings for camera in layout.cameras)


def depth_of_pictures(folder: Path, levels: int = MOST_LEVELS) -> int | None:
    """How many folders lie between this one and the first picture found below it; None without a picture."""
    names = visible(folder)
    if any(map(is_image, names)):
        return 0
    folders = [folder / name for name in names if (folder / name).is_dir()]
    for inner in folders[: FOLDERS_A_LEVEL if levels else 0]:
        depth = depth_of_pictures(inner, levels - 1)
        if depth is not None:
            return depth + 1
    return None
