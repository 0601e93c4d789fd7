"""Official divisions of people into training and testing: ten of them, of which one is in use.

Two kinds of files say them. JSON: a list of ten {"train": [...], "test": [...]} of person folders. MATLAB: ten rows of
people's places in the sorted list of person folders, those of the first half tested, the others trained on.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strf_cuda.contents import read_json
from strf_cuda.data.indexing import and_more
from strf_cuda.data.matlab import read_matrix
from strf_cuda.data.witnesses import witness
from strf_cuda.errors import InputError

SPLITS = 10
MOST_BYTES = 1 << 20  # of a JSON file that may be a list of splits; the published ones have 50 KB
SHAPE = 'a list of ten {"train": [...], "test": [...]} of person folders'


@dataclass(frozen=True)
class PeopleSplit:
    """One division: names of person folders, sorted."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def check_split(split: int, what: str) -> None:
    """There is a split of that number."""
    if split not in range(SPLITS):
        raise InputError(f"split is {split}, but {what} has the splits 0 to {SPLITS - 1}")


def json_splits(folders: Iterable[Path]) -> dict[Path, list[PeopleSplit]]:
    """The splits of every JSON file in the folders that holds some; other JSON files are passed over.

    Raises:
        InputError: a file cannot be read, or its splits are faulty.
    """
    found = {}
    for folder in folders:
        for path in sorted(witness(folder).glob("*.json")):
            if path.name.startswith(".") or not witness(path).is_file() or path.stat().st_size > MOST_BYTES:
                continue
            try:
                content = read_json(path)
            except ValueError as error:
                raise InputError(f"{path} cannot be read as JSON ({error}): download it again or remove it") from None
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}") from None
            if isinstance(content, list) and any(isinstance(item, dict) and "test" in item for item in content):
                found[path] = parse_splits(path, content)
    return found


def parse_splits(path: Path, content: list) -> list[PeopleSplit]:
    """The checked splits of a JSON file's content."""
    splits = []
    for number, item in enumerate(content):
        sides = [item.get(side) if isinstance(item, dict) else None for side in ("train", "test")]
        for side in sides:
            if not isinstance(side, list) or not side or not all(isinstance(person, str) for person in side):
                raise InputError(f"split {number} of {path} is not as it must be: the file holds {SHAPE}")
        splits.append(PeopleSplit(*(tuple(sorted(side)) for side in sides)))
    check_splits(path, splits)
    return splits


def matlab_splits(path: Path, variable: str, people: Sequence[str]) -> list[PeopleSplit]:
    """The splits of a MATLAB file.

    Args:
        path: the file.
        variable: its matrix of ten rows.
        people: the person folders, sorted, which the matrix numbers from 1.

    Raises:
        InputError: the file cannot be read, or its rows do not number the people.
    """
    matrix = read_matrix(path, variable)
    if matrix.ndim != 2 or len(matrix) != SPLITS or matrix.shape[1] % 2:
        raise InputError(
            f"{variable} in {path} must have {SPLITS} rows of an even number of people, but its shape is "
            f"{list(matrix.shape)}"
        )
    numbers = matrix.shape[1]
    if numbers != len(people):
        raise InputError(
            f"{variable} in {path} numbers {numbers} people, but there are {len(people)} person folders: their "
            "numbers cannot be told, unpack the archive again"
        )
    for row in matrix:
        if not np.array_equal(np.sort(row), np.arange(1, numbers + 1)):
            raise InputError(f"a row of {variable} in {path} does not hold each of the numbers 1 to {numbers} once")
    half = numbers // 2
    names = np.array(people)
    splits = [
        PeopleSplit(
            train=tuple(sorted(names[row[half:] - 1].tolist())), test=tuple(sorted(names[row[:half] - 1].tolist()))
        )
        for row in matrix
    ]
    check_splits(path, splits)
    return splits


def check_splits(path: Path, splits: list[PeopleSplit]) -> None:
    """There are ten, and nobody is named twice in one."""
    if len(splits) != SPLITS:
        raise InputError(f"{path} holds {len(splits)} splits instead of {SPLITS}: it must be {SHAPE}")
    for number, split in enumerate(splits):
        for side, people in (("train", split.train), ("test", split.test)):
            repeated = sorted({person for person in people if people.count(person) > 1})
            if repeated:
                raise InputError(
                    f"split {number} of {path} names {repeated[0]} twice in {side}{and_more(len(repeated))}"
                )
        both = sorted(set(split.train) & set(split.test))
        if both:
            raise InputError(
                f"split {number} of {path} has {both[0]} in train and in test{and_more(len(both))}: people to test on "
                "must not be trained on"
            )


def agreed_splits(found: dict[Path, list[PeopleSplit]], root: Path, wanted: str) -> list[PeopleSplit]:
    """The one set of splits that all files hold.

    Args:
        found: the splits by file.
        root: the data set's folder.
        wanted: which file to get where there is none.

    Raises:
        InputError: there is no file, or two of them disagree.
    """
    if not found:
        raise InputError(f"{root} holds no file of splits: put {wanted} into it")
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            differing = [number for number in range(SPLITS) if found[other][number] != found[first][number]]
            raise InputError(
                f"{first} and {other} disagree on split {differing[0]}{and_more(len(differing))}: keep the one that "
                "you mean"
            )
    return found[first]


def fingerprint(splits: list[PeopleSplit]) -> str:
    """SHA-256 of the splits in order, whatever file they come from."""
    canonical = json.dumps([[split.train, split.test] for split in splits], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
