"""Where the tracklets that are embedded come from: data sets, folders that name nobody, and cut videos."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from strf_cuda.data.folder import LAYOUT, read_tracklet, scan_people, subfolders
from strf_cuda.data.indexing import IMAGES, existing_root, is_image, number_names, passed_over_note, special_names_note
from strf_cuda.data.layouts import depth_of_pictures
from strf_cuda.data.packed import PackedFrames
from strf_cuda.data.tracklets import LISTS, Tracklet, TrackletDataset
from strf_cuda.embeddings import LIST_BITS, encode_paths
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

ListChoice = Literal["all", "train", "query", "gallery", "test"]
CHOSEN = {"all": LISTS, "test": ("query", "gallery"), **{name: (name,) for name in LISTS}}


@dataclass(frozen=True)
class Source:
    """Tracklets to embed, each once.

    Attributes:
        name: of the data set or folder.
        lists: uint8 [n], which lists each tracklet is in, a sum of `strf_cuda.embeddings.LIST_BITS`.
        times: float64 [n, 2], seconds at which it begins and ends, NaN where unknown.
        person_names, camera_names: names by number, empty where there are numbers alone.
        notes: sentences that a user should read.
    """

    name: str
    tracklets: list[Tracklet]
    lists: np.ndarray
    times: np.ndarray
    person_names: dict[int, str] = field(default_factory=dict)
    camera_names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tracklets)

    def labels(self, rows: range) -> dict[str, np.ndarray]:
        """All arrays of `strf_cuda.embeddings.Embeddings` but the vectors, for consecutive tracklets."""
        tracklets = self.tracklets[rows.start : rows.stop]
        paths, ends = encode_paths([_absolute(tracklet.paths) for tracklet in tracklets])
        return {
            "persons": np.array([tracklet.person_id for tracklet in tracklets], np.int64),
            "cameras": np.array([tracklet.camera_id for tracklet in tracklets], np.int64),
            "frames": np.array([len(tracklet) for tracklet in tracklets], np.int64),
            "start": self.times[rows.start : rows.stop, 0],
            "end": self.times[rows.start : rows.stop, 1],
            "lists": self.lists[rows.start : rows.stop],
            "paths": paths,
            "path_ends": ends,
        }


def dataset_source(dataset: TrackletDataset, lists: ListChoice, root: str | os.PathLike | None) -> Source:
    """The tracklets of some lists of a data set; one that is in several is there once.

    Args:
        root: the data set's folder, where times may lie that were noted when a video was cut.

    Raises:
        InputError: the lists are empty.
    """
    bits: dict[int, int] = {}
    unique: dict[int, Tracklet] = {}
    for name in LISTS:
        for tracklet in getattr(dataset, name):
            unique[id(tracklet)] = tracklet
            bits[id(tracklet)] = bits.get(id(tracklet), 0) | LIST_BITS[name]
    wanted = sum(LIST_BITS[name] for name in CHOSEN[lists])
    chosen = [key for key in unique if bits[key] & wanted]
    if not chosen:
        named = "has no tracklets" if lists == "all" else f"has no tracklets in its {lists} list"
        raise InputError(f"{dataset.name} {named}")
    tracklets = [unique[key] for key in chosen]
    return Source(
        dataset.name,
        tracklets,
        np.array([bits[key] for key in chosen], np.uint8),
        _times(tracklets, root),
        dataset.person_names,
        dataset.camera_names,
        dataset.notes,
    )


def folder_source(root: str | os.PathLike, camera: str | None = None) -> Source:
    """The tracklets of a folder: its own frames, folders of frames, or person/camera/tracklet; or a single picture.

    They are in no list of a data set. Without person folders nobody knows who it is (`JUNK_PERSON`).

    Args:
        camera: the name of the camera where there are no folders of cameras, which then has the number 1; without it
            it has the number 0.

    Raises:
        InputError: there are no frames, or they lie otherwise.
    """
    picture = expanded(root)
    root = picture if picture.is_file() and is_image(picture.name) else existing_root(root, "tracklet")
    depth = 0 if root is picture else depth_of_pictures(root)
    if depth == 3:
        tracklets, person_names, camera_names, notes = _people(root)
        if camera is not None:
            raise InputError(f"camera is {camera}, but {root} has folders of cameras itself: leave it out")
    elif depth in (0, 1):
        folders = [root] if depth == 0 else [root / name for name in subfolders(root, "tracklet", "tracklet/*.jpg")]
        tracklets = [replace(read_tracklet(folder), camera_id=0 if camera is None else 1) for folder in folders]
        person_names, camera_names, notes = {}, {} if camera is None else {1: camera}, []
    else:
        found = f"holds no frames ({IMAGES})" if depth is None else f"holds frames {depth} levels down"
        raise InputError(
            f"{root} {found}, but it must be a tracklet (a folder of frames), a folder of tracklets, or {LAYOUT}"
        )
    lists = np.zeros(len(tracklets), np.uint8)
    name = root.resolve().name
    return Source(name, tracklets, lists, _times(tracklets, root), person_names, camera_names, notes)


def _people(root: Path) -> tuple[list[Tracklet], dict[int, str], dict[int, str], list[str]]:
    others: Counter[str] = Counter()
    scan = scan_people(root, others)
    people, cameras = (number_names(key[level] for key in scan) for level in (0, 1))
    tracklets = [Tracklet(paths, people[person], cameras[camera]) for (person, camera, _), paths in scan.items()]
    names = ({number: name for name, number in numbers.items()} for numbers in (people, cameras))
    return tracklets, *names, [*passed_over_note(others), *special_names_note(people)]


def _times(tracklets: Sequence[Tracklet], root: str | os.PathLike | None) -> np.ndarray:
    """What was noted when the tracklets were cut out of a video; a tracklet is known by the name of its folder."""
    known: dict[str, tuple[float, float]] = {}
    if root is not None and expanded(root).is_dir():
        from strf_cuda.video.sidecar import read_sidecar

        known = read_sidecar(expanded(root))
    times = np.full((len(tracklets), 2), math.nan)
    if known:
        for row, tracklet in enumerate(tracklets):
            times[row] = known.get(Path(tracklet.paths[0]).parent.name, math.nan)
    return times


def _absolute(paths: Sequence[str]) -> Sequence[str]:
    """So that the frames are found from any working folder; those of a packed data set have names within it."""
    if isinstance(paths, PackedFrames) or not len(paths) or os.path.isabs(paths[0]):
        return paths
    here = os.getcwd()
    return [os.path.join(here, path) for path in paths]
