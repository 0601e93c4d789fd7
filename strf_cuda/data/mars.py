"""MARS, read strictly: every name, row and count is checked before a frame is decoded.

Layout and protocol of the official release (Zheng et al., ECCV 2016; github.com/liangzheng06/MARS-evaluation):

    bbox_train/PID/*.jpg, bbox_test/PID/*.jpg     0001C1T0001F001.jpg: person, camera, tracklet, frame
    info/train_name.txt, info/test_name.txt       every frame's name, one a line
    info/tracks_train_info.mat, tracks_test_info.mat
                                                  rows of first frame, last frame (1-based, inclusive), person, camera
    info/query_IDX.mat                            1-based rows of tracks_test_info that are queries

Person -1 (named 00-1) is junk and dropped, person 0 is a distractor and kept, and the gallery holds every remaining
test row, the query tracklets among them: 140 of the 1,980 official queries have a match nowhere else.

Two files of our own may stand beside the official ones: info/challenges.csv says what makes a tracklet hard, and
info/walkers.json marks the synthetic walkers, which share this layout.
"""

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strf_cuda.contents import read_text
from strf_cuda.data.completeness import hold_to_official_counts
from strf_cuda.data.folder import visible
from strf_cuda.data.indexing import FramePaths, and_more, existing_root, missing_files, population_notes
from strf_cuda.data.matlab import read_matrix
from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON, Tracklet, TrackletDataset
from strf_cuda.data.witnesses import is_folder, witness
from strf_cuda.errors import InputError

# Counted from the official info files. A copy that meets one of the first four claims to be complete.
OFFICIAL_COUNTS = {
    "training frames": 509_914,
    "test frames": 681_089,
    "training tracklets": 8_298,
    "test tracklets": 12_180,
    "training people": 625,
    "frames in the shortest training tracklet": 5,
    "frames in the longest training tracklet": 900,
    "frames in the median training tracklet": 36,
    "training tracklets shorter than 32 frames": 3_906,
    "junk tracklets": 870,
    "distractor tracklets": 3_248,
    "queries": 1_980,
    "people among the queries": 626,
    "gallery tracklets besides the queries": 9_330,
    "gallery tracklets": 11_310,
    "gallery frames": 657_709,
    "gallery clips of 4 frames": 168_487,
    "pairs of a query and a match": 21_813,
    "pairs of a query and junk": 8_046,
    "queries matched by other queries only": 140,
}
COMPLETENESS_CLAIMS = tuple(OFFICIAL_COUNTS)[:4]

PARTS = ("bbox_train", "bbox_test", "info")
JUNK_FOLDER = "00-1"
NAME_PATTERN = b"....C.T....F....jpg"
NAME_DIGITS = [0, 1, 2, 3, 5, 7, 8, 9, 10, 12, 13, 14]
NAME_EXAMPLE = "0001C1T0001F001.jpg"


@dataclass(frozen=True)
class Split:
    """One side of the data set: its frame names [F] (dtype S) and its rows [N, 4] of first, last, person, camera."""

    name: str
    frames: np.ndarray
    rows: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.rows[:, 1] - self.rows[:, 0] + 1


class MARS(TrackletDataset):
    """MARS or a data set in its layout, complete, partial or synthetic.

    `.notes` says when the copy is partial. A complete copy is held to every official count.

    Args:
        root: the folder with bbox_train, bbox_test and info, one of these, or the folder that holds it.

    Raises:
        InputError: something is missing or disagrees with something else; the sentence names it.
    """

    def __init__(self, root: str | os.PathLike):
        root = find_base(existing_root(root, "MARS"))
        train, test = read_split(root, "train"), read_split(root, "test")
        queries = read_queries(root, test)
        synthetic = witness(root / "info" / "walkers.json").exists()
        notes = [] if synthetic else completeness_notes(root, train, test, queries)

        train_tracklets = split_tracklets(root, train)
        test_tracklets = split_tracklets(root, test)
        train_list = list(train_tracklets.values())
        query_list = [test_tracklets[row] for row in queries]
        gallery_list = list(test_tracklets.values())
        notes += population_notes(train_list, query_list, gallery_list)
        junk = len(test.rows) - len(test_tracklets)
        super().__init__("walkers" if synthetic else "MARS", train_list, query_list, gallery_list, notes, junk=junk)


