"""Tracklets in plain folders: a person's own data without lists or tables.

    root/{train,query,gallery}/person/camera/tracklet/*.jpg     split by hand
    root/person/camera/tracklet/*.jpg                           split here, by person

Names may be anything and are read in natural order (frame2 before frame10), so that nothing depends on the file system.
"""

import os
import random
from collections import Counter
from pathlib import Path

from strf_cuda.data.indexing import (
    IMAGES,
    FramePaths,
    counted_endings,
    encode_names,
    existing_root,
    is_image,
    natural_key,
    number_names,
    passed_over,
    passed_over_note,
    population_notes,
    special_names_note,
)
from strf_cuda.data.tracklets import JUNK_PERSON, Tracklet, TrackletDataset
from strf_cuda.data.witnesses import is_folder, list_folder
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

SPLITS = ("train", "query", "gallery")
LAYOUT = "person/camera/tracklet/*.jpg"


class TrackletFolder(TrackletDataset):
    """A data set read from folders of tracklets.

    Persons and cameras are numbered from 1 in natural order of their names; `person_names` and `camera_names` give the
    names back. Frames are .jpg, .jpeg, .png, .bmp or .webp, in capitals too; other files are passed over with a note,
    hidden ones without.

    With folders train, query and gallery the lists are those folders; the gallery then holds the queries only if its
    folder does. Otherwise people are divided as MARS has it: a share of them for testing, the first tracklet of each of
    their cameras a query, and all of their tracklets in the gallery, the queries too.

    Args:
        root: the folder.
        test_fraction: share of the people to test on, 0 (all train) to 1 (all test), where root is not split by hand;
            one half unless given.
        seed: which people these are.

    Raises:
        InputError: the layout is another, a tracklet is empty, or there is no image; the sentence names the folder.
    """

    def __init__(self, root: str | os.PathLike, *, test_fraction: float | None = None, seed: int = 0):
        root = existing_root(root, "tracklet")
        found = [split for split in SPLITS if is_folder(root / split)]
        if found and len(found) < len(SPLITS):
            missing = " and ".join(split for split in SPLITS if split not in found)
            raise InputError(f"{root} has a folder {' and '.join(found)}, but none named {missing}")
        if found and test_fraction is not None:
            raise InputError(
                f"test_fraction is {test_fraction}, but {root} is already split into {', '.join(SPLITS)}: leave it out"
            )
        if not 0 <= (test_fraction or 0) <= 1:
            raise InputError(f"test_fraction is {test_fraction}, but it must lie between 0 and 1")

        others: Counter[str] = Counter()
        scans = {split: scan_people(root / split, others) for split in (SPLITS if found else ("",))}
        keys = [key for scan in scans.values() for key in scan]
        people = number_names(person for person, _, _ in keys)
        cameras = number_names(camera for _, camera, _ in keys)
        lists = {
            split: [Tracklet(paths, people[person], cameras[camera]) for (person, camera, _), paths in scan.items()]
            for split, scan in scans.items()
        }
        notes = [*passed_over_note(others), *special_names_note(people)]
        if not found:
            if len(people) == 1:
                (person,) = people
                notes.append(
                    f"there is one person alone, {person}: frames must lie in {LAYOUT}; if it is a folder of people, "
                    f"give {root / person}"
                )
            fraction = 0.5 if test_fraction is None else test_fraction
            lists, note = split_by_person(lists[""], len(people), fraction, seed)
            notes.append(note)
        notes += population_notes(**lists)
        super().__init__(
            root.resolve().name,
            **lists,
            notes=notes,
            person_names={number: name for name, number in people.items()},
            camera_names={number: name for name, number in cameras.items()},
        )


def read_tracklet(folder: str | os.PathLike) -> Tracklet:
    """The frames of one folder, in natural order, or a single picture, of somebody unknown (`JUNK_PERSON`), camera 0.

    Raises:
        InputError: there is no such folder or picture, or no frame in it.
    """
    path = expanded(folder)
    if path.is_file() and is_image(path.name):
        return Tracklet(FramePaths(str(path.parent), encode_names([path.name])), JUNK_PERSON, 0)
    if not path.is_dir():
        said = "is a file, and no picture by its name" if path.exists() else "does not exist"
        raise InputError(f"the tracklet {path} {said}: give a folder of frames, or one of {IMAGES}")
    return Tracklet(_frames_in(path, Counter()), JUNK_PERSON, 0)


def split_by_person(
    tracklets: list[Tracklet], people: int, test_fraction: float, seed: int
) -> tuple[dict[str, list[Tracklet]], str]:
    """Train, query and gallery from one list of people 1..`people`, and the note that says how it was done."""
    order = list(range(1, people + 1))
    random.Random(seed).shuffle(order)
    tested = set(order[: round(test_fraction * people)])
    train = [tracklet for tracklet in tracklets if tracklet.person_id not in tested]
    gallery = [tracklet for tracklet in tracklets if tracklet.person_id in tested]
    first = {}
    for tracklet in gallery:
        first.setdefault((tracklet.person_id, tracklet.camera_id), tracklet)
    note = (
        f"{len(tested):,} of {people:,} people were drawn for testing (test_fraction {test_fraction:g}, seed {seed}); "
        "each one's first tracklet by every camera is a query, and stays in the gallery"
    )
    return {"train": train, "query": list(first.values()), "gallery": gallery}, note


def scan_people(root: Path, others: Counter[str]) -> dict[tuple[str, str, str], FramePaths]:
    """Frames by (person, camera, tracklet), in natural order; files beside them are counted in `others`, by ending.

    Raises:
        InputError: nothing is there, an image lies above the tracklets' level, or a tracklet holds none.
    """
    tracklets = {}
    for person in subfolders(root, "person"):
        for camera in subfolders(root / person, "camera"):
            folder = root / person / camera
            for tracklet in subfolders(folder, "tracklet"):
                tracklets[person, camera, tracklet] = _frames_in(folder / tracklet, others)
    return tracklets


def _frames_in(folder: Path, others: Counter[str]) -> FramePaths:
    names = visible(folder)
    frames, rest = [name for name in names if is_image(name)], passed_over(names)
    if not frames:
        found = f"holds no picture but {counted_endings(rest)}" if rest else "is empty"
        raise InputError(f"tracklet {folder} {found}: it must hold {IMAGES}, or be removed")
    others.update(rest)
    return FramePaths(str(folder), encode_names(frames))


def subfolders(folder: Path, level: str, layout: str = LAYOUT) -> list[str]:
    """The names of the folders at one level of the layout, in natural order."""
    names = visible(folder)
    folders = [name for name in names if is_folder(folder / name)]
    if not folders:
        raise InputError(f"{folder} has no {level} folder: frames must lie in {layout}")
    image = next((name for name in names if is_image(name) and name not in folders), None)
    if image:
        raise InputError(f"{folder / image} lies among the {level} folders: frames must lie in {layout}")
    return folders


def visible(folder: Path) -> list[str]:
    """What a folder holds, hidden entries left out, in natural order."""
    return sorted((name for name in list_folder(folder) if not name.startswith(".")), key=natural_key)
