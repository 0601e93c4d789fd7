"""Small image trees in the layouts of the data sets; frames are one-colour JPEGs, or empty where none is decoded."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Row = tuple[int, int, int]  # frames, person, camera

# Two people to train on. Person 2 has a query in each of two cameras, and person 4 likewise, but its queries are its
# only tracklets: they match each other alone. Then a distractor and junk.
TRAIN_ROWS: list[Row] = [(5, 1, 1), (3, 1, 2), (4, 3, 1)]
TEST_ROWS: list[Row] = [(2, -1, 1), (3, 0, 2), (4, 2, 1), (5, 2, 1), (6, 2, 3), (2, 4, 5), (1, 4, 6)]
QUERIES = [3, 5, 6, 7]


def write_frames(folder: Path, names: Iterable[str], size: tuple[int, int] | None = None, colour: int = 0) -> None:
    """Files in one folder: one-colour JPEGs of (width, height), or empty files without a size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if size is None:
            (folder / name).touch()
        else:
            shade = (60 * colour % 256, 110 * colour % 256, 170 * colour % 256)
            Image.new("RGB", size, shade).save(folder / name, quality=90)


def write_mars(
    root: Path,
    train: Sequence[Row] = TRAIN_ROWS,
    test: Sequence[Row] = TEST_ROWS,
    queries: Sequence[int] = QUERIES,
    size: tuple[int, int] | None = None,
) -> Path:
    """A data set in the layout of MARS; `queries` are 1-based rows of `test`."""
    (root / "info").mkdir(parents=True)
    for split, rows in (("train", train), ("test", test)):
        names, info, tracklets = [], [], {}
        for frames, person, camera in rows:
            label = f"{person:04d}" if person >= 0 else "00-1"
            number = tracklets[label] = tracklets.get(label, 0) + 1
            added = [f"{label}C{camera}T{number:04d}F{frame:03d}.jpg" for frame in range(1, frames + 1)]
            write_frames(root / f"bbox_{split}" / label, added, size, person)
            info.append((len(names) + 1, len(names) + frames, person, camera))
            names += added
        write_names(root, split, names)
        write_rows(root, split, info)
    write_queries(root, queries)
    return root


def write_names(root: Path, split: str, names: Sequence[str]) -> None:
    (root / "info" / f"{split}_name.txt").write_text("".join(name + "\n" for name in names))


def read_names(root: Path, split: str) -> list[str]:
    return (root / "info" / f"{split}_name.txt").read_text().split()


def write_rows(root: Path, split: str, rows: Sequence[Sequence[float]]) -> None:
    savemat(root / "info" / f"tracks_{split}_info.mat", {f"track_{split}_info": np.array(rows)})


def write_queries(root: Path, queries: Sequence[int]) -> None:
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([queries])})


def write_folder(root: Path, tracklets: dict[str, int], size: tuple[int, int] | None = None) -> Path:
    """Folders of frames 1.jpg, 2.jpg, ...: `tracklets` gives the number of frames by "person/camera/tracklet"."""
    for index, (path, frames) in enumerate(tracklets.items()):
        write_frames(root / path, [f"{frame}.jpg" for frame in range(1, frames + 1)], size, index)
    return root
