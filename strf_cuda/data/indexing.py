"""What the data sets share when they index folders: compact frame lists, natural order, checks, and notes.

A data set of a million frames is held as one array of file names, so that worker processes neither copy nor
touch a million Python strings.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from strf_cuda.data.tracklets import Tracklet
from strf_cuda.data.witnesses import list_folder
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
IMAGES = f"{', '.join(IMAGE_SUFFIXES[:-1])} or {IMAGE_SUFFIXES[-1]} pictures"
# As MARS, Market-1501 and their like name the folders of boxes that show nobody, and of people whom no query looks for.
_JUNK_OR_DISTRACTORS = re.compile("(00)?-1|0+")


class FramePaths(Sequence[str]):
    """The paths of a tracklet's frames: one folder and an array of file names.

    Behaves as a sequence of str; a slice is another `FramePaths`. Pickling carries this tracklet's names alone.

    Args:
        folder: what every name is relative to.
        names: array of encoded file names, dtype S, one a frame, in temporal order (see `encode_names`).
    """

    __slots__ = ("folder", "names")

    def __init__(self, folder: str, names: np.ndarray):
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return FramePaths(self.folder, self.names[index])
        return os.path.join(self.folder, os.fsdecode(bytes(self.names[index])))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FramePaths):
            return NotImplemented
        return self.folder == other.folder and np.array_equal(self.names, other.names)

    def __hash__(self) -> int:
        return hash((self.folder, self.names.tobytes()))

    def __reduce__(self):
        return FramePaths, (self.folder, np.ascontiguousarray(self.names))

    def __repr__(self) -> str:
        first = f", first {self[0]!r}" if len(self) else ""
        return f"FramePaths({len(self)} frames{first})"


def encode_names(names: Sequence[str]) -> np.ndarray:
    """File names as the fixed-width byte array that `FramePaths` holds."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)


def natural_key(name: str) -> tuple:
    """Sort key that puts "frame2" before "frame10"; the name itself decides between "01" and "1"."""
    # re.split with a group alternates text and digits, so keys compare text with text and number with number.
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], name


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Names to integers 1, 2, ... in natural order; 0 stays free for distractors."""
    return {name: number for number, name in enumerate(sorted(set(names), key=natural_key), start=1)}


def existing_root(root: str | os.PathLike, what: str) -> Path:
    """The data set's folder with ~ expanded.

    Raises:
        InputError: it does not exist or is no folder.
    """
    path = expanded(root)
    if not path.exists():
        raise InputError(f"the {what} folder {path} does not exist: give the folder that holds the data set")
    if not path.is_dir():
        raise InputError(f"{path} is a file: give the folder that holds the {what} data set")
    return path


def passed_over(names: Iterable[str]) -> Counter[str]:
    """How many of the files in a tracklet's folder are no frames, by ending."""
    return Counter(os.path.splitext(name)[1] or "without an ending" for name in names if not is_image(name))


def is_image(name: str) -> bool:
    """Whether a file is a frame by its name."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def counted_endings(endings: Counter[str]) -> str:
    """Such as "24 .tif, 1 .txt"."""
    return ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common())


def passed_over_note(endings: Counter[str]) -> list[str]:
    """A note on what lies among the frames and is not read, if anything."""
    if not endings:
        return []
    return [f"files among the frames that are passed over: {counted_endings(endings)}; frames are {IMAGES}"]


def special_names_note(people: Iterable[str]) -> list[str]:
    """A note on people whose names mean nobody in particular in other data sets, if there are any."""
    special = sorted(name for name in set(people) if _JUNK_OR_DISTRACTORS.fullmatch(name))
    if not special:
        return []
    return [
        f"{' and '.join(special)}: read as the name of one person each. If it means what it does in MARS, remove -1, "
        "which is junk, and give each tracklet of 0, distractors, a person of its own"
    ]


def missing_files(root: str | os.PathLike, names: np.ndarray) -> np.ndarray:
    """Which of the files are not there, found by listing each folder once instead of asking for each file.

    Args:
        root: what the names are relative to.
        names: encoded relative names, dtype S, shape [F].

    Returns:
        Indices of the missing files, ascending.
    """
    by_folder = defaultdict(list)
    for index, name in enumerate(names.tolist()):
        folder, _, file = name.rpartition(b"/")
        by_folder[folder].append((index, file))
    missing = []
    for folder, files in by_folder.items():
        try:
            present = set(list_folder(os.path.join(os.fsencode(root), folder)))
        except (FileNotFoundError, NotADirectoryError):
            present = set()
        missing += [index for index, file in files if file not in present]
    return np.array(sorted(missing), dtype=np.int64)


def and_more(count: int) -> str:
    """ " (and 12 more)" where a message names the first of `count` offenders, or nothing for a single one."""
    return f" (and {count - 1:,} more)" if count > 1 else ""


def population_notes(train: list[Tracklet], query: list[Tracklet], gallery: list[Tracklet]) -> list[str]:
    """Sentences about people who cannot do what a figure or a loss supposes they do.

    People with one tracklet or one camera train, but give the triplet loss no positive from another tracklet or
    camera; queries without a match by another camera enter no mean; a person on both sides is a leak.
    """
    notes = []
    tracklets = Counter(tracklet.person_id for tracklet in train)
    cameras = defaultdict(set)
    for tracklet in train:
        cameras[tracklet.person_id].add(tracklet.camera_id)
    alone = sum(count == 1 for count in tracklets.values())
    if alone:
        notes.append(f"{alone:,} of {len(tracklets):,} training people have a single tracklet: it is all they train on")
    one_camera = sum(len(seen) == 1 for seen in cameras.values())
    if one_camera:
        notes.append(
            f"{one_camera:,} of {len(cameras):,} training people were seen by one camera only: "
            "they train, but teach nothing about a change of camera"
        )

    seen_by = defaultdict(set)
    for tracklet in gallery:
        seen_by[tracklet.person_id].add(tracklet.camera_id)
    unmatched = sum(not seen_by[tracklet.person_id] - {tracklet.camera_id} for tracklet in query)
    if unmatched:
        notes.append(
            f"{unmatched:,} of {len(query):,} queries have no gallery tracklet of their person by another camera: "
            "they are counted, but enter no mean"
        )
    both = len(tracklets.keys() & ({tracklet.person_id for tracklet in query} | seen_by.keys()))
    if both:
        notes.append(f"{both:,} people are in the training list and in the test lists: figures will be too high")
    return notes
