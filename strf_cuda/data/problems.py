"""What may be wrong with a data set that a reader accepts, in sentences. No frame is opened here."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from strf_cuda.data.indexing import IMAGE_SUFFIXES, FramePaths, and_more
from strf_cuda.data.inspection import distinct
from strf_cuda.data.tracklets import LISTS, Tracklet, TrackletDataset
from strf_cuda.data.witnesses import list_folder

# A hole is told from frames taken at no steady pace: most neighbours must be equally far apart.
STEADY = 0.5
DIGITS = re.compile(rb"[0-9]+")
# Of pictures that come more than once, those that mislead most first.
KINDS = (
    "of two people at once",
    "to train on and to test on",
    "of two cameras at once",
    "in two tracklets of one list",
    "that come again in one tracklet",
)


def new_cameras(dataset: TrackletDataset) -> list[str]:
    """Cameras that are tested and not trained on."""
    trained = {tracklet.camera_id for tracklet in dataset.train}
    tested = {tracklet.camera_id for name in ("query", "gallery") for tracklet in getattr(dataset, name)}
    new = sorted(tested - trained)
    if not new or not trained:
        return []
    named = ", ".join(dataset.camera_names.get(number, str(number)) for number in new[:5])
    return [f"{len(new):,} of {len(tested):,} cameras of the test have no training tracklet: {named}"]


def files_by_folder(dataset: TrackletDataset) -> dict[bytes, list[bytes]]:
    """The names of all frames by their folder; a tracklet that is a query and in the gallery counts once."""
    found = defaultdict(list)
    for tracklet in distinct(dataset):
        base, names = _base_and_names(tracklet.paths)
        for name in names:
            inner, slash, file = name.rpartition(b"/")
            found[os.path.join(base, inner) if slash else base].append(file)
    return found


def _base_and_names(paths: Sequence[str]) -> tuple[bytes, list[bytes]]:
    """A folder, and the frames' paths below it."""
    if isinstance(paths, FramePaths):
        return os.fsencode(paths.folder), paths.names.tolist()
    return b"", [os.fsencode(path) for path in paths]


def listed_twice(files: dict[bytes, list[bytes]]) -> list[str]:
    """Frames that belong to two tracklets, or to one tracklet twice.

    Args:
        files: what `files_by_folder` gives.
    """
    twice = [
        os.path.join(folder, name)
        for folder, names in files.items()
        if len(set(names)) < len(names)
        for name, times in Counter(names).items()
        if times > 1
    ]
    return [f"frames listed more than once: {len(twice):,}, first {os.fsdecode(twice[0])}"] if twice else []


