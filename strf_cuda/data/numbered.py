"""Tracklet folders whose frames carry their number in their name: the number is their order.

Neither the order in which a file system lists a folder nor the alphabet is: a tracklet may mix two namings. And a
number that is missing does not end a tracklet.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from strf_cuda.data.indexing import FramePaths, and_more, encode_names, is_image
from strf_cuda.data.witnesses import list_folder
from strf_cuda.errors import InputError


@dataclass(frozen=True)
class Naming:
    """How the frames of a data set are named.

    Attributes:
        pattern: matches a whole name; its group `frame` is the frame's number, and every other named group is
            something that all frames of a tracklet have in common.
        example: a name, for messages.
    """

    pattern: re.Pattern[str]
    example: str


@dataclass(frozen=True)
class NumberedTracklet:
    """The frames of one folder in the order of their numbers.

    Attributes:
        paths: the frames.
        numbers: their numbers, ascending.
        common: what the names say of the whole tracklet, by group of the pattern.
    """

    paths: FramePaths
    numbers: list[int]
    common: dict[str, str]

    @property
    def hole(self) -> int | None:
        """The first number that is missing between the first frame and the last."""
        return next((before + 1 for before, after in pairwise(self.numbers) if after != before + 1), None)


def read_numbered(folder: Path, naming: Naming) -> NumberedTracklet:
    """Reads a tracklet's folder; hidden files and files that are no images are passed over.

    Raises:
        InputError: there is no image, an image has another name, two images have one number, or the names disagree
            on what they should have in common.
    """
    names = sorted(name for name in list_folder(folder) if is_image(name) and not name.startswith("."))
    if not names:
        raise InputError(f"tracklet {folder} is empty: it must hold images named like {naming.example}, or be removed")
    matches = [naming.pattern.fullmatch(name) for name in names]
    if not all(matches):
        others = [name for name, match in zip(names, matches, strict=True) if not match]
        raise InputError(
            f"{folder / others[0]} is not named like {naming.example}{and_more(len(others))}: rename or remove it"
        )
    for group in naming.pattern.groupindex:
        if group == "frame":
            continue
        values = [match[group] for match in matches]
        if len(set(values)) > 1:
            other = next(index for index, value in enumerate(values) if value != values[0])
            raise InputError(
                f"tracklet {folder} mixes two {group}s: {names[0]} is of {group} {values[0]}, {names[other]} of "
                f"{group} {values[other]}"
            )
    numbers = [int(match["frame"]) for match in matches]
    order = sorted(range(len(names)), key=numbers.__getitem__)
    for before, after in pairwise(order):
        if numbers[before] == numbers[after]:
            raise InputError(
                f"{names[before]} and {names[after]} in {folder} are both frame {numbers[before]}: remove one of them"
            )
    common = matches[0].groupdict()
    del common["frame"]
    paths = FramePaths(str(folder), encode_names([names[index] for index in order]))
    return NumberedTracklet(paths, [numbers[index] for index in order], common)
