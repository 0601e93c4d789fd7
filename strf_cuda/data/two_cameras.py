"""What iLIDS-VID and PRID2011 share: a folder for each person and camera, and ten splits.

Training takes both tracklets of a split's training people. Of its test people the first camera's tracklets are the
queries and the second camera's are the gallery, so that a query has exactly one match.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from strf_cuda.data.completeness import Counts, hold_to_official_counts
from strf_cuda.data.folder import visible
from strf_cuda.data.indexing import and_more, existing_root, population_notes
from strf_cuda.data.numbered import Naming, NumberedTracklet, read_numbered
from strf_cuda.data.splits import PeopleSplit, agreed_splits, check_split, fingerprint
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.data.witnesses import is_folder
from strf_cuda.errors import InputError


@dataclass(frozen=True)
class TwoCameraLayout:
    """How a data set of two cameras lies on disk, and what its complete copy holds.

    Attributes:
        name: of the data set.
        nestings: folders below the root of which one holds the two cameras' folders.
        cameras: these folders; the first is camera 1 and takes the queries, the second is camera 2.
        person: matches a person folder; its only group is the person's number.
        person_example: a person folder, for messages.
        naming: of frames; a group `person` or `camera` must name the folder that the frame lies in.
        official_counts: of people that the splits name and of their frames.
        published: what published sets of ten splits are called, by `fingerprint`.
        unpublished: what any other set of splits is called.
    """

    name: str
    nestings: tuple[str, ...]
    cameras: tuple[str, str]
    person: re.Pattern[str]
    person_example: str
    naming: Naming
    official_counts: Counts
    published: dict[str, str]
    unpublished: str

    def person_number(self, folder: str) -> int:
        """The number of the person whose folder has that name."""
        return int(self.person.fullmatch(folder)[1])


@dataclass(frozen=True)
class TwoCameraCopy:
    """A copy of such a data set on disk, nothing of which has been read but the names of the person folders.

    Attributes:
        layout: of the data set.
        root: the folder that the user gave.
        base: the folder with those of the two cameras.
        people: the person folders of each camera, sorted.
    """

    layout: TwoCameraLayout
    root: Path
    base: Path
    people: dict[str, list[str]]

    @property
    def folders(self) -> list[Path]:
        """The folders from the root down to `base`, where files of splits may lie."""
        return [folder for folder in (*reversed(self.base.parents), self.base) if folder.is_relative_to(self.root)]

    def lists(
        self, found: dict[Path, list[PeopleSplit]], wanted: str, number: int
    ) -> tuple[dict[str, list[Tracklet]], list[str]]:
        """Train, query and gallery of one split, and the notes.

        Args:
            found: the splits by the file that holds them.
            wanted: which file to get where there is none.
            number: the split in use.

        Raises:
            InputError: there are no splits, files of them disagree, a person whom they name is not there, or frames
                are missing.
        """
        layout = self.layout
        splits = agreed_splits(found, self.root, wanted)
        named = sorted({person for split in splits for person in split.train + split.test})
        check_people(self.people, named, next(iter(found)))
        tracklets = {
            (person, camera): read_person(layout, self.base / camera / person, camera, person)
            for person in named
            for camera in layout.cameras
        }

        def seen(people: tuple[str, ...], *cameras: int) -> list[Tracklet]:
            return [
                Tracklet(tracklets[person, layout.cameras[camera - 1]].paths, layout.person_number(person), camera)
                for person in people
                for camera in cameras
            ]

        split = splits[number]
        lists = {"train": seen(split.train, 1, 2), "query": seen(split.test, 1), "gallery": seen(split.test, 2)}
        files = " and ".join(str(path.relative_to(self.root)) for path in found)
        notes = [f"split {number} of {files}: {layout.published.get(fingerprint(splits), layout.unpublished)}"]
        notes += hold_to_official_counts(
            layout.name,
            self.root,
            count(named, list(tracklets.values())),
            layout.official_counts,
            claims=("people", "frames"),
            shares=("people", "frames"),
            advice="unpack the archive again",
        )
        return lists, notes + population_notes(**lists)


def open_copy(layout: TwoCameraLayout, root: str | os.PathLike, split: int) -> TwoCameraCopy:
    """Finds the two cameras' folders and lists the people.

    Raises:
        InputError: there is no such folder or split, or a folder among the people's has another name, which might
            shift the places of all others.
    """
    root = existing_root(root, layout.name)
    check_split(split, layout.name)
    first, second = layout.cameras
    bases = [root / nesting for nesting in layout.nestings]
    base = next((base for base in bases if is_folder(base / first) and is_folder(base / second)), None)
    if base is None:
        raise InputError(
            f"{root} has no folders {layout.nestings[0]}/{first} and {second}: it is not in the layout of {layout.name}"
        )
    people = {
        camera: sorted(name for name in visible(base / camera) if is_folder(base / camera / name))
        for camera in layout.cameras
    }
    for camera, names in people.items():
        for name in names:
            match = layout.person.fullmatch(name)
            if not match or int(match[1]) == 0:
                raise InputError(
                    f"{base / camera / name} is not named like {layout.person_example}: every folder there is a "
                    "person's, move it elsewhere"
                )
    return TwoCameraCopy(layout, root, base, people)


def check_people(people: dict[str, list[str]], named: list[str], source: Path) -> None:
    """Everybody whom the splits name was seen by both cameras."""
    for camera, present in people.items():
        missing = sorted(set(named) - set(present))
        if missing:
            raise InputError(
                f"{source} names {missing[0]}{and_more(len(missing))}, of whom there is no folder in {camera}: unpack "
                "the archive again, or take the splits of this copy"
            )


def read_person(layout: TwoCameraLayout, folder: Path, camera: str, person: str) -> NumberedTracklet:
    """One person's tracklet by one camera, without a hole: the published ones have none."""
    tracklet = read_numbered(folder, layout.naming)
    for group, expected in (("camera", camera), ("person", person)):
        said = tracklet.common.get(group, expected)
        if said != expected:
            name = Path(tracklet.paths[0]).name
            raise InputError(f"{folder} is of {group} {expected}, but its frame {name} is of {group} {said}")
    if tracklet.hole is not None:
        raise InputError(f"frame {tracklet.hole} of {folder} is missing: unpack the archive again")
    return tracklet


def count(people: list[str], tracklets: list[NumberedTracklet]) -> Counts:
    """What this copy holds, under the names of `TwoCameraLayout.official_counts`."""
    lengths = [len(tracklet.paths) for tracklet in tracklets]
    return {
        "people": len(people),
        "frames": sum(lengths),
        "frames in the shortest tracklet": min(lengths),
        "frames in the longest tracklet": max(lengths),
    }