def find_base(root: Path) -> Path:
    """The folder with bbox_train, bbox_test and info: this one, the one above, or the only one below that is such."""
    if is_base(root):
        return root
    above = Path(os.path.abspath(root)).parent
    if os.path.basename(os.path.abspath(root)) in PARTS and is_base(above):
        return above
    inner = [root / name for name in visible(root) if is_base(root / name)]
    if len(inner) > 1:
        raise InputError(
            f"{root} holds several folders in the layout of MARS: give one, {' or '.join(map(str, inner))}"
        )
    return inner[0] if inner else root


def is_base(folder: Path) -> bool:
    """Whether a folder holds bbox_train or bbox_test."""
    return any(is_folder(folder / part) for part in PARTS[:2])


def read_split(root: Path, name: str) -> Split:
    """Reads and checks bbox_<name> and its two info files."""
    if not (root / f"bbox_{name}").is_dir():
        raise InputError(f"{root} has no folder bbox_{name}: it is not in the layout of MARS")
    rows = read_rows(root, name)
    frames = read_names(root, name)
    split = Split(name, frames, rows)
    person, camera = parse_names(frames, root / "info" / f"{name}_name.txt")
    check_rows(split, person, camera)

    folders = np.char.add(np.char.add(f"bbox_{name}/".encode(), frames.astype("S4")), b"/")
    missing = missing_files(root, np.char.add(folders, frames))
    if len(missing):
        file = frames[missing[0]].decode()
        raise InputError(
            f"bbox_{name}/{file[:4]}/{file} is listed in info/{name}_name.txt and does not exist in "
            f"{root}{and_more(len(missing))}: unpack the archive again"
        )
    return split


def read_names(root: Path, name: str) -> np.ndarray:
    """The lines of info/<name>_name.txt, dtype S, shape [F]."""
    path = root / "info" / f"{name}_name.txt"
    try:
        lines = read_text(witness(path), "surrogateescape").encode("utf-8", "surrogateescape").split()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: MARS needs its official info folder beside bbox_{name}") from None
    if not lines:
        raise InputError(f"{path} is empty: it must list the frames of bbox_{name}, one a line")
    return np.array(lines, dtype=np.bytes_)


def read_info(root: Path, file: str, variable: str) -> np.ndarray:
    """The whole numbers of one variable in info/<file>."""
    path = witness(root / "info" / file)
    if not path.exists():
        raise InputError(f"{path} does not exist: MARS needs its official info folder")
    return read_matrix(path, variable)


def read_rows(root: Path, name: str) -> np.ndarray:
    """The rows [N, 4] of info/tracks_<name>_info.mat."""
    file = f"tracks_{name}_info.mat"
    rows = read_info(root, file, f"track_{name}_info")
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise InputError(
            f"{root / 'info' / file} must have the columns first frame, last frame, person and camera, "
            f"but its shape is {list(rows.shape)}"
        )
    return rows


def read_queries(root: Path, test: Split) -> list[int]:
    """The queries as 0-based rows of the test split."""
    queries = read_info(root, "query_IDX.mat", "query_IDX").ravel()
    count = len(test.rows)
    outside = queries[(queries < 1) | (queries > count)]
    if len(outside):
        raise InputError(
            f"info/query_IDX.mat points at row {outside[0]}{and_more(len(outside))}, but "
            f"info/tracks_test_info.mat has the rows 1 to {count:,}"
        )
    repeated = [row for row, times in Counter(queries.tolist()).items() if times > 1]
    if repeated:
        raise InputError(f"info/query_IDX.mat lists row {repeated[0]} twice{and_more(len(repeated))}")
    nobody = queries[test.rows[queries - 1, 2] <= DISTRACTOR_PERSON]
    if len(nobody):
        raise InputError(
            f"info/query_IDX.mat makes a query of row {nobody[0]}{and_more(len(nobody))}, which is person "
            f"{test.rows[nobody[0] - 1, 2]}: junk and distractors have no match"
        )
    return (queries - 1).tolist()


