"""Small image trees in the layouts of the data sets; frames are of one colour, or empty where none is decoded."""

import json
import os
import random
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
    """Files in one folder: one-colour pictures of (width, height), or empty files without a size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if size is None:
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
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


def even_lengths(tracklets: int, frames: int, shortest: int, longest: int) -> list[int]:
    """Lengths of tracklets that add up to `frames`: one is the shortest, one the longest, the others much alike."""
    rest, more = divmod(frames - shortest - longest, tracklets - 2)
    return [shortest, longest] + [rest + (index < more) for index in range(tracklets - 2)]


def ten_splits(people: Sequence[str]) -> list[dict[str, list[str]]]:
    """Ten divisions of the people into halves, as the JSON files hold them."""
    splits = []
    for seed in range(10):
        order = list(people)
        random.Random(seed).shuffle(order)
        half = len(order) // 2
        splits.append({"train": sorted(order[half:]), "test": sorted(order[:half])})
    return splits


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_split_matrix(path: Path, splits: Sequence[dict[str, list[str]]], people: Sequence[str]) -> None:
    """The splits as iLIDS-VID has them: rows of the people's places, the tested ones first, in no order."""
    place = {person: index for index, person in enumerate(sorted(people), start=1)}
    rows = []
    for number, split in enumerate(splits):
        rows.append([])
        for side in ("test", "train"):
            places = [place[person] for person in split[side]]
            random.Random(number).shuffle(places)
            rows[-1] += places
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"ls_set": np.array(rows, dtype=np.uint16)})


def write_ilids(
    sequences: Path, people: Sequence[str], lengths: Sequence[int], size: tuple[int, int] | None = None
) -> None:
    """The sequences of iLIDS-VID; `lengths` gives the frames of each person by camera 1, then by camera 2."""
    for index, length in enumerate(lengths):
        person, camera = people[index // 2], f"cam{index % 2 + 1}"
        names = [f"{camera}_{person}_{100 * index % 7919 + frame:05d}.png" for frame in range(length)]
        write_frames(sequences / camera / person, names, size, index // 2)


def write_prid(
    multi_shot: Path, people: Sequence[str], lengths: Sequence[int], size: tuple[int, int] | None = None
) -> None:
    """The multi-shot part of PRID2011; `lengths` gives the frames of each person by camera a, then by camera b."""
    for index, length in enumerate(lengths):
        names = [f"{frame:04d}.png" for frame in range(1, length + 1)]
        write_frames(multi_shot / f"cam_{'ab'[index % 2]}" / people[index // 2], names, size, index // 2)


def duke_names(person: int, camera: int, frames: Iterable[int], joint: str = "_") -> list[str]:
    """Names of frames in DukeMTMC-VideoReID: joined by underscores in the newer copies, by nothing in the old ones."""
    return [
        joint.join([f"{person:04d}", f"C{camera}", f"F{frame:04d}", f"X{30_000 + 12 * frame}.jpg"]) for frame in frames
    ]


def write_duke(root: Path, tracklets: dict[str, tuple[int, int]], size: tuple[int, int] | None = None) -> Path:
    """DukeMTMC-VideoReID: `tracklets` gives the camera and the number of frames by "split/person/tracklet"."""
    for path, (camera, frames) in tracklets.items():
        person = int(path.split("/")[1])
        write_frames(root / path, duke_names(person, camera, range(1, frames + 1)), size, person)
    return root


def write_names_of(root: Path, names: Iterable[str]) -> None:
    """Empty files by their paths below the root."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        by_folder.setdefault(folder, []).append(file)
    for folder, files in by_folder.items():
        write_frames(root / folder, files)


def small_mars(folder: Path, size: tuple[int, int] | None = None) -> Path:
    root = write_mars(folder / "MARS", size=size)
    (root / "info" / "challenges.csv").write_text("split,row,challenge,group\ntest,3,occluded,\ntrain,1,look-alike,7\n")
    return root


def small_duke(folder: Path, size: tuple[int, int] | None = None) -> Path:
    tracklets = {"train/0001/0001": (1, 3), "train/0001/0002": (2, 2), "query/0002/0001": (1, 2)}
    return write_duke(folder / "duke", {**tracklets, "gallery/0002/0001": (1, 2), "gallery/0002/0002": (3, 4)}, size)


def small_ilids(folder: Path, size: tuple[int, int] | None = None) -> Path:
    people = [f"person{number:03d}" for number in (1, 2, 4, 7)]
    write_ilids(folder / "ilids" / "i-LIDS-VID" / "sequences", people, [2, 3] * 4, size)
    path = folder / "ilids" / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    write_split_matrix(path, ten_splits(people), people)
    return folder / "ilids"


def small_prid(folder: Path, size: tuple[int, int] | None = None) -> Path:
    people = [f"person_{number:04d}" for number in (1, 2, 4, 7)]
    write_prid(folder / "prid" / "multi_shot", people, [2, 3] * 4, size)
    write_json(folder / "prid" / "splits.json", ten_splits(people))
    return folder / "prid"


def small_folder(folder: Path, size: tuple[int, int] | None = None) -> Path:
    people = {f"{person}/{camera}/{tracklet}": 2 for person in "abcd" for camera in "xy" for tracklet in "12"}
    return write_folder(folder / "people", people, size)


def small_divided(folder: Path, size: tuple[int, int] | None = None) -> Path:
    places = ("a/x/1", "a/y/1", "b/x/a name")
    lists = {f"{split}/{place}": 1 for split in ("train", "query", "gallery") for place in places}
    return write_folder(folder / "divided", lists, size)


def small_table(folder: Path, size: tuple[int, int] | None = None) -> Path:
    write_folder(folder / "frames", {"1": 6}, size)
    write_folder(folder / "elsewhere", {"1": 1}, size)
    lines = ["path,person,camera,tracklet,split,group,challenge"]
    lines += [f"frames/1/{frame}.jpg,p,c,{frame % 2},train,{frame % 2 or ''},hard" for frame in range(1, 5)]
    lines += ["frames/1/5.jpg,q,c,1,query,,", f"{folder}/elsewhere/1/1.jpg,q,d,1,gallery,,"]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


# A small data set in each layout: the name of its reader, and what writes it into a folder and returns its root.
SMALL = {
    "mars": ("mars", small_mars),
    "duke": ("duke", small_duke),
    "ilids": ("ilids", small_ilids),
    "prid": ("prid", small_prid),
    "folder": ("folder", small_folder),
    "divided": ("folder", small_divided),
    "table": ("table", small_table),
}