def holes(dataset: TrackletDataset) -> list[str]:
    """Tracklets whose frames' numbers leave some out, or do not rise."""
    tracklets = distinct(dataset)
    broken, missing, example = 0, 0, ""
    falling, where = 0, ""
    for tracklet in tracklets:
        numbers = frame_numbers(_base_and_names(tracklet.paths)[1])
        steps = [after - before for before, after in pairwise(numbers)]
        if not steps or 0 in steps:
            continue
        if min(steps) < 0:
            falling += 1
            where = where or tracklet.paths[steps.index(min(steps)) + 1]
            continue
        usual, times = Counter(steps).most_common(1)[0]
        gaps = [step for step in steps if step > usual]
        if gaps and times > STEADY * len(steps):
            broken += 1
            missing += sum(step // usual - 1 for step in gaps)
            example = example or tracklet.paths[steps.index(gaps[0]) + 1]
    found = []
    if broken:
        found.append(
            f"{broken:,} of {len(tracklets):,} tracklets have holes in the numbers of their frames, {missing:,} frames "
            f"in all; the first is before {example}"
        )
    if falling:
        found.append(
            f"in {falling:,} of {len(tracklets):,} tracklets the numbers of the frames do not rise; the first is at "
            f"{where}"
        )
    return found


def frame_numbers(names: Sequence[bytes]) -> list[int]:
    """The first number in the names that is not the same in all of them; nothing where some name has none there."""
    start = len(os.path.commonprefix(names).rstrip(b"0123456789"))  # noqa: RUF071, of characters, as is meant
    matches = [DIGITS.match(name, start) for name in names]
    return [int(match[0]) for match in matches] if all(matches) else []


def left_over(files: dict[bytes, list[bytes]], *, beside: bool, meant: Sequence[str] = ()) -> list[str]:
    """Pictures that lie among those of the lists and are in none, and empty folders.

    Args:
        files: what `files_by_folder` gives.
        beside: look into the folders beside those of the tracklets too, which may be anything where a table lists
            frames.
        meant: names of folders that are left out on purpose.
    """
    above = {os.path.dirname(folder) for folder in files} if beside else set()
    inner = {os.path.join(folder, name) for folder in above for name in list_folder(folder)}
    used = {parent for folder in files for parent in (folder, *_parents(folder))}
    unused = sorted(folder for folder in inner - used if _may_hold_frames(folder, meant))
    extra = {folder: sorted(_pictures(folder) - set(names)) for folder, names in sorted(files.items())}
    extra |= {folder: sorted(_pictures(folder)) for folder in unused}
    extra = {folder: names for folder, names in extra.items() if names}
    found = []
    if extra:
        folder, names = next(iter(extra.items()))
        count = sum(map(len, extra.values()))
        found.append(
            f"pictures in no list: {count:,}, folders that hold some: {len(extra):,}, first "
            f"{os.fsdecode(os.path.join(folder, names[0]))}"
        )
    empty = [folder for folder in unused if not list_folder(folder)]
    if empty:
        found.append(f"the folder {os.fsdecode(empty[0])} is empty{and_more(len(empty))}")
    return found


def _may_hold_frames(folder: bytes, meant: Sequence[str]) -> bool:
    name = os.fsdecode(os.path.basename(folder))
    return name not in meant and not name.startswith(".") and os.path.isdir(folder)


def _parents(folder: bytes) -> list[bytes]:
    parents = [os.path.dirname(folder)]
    while parents[-1] != os.path.dirname(parents[-1]):
        parents.append(os.path.dirname(parents[-1]))
    return parents


def _pictures(folder: bytes) -> set[bytes]:
    suffixes = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)
    return {name for name in list_folder(folder) if name.lower().endswith(suffixes) and not name.startswith(b".")}


def repeated(dataset: TrackletDataset, digests: Sequence[np.ndarray]) -> list[str]:
    """Pictures that come more than once, those that mislead most first.

    Args:
        digests: of the frames of `distinct(dataset)`, see `strf_cuda.data.inspection.Frames`.
    """
    tracklets = distinct(dataset)
    owners = np.repeat(np.arange(len(digests)), [len(array) for array in digests])
    places = np.concatenate([np.arange(len(array)) for array in digests] or [np.empty(0, int)])
    everything = np.concatenate(digests or [np.empty(0, np.uint64)])
    values, times = np.unique(everything, return_counts=True)
    candidates = np.isin(everything, values[(times > 1) & (values != 0)])
    copies = defaultdict(list)
    for digest, owner, place in zip(everything[candidates], owners[candidates], places[candidates], strict=True):
        copies[int(digest)].append((int(owner), int(place)))

    lists = {name: {tracklet.paths for tracklet in getattr(dataset, name)} for name in LISTS}
    counts, examples = Counter(), {}
    for places_of_one in copies.values():
        paths = [tracklets[owner].paths[place] for owner, place in places_of_one]
        kind = _kind_of_repetition([tracklets[owner] for owner, _ in places_of_one], lists)
        if kind and len(set(paths)) > 1:  # one file in two places is what `listed_twice` tells
            counts[kind] += 1
            examples.setdefault(kind, f"{paths[0]} and {next(path for path in paths if path != paths[0])}")
    return [f"pictures {kind}: {counts[kind]:,}, such as {examples[kind]}" for kind in KINDS if counts[kind]]


def _kind_of_repetition(owners: list[Tracklet], lists: dict[str, set]) -> str | None:
    """What is odd about one picture in these tracklets; nothing where a query's copy stands in the gallery."""
    sides = [{name for name in LISTS if owner.paths in lists[name]} for owner in owners]
    if len({owner.person_id for owner in owners}) > 1:
        return KINDS[0]
    if len({"train" in side for side in sides}) > 1:
        return KINDS[1]
    if len({owner.camera_id for owner in owners}) > 1:
        return KINDS[2]
    different = list({owner.paths: side for owner, side in zip(owners, sides, strict=True)}.values())
    if any(sum(name in side for side in different) > 1 for name in LISTS):
        return KINDS[3]
    return KINDS[4] if len(different) < len(owners) else None
