"""Which reader a folder or file is for, told from its layout; only a few folders are looked into."""

import os
from pathlib import Path

from strf_cuda.data import duke, ilids, packed, prid
from strf_cuda.data.folder import SPLITS, visible
from strf_cuda.data.indexing import IMAGE_SUFFIXES
from strf_cuda.data.two_cameras import TwoCameraLayout
from strf_cuda.errors import InputError

# Folders that are looked into on each level for the first picture: a few may be empty.
FOLDERS_A_LEVEL = 5
MOST_LEVELS = 3


def recognise(root: str | os.PathLike) -> str:
    """The name under which `strf_cuda.data.open_dataset` opens this root.

    Raises:
        InputError: there is nothing, or nothing that is known; the sentence says what was looked for.
    """
    path = Path(root).expanduser()
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "table"
        raise InputError(f"{path} is a file, but not a table (.csv): give a data set's folder or table")
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a data set's folder or table")
    if (path / packed.INDEX).is_file() or (path / packed.UNFINISHED).is_file():
        return "packed"
    if (path / "bbox_train").is_dir() or (path / "bbox_test").is_dir():
        return "walkers" if (path / "info" / "walkers.json").is_file() else "mars"
    for name, layout in (("ilids", ilids.LAYOUT), ("prid", prid.LAYOUT)):
        if _has_cameras(path, layout):
            return name
    for nesting in duke.NESTINGS:
        # Both have train, query and gallery; below these, folders of one's own have a level more, the camera's.
        if all((path / nesting / split).is_dir() for split in SPLITS):
            depth = depth_of_pictures(path / nesting / "train")
            if depth in (2, 3):
                return "duke" if depth == 2 else "folder"
    if depth_of_pictures(path) == 3:
        return "folder"
    raise InputError(
        f"{path} is in no layout known here: looked for bbox_train and bbox_test (mars, walkers), train, query and "
        f"gallery (duke), {ilids.LAYOUT.nestings[0]} (ilids), {prid.LAYOUT.nestings[0]} (prid), {packed.INDEX} "
        "(packed), pictures in person/camera/tracklet (folder), or a .csv file (table)"
    )


def _has_cameras(root: Path, layout: TwoCameraLayout) -> bool:
    return any((root / nesting / camera).is_dir() for nesting in layout.nestings for camera in layout.cameras)


def depth_of_pictures(folder: Path, levels: int = MOST_LEVELS) -> int | None:
    """How many folders lie between this one and the first picture found below it; None without a picture."""
    names = visible(folder)
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return 0
    folders = [folder / name for name in names if (folder / name).is_dir()]
    for inner in folders[: FOLDERS_A_LEVEL if levels else 0]:
        depth = depth_of_pictures(inner, levels - 1)
        if depth is not None:
            return depth + 1
    return None
