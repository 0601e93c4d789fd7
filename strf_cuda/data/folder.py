"""Tracklets in plain folders: a person's own data without lists or tables.

    root/{train,query,gallery}/person/camera/tracklet/*.jpg     split by hand
    root/person/camera/tracklet/*.jpg                           split here, by person

Names may be anything and are read in natural order (frame2 before frame10), so that nothing depends on the file system.
"""

import os
import random
from pathlib import Path

from strf_cuda.data.indexing import (
    IMAGE_SUFFIXES,
    FramePaths,
    encode_names,
    existing_root,
    natural_key,
    number_names,
    population_notes,
)
from strf_cuda.data.tracklets import JUNK_PERSON, Tracklet, TrackletDataset
from strf_cuda.data.witnesses import is_folder, list_folder
from strf_cuda.errors import InputError

SPLITS = ("train", "query", "gallery")
LAYOUT = "person/camera/tracklet/*.jpg"


class TrackletFolder(TrackletDataset):
    """A data set read from folders of tracklets.

    Persons and cameras are numbered from 1 in natural order of their names; `person_names` and `camera_names` give the
    names back. Frames are .jpg, .jpeg or .png; other files and hidden ones are passed over.

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

        scans = {split: scan_people(root / split) for split in SPLITS} if found else {"": scan_people(root)}
        keys = [key for scan in scans.values() for key in scan]
        people = number_names(person for person, _, _ in keys)
        cameras = number_names(camera for _, camera, _ in keys)
        lists = {
            split: [Tracklet(paths, people[person], cameras[camera]) for (person, camera, _), paths in scan.items()]
            for split, scan in scans.items()
        }
        notes = []
        if not found:
            fraction = 0.5 if test_fraction is None else test_fraction
            lists, notes = split_by_person(lists[""], len(people), fraction, seed)
        notes += population_notes(**lists)
        super().__init__(
            root.resolve().name,
            **lists,
            notes=notes,
            person_names={number: name for name, number in people.items()},
            camera_names={number: name for name, number in cameras.items()},
        )


def read_tracklet(folder: str | os.PathLike) -> Tracklet:
    """The frames of one folder, in natural order, of somebody unknown (`JUNK_PERSON`) seen by camera 0.

    Raises:
        InputError: there is no such folder, or no .jpg, .jpeg or .png in it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        said = "is a file" if path.exists() else "does not exist"
        raise InputError(f"the tracklet {path} {said}: give a folder of frames")
    frames = _frames_in(path)
    if not frames:
        raise InputError(f"the tracklet {path} holds no frame: it must hold {', '.join(IMAGE_SUFFIXES)} images")
    return Tracklet(FramePaths(str(path), encode_names(frames)), JUNK_PERSON, 0)


def split_by_person(
    tracklets: list[Tracklet], people: int, test_fraction: float, seed: int
) -> tuple[dict[str, list[Tracklet]], list[str]]:
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
    return {"train": train, "query": list(first.values()), "gallery": gallery}, [note]


def scan_people(root: Path) -> dict[tuple[str, str, str], FramePaths]:
    """Frames by (person, camera, tracklet), in natural order.

    Raises:
        InputError: nothing is there, an image lies above the tracklets' level, or a tracklet holds none.
    """
    tracklets = {}
    for person in subfolders(root, "person"):
        for camera in subfolders(root / person, "camera"):
            folder = root / person / camera
            for tracklet in subfolders(folder, "tracklet"):
                path = folder / tracklet
                frames = _frames_in(path)
                if not frames:
                    raise InputError(
                        f"tracklet {path} is empty: it must hold {', '.join(IMAGE_SUFFIXES)} images, or be removed"
                    )
                tracklets[person, camera, tracklet] = FramePaths(str(path), encode_names(frames))
    return tracklets


def _frames_in(folder: Path) -> list[str]:
    return [name for name in visible(folder) if name.lower().endswith(IMAGE_SUFFIXES)]


def subfolders(folder: Path, level: str, layout: str = LAYOUT) -> list[str]:
    """The names of the folders at one level of the layout, in natural order."""
    names = visible(folder)
    folders = [name for name in names if is_folder(folder / name)]
    if not folders:
        raise InputError(f"{folder} has no {level} folder: frames must lie in {layout}")
    image = next((name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and name not in folders), None)
    if image:
        raise InputError(f"{folder / image} lies among the {level} folders: frames must lie in {layout}")
    return folders


def visible(folder: Path) -> list[str]:
    """What a folder holds, hidden entries left out, in natural order."""
    return sorted((name for name in list_folder(folder) if not name.startswith(".")), key=natural_key)