def parse_names(names: np.ndarray, source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Person and camera of each name, all at once.

    Args:
        names: dtype S, shape [F].
        source: the list they come from, for the message.

    Returns:
        person [F], -1 for junk, and camera [F].
    """
    width = len(NAME_PATTERN)
    cells = names.astype(f"S{width}").view(np.uint8).reshape(-1, width)
    junk = (cells[:, :4] == np.frombuffer(JUNK_FOLDER.encode(), np.uint8)).all(axis=1)
    values = cells.astype(np.int16) - ord("0")
    values[junk, :4] = 0
    digits = values[:, NAME_DIGITS]
    pattern = np.frombuffer(NAME_PATTERN, np.uint8)
    fixed = np.setdiff1d(np.arange(width), NAME_DIGITS)
    good = (cells[:, fixed] == pattern[fixed]).all(axis=1) & ((digits >= 0) & (digits <= 9)).all(axis=1)
    good &= (values[:, 5] >= 1) & (values[:, 5] <= 6)
    if names.dtype.itemsize > width:
        good &= np.char.str_len(names) == width
    bad = np.flatnonzero(~good)
    if len(bad):
        raise InputError(
            f"line {bad[0] + 1} of {source} is {names[bad[0]].decode(errors='replace')!r}{and_more(len(bad))}, not a "
            f"name like {NAME_EXAMPLE} with a camera from 1 to 6"
        )
    person = values[:, :4] @ np.array([1000, 100, 10, 1])
    return np.where(junk, JUNK_PERSON, person), values[:, 5]


def check_rows(split: Split, person: np.ndarray, camera: np.ndarray) -> None:
    """Every row lies inside the list, holds a frame, and says of person and camera what its frames' names say."""
    source = f"info/tracks_{split.name}_info.mat"
    first, last = split.rows[:, 0], split.rows[:, 1]
    empty = np.flatnonzero(last < first)
    if len(empty):
        row = empty[0]
        raise InputError(
            f"row {row + 1} of {source} is an empty tracklet, from frame {first[row]} to {last[row]}"
            f"{and_more(len(empty))}"
        )
    outside = np.flatnonzero((first < 1) | (last > len(split.frames)))
    if len(outside):
        row = outside[0]
        raise InputError(
            f"row {row + 1} of {source} runs from frame {first[row]} to {last[row]}{and_more(len(outside))}, but "
            f"info/{split.name}_name.txt has the frames 1 to {len(split.frames):,}"
        )
    people = split.rows[:, 2]
    lowest = 1 if split.name == "train" else JUNK_PERSON
    unknown = np.flatnonzero(people < lowest)
    if len(unknown):
        row = unknown[0]
        raise InputError(
            f"row {row + 1} of {source} is person {people[row]}{and_more(len(unknown))}: "
            f"people in the {split.name} split are numbered from {lowest}"
        )

    lengths = split.lengths
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.arange(len(row_of)) + np.repeat(first - 1 - (np.cumsum(lengths) - lengths), lengths)
    # Junk is dropped, so it matters that no person's frames hide among it, but not which camera took it.
    for what, named, column in (("person", person, 2), ("camera", camera, 3)):
        differs = named[frame] != split.rows[row_of, column]
        if column == 3:
            differs &= people[row_of] != JUNK_PERSON
        wrong = np.flatnonzero(differs)
        if len(wrong):
            row = row_of[wrong[0]]
            raise InputError(
                f"row {row + 1} of {source} says {what} {split.rows[row, column]}, but its frame "
                f"{split.frames[frame[wrong[0]]].decode()} is of {what} {named[frame[wrong[0]]]}"
                f"{and_more(len(wrong))}"
            )


def split_tracklets(root: Path, split: Split) -> dict[int, Tracklet]:
    """The tracklets by their 0-based row, junk left out."""
    challenges = read_challenges(root, split)
    tracklets = {}
    for row, (first, last, person, camera) in enumerate(split.rows.tolist()):
        if person == JUNK_PERSON:
            continue
        folder = str(root / f"bbox_{split.name}" / f"{person:04d}")
        paths = FramePaths(folder, split.frames[first - 1 : last])
        challenge, group = challenges.get(row, (None, None))
        tracklets[row] = Tracklet(paths, person, camera, challenge, group)
    return tracklets


def read_challenges(root: Path, split: Split) -> dict[int, tuple[str, int | None]]:
    """Challenge and look-alike group by 0-based row of this split, where info/challenges.csv says so."""
    path = witness(root / "info" / "challenges.csv")
    if not path.exists():
        return {}
    challenges = {}
    reader = csv.reader(read_text(path, "replace").splitlines())
    header = next(reader, [])
    if header != ["split", "row", "challenge", "group"]:
        raise InputError(f"{path} must begin with split,row,challenge,group, but begins with {','.join(header)!r}")
    for fields in reader:
        line = f"line {reader.line_num} of {path}"
        try:
            name, row_text, challenge, group_text = fields
            row, group = int(row_text), int(group_text) if group_text else None
        except ValueError:
            raise InputError(
                f"{line} is {','.join(fields)!r}: it must hold a split, a row number, a challenge, and a group "
                "number or nothing"
            ) from None
        if name not in ("train", "test"):
            raise InputError(f"{line} names the split {name!r}: it must be train or test")
        if name != split.name:
            continue
        if not 1 <= row <= len(split.rows):
            raise InputError(f"{line} names row {row}, but the {name} split has the rows 1 to {len(split.rows):,}")
        if row - 1 in challenges:
            raise InputError(f"{line} names row {row} of the {name} split a second time")
        challenges[row - 1] = (challenge, group)
    return challenges


def count(train: Split, test: Split, queries: list[int]) -> dict[str, int | float]:
    """What this copy holds, under the names of `OFFICIAL_COUNTS`."""
    people, cameras = test.rows[:, 2], test.rows[:, 3]
    kept = people != JUNK_PERSON
    per_person = Counter(people.tolist())
    per_camera = Counter(zip(people.tolist(), cameras.tolist(), strict=True))
    query_keys = [(int(people[row]), int(cameras[row])) for row in queries]
    queries_per_person = Counter(person for person, _ in query_keys)
    queries_per_camera = Counter(query_keys)
    matches = {key: per_person[key[0]] - per_camera[key] for key in query_keys}
    query_matches = {key: queries_per_person[key[0]] - queries_per_camera[key] for key in query_keys}
    return {
        "training frames": len(train.frames),
        "test frames": len(test.frames),
        "training tracklets": len(train.rows),
        "test tracklets": len(test.rows),
        "training people": len(np.unique(train.rows[:, 2])),
        "frames in the shortest training tracklet": int(train.lengths.min()),
        "frames in the longest training tracklet": int(train.lengths.max()),
        "frames in the median training tracklet": float(np.median(train.lengths)),
        "training tracklets shorter than 32 frames": int((train.lengths < 32).sum()),
        "junk tracklets": int((~kept).sum()),
        "distractor tracklets": per_person[DISTRACTOR_PERSON],
        "queries": len(queries),
        "people among the queries": len(queries_per_person),
        "gallery tracklets besides the queries": int(kept.sum()) - len(queries),
        "gallery tracklets": int(kept.sum()),
        "gallery frames": int(test.lengths[kept].sum()),
        "gallery clips of 4 frames": int((-(-test.lengths[kept] // 4)).sum()),
        "pairs of a query and a match": sum(matches[key] for key in query_keys),
        "pairs of a query and junk": sum(per_camera[key] for key in query_keys),
        "queries matched by other queries only": sum(0 < matches[key] == query_matches[key] for key in query_keys),
    }


def completeness_notes(root: Path, train: Split, test: Split, queries: list[int]) -> list[str]:
    """A note for a partial copy; nothing for a complete one, which must meet every official count."""
    return hold_to_official_counts(
        "MARS",
        root,
        count(train, test, queries),
        OFFICIAL_COUNTS,
        claims=COMPLETENESS_CLAIMS,
        shares=("training tracklets", "test tracklets", "queries"),
        advice="compare its info folder with the official one",
    )
