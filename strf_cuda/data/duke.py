"""DukeMTMC-VideoReID, read strictly: every name is checked, and a complete copy is held to the published counts.

Layout and protocol of the release (Wu et al., CVPR 2018; github.com/Yu-Wu/DukeMTMC-VideoReID):

    {train,query,gallery}/PID/TRACKLET/*.jpg      0001C6F0099X30823.jpg or, in later copies, 0001_C6_F0099_X30823.jpg:
                                                  person, camera, frame of the tracklet, frame of the camera's video

The gallery is what its folder holds, as in the release's own evaluation and in torchreid. In the official copy that is
all 2,636 test tracklets: the 702 queries, what else was seen of their people, and 408 people without a query, who are
distractors. They have numbers of their own, which match no query, and keep them.

The frames of a tracklet are every twelfth of the video, their numbers may have holes, and some begin at 2.

Duke University took DukeMTMC, from which this data set was cut, off its site in April 2019, since people had been
recorded outside what the study's ethics approval allowed (The Chronicle, June 2019). Every use says so.
"""

import os
import re
from pathlib import Path

import numpy as np

from strf_cuda.data.completeness import Counts, hold_to_official_counts
from strf_cuda.data.folder import subfolders
from strf_cuda.data.indexing import existing_root, population_notes
from strf_cuda.data.numbered import Naming, read_numbered
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.data.witnesses import is_folder
from strf_cuda.errors import InputError

SPLITS = ("train", "query", "gallery")
NESTINGS = ("", "DukeMTMC-VideoReID")
LAYOUT = "{train,query,gallery}/person/tracklet/*.jpg"

# The release states people and tracklets, loaders of the complete copy print frames. A copy that meets one of the
# first four claims to be complete.
OFFICIAL_COUNTS = {
    "training tracklets": 2_196,
    "gallery tracklets": 2_636,
    "training frames": 369_656,
    "gallery frames": 445_764,
    "training people": 702,
    "frames in the shortest training tracklet": 5,
    "frames in the longest training tracklet": 7_507,
    "queries": 702,
    "people among the queries": 702,
    "query frames": 111_848,
    "gallery people with a query": 702,
    "gallery people without a query": 408,
    "frames in the shortest tracklet": 1,
    "frames in the longest tracklet": 9_324,
}
COMPLETENESS_CLAIMS = tuple(OFFICIAL_COUNTS)[:4]

WITHDRAWN = (
    "DukeMTMC, from which this data set was cut, was withdrawn by its authors in 2019: the people in it were recorded "
    "outside what the study's ethics approval allowed and have not agreed to this use; prefer another data set, and "
    "ask your institution before you publish figures or pictures of this one"
)

NAMING = Naming(
    re.compile(r"(?P<person>[0-9]{4})(_?)C(?P<camera>[1-8])\2F(?P<frame>[0-9]{4,})\2X[0-9]+\.jpg"),
    "0001C6F0099X30823.jpg or 0001_C6_F0099_X30823.jpg, with a camera from 1 to 8",
)


class DukeMTMCVideoReID(TrackletDataset):
    """DukeMTMC-VideoReID, complete or in part. Persons and cameras keep the numbers of the data set.

    `.notes` always says that the data set was withdrawn, and when the copy is partial. A complete copy is held to every
    published count.

    Args:
        root: the folder with train, query and gallery, or the one that holds DukeMTMC-VideoReID with them.

    Raises:
        InputError: something is missing or disagrees with something else; the sentence names it.
    """

    def __init__(self, root: str | os.PathLike):
        root = existing_root(root, "DukeMTMC-VideoReID")
        base = find_base(root)
        lists = {split: read_split(base, split) for split in SPLITS}
        notes = [WITHDRAWN]
        notes += hold_to_official_counts(
            "DukeMTMC-VideoReID",
            root,
            count(**lists),
            OFFICIAL_COUNTS,
            claims=COMPLETENESS_CLAIMS,
            shares=("training tracklets", "queries", "gallery tracklets"),
            advice="unpack the archive again",
        )
        notes += absent_query_notes(lists["query"], lists["gallery"])
        notes += population_notes(**lists)
        super().__init__("DukeMTMC-VideoReID", **lists, notes=notes)


def find_base(root: Path) -> Path:
    """The folder with train, query and gallery."""
    for nesting in NESTINGS:
        if all(is_folder(root / nesting / split) for split in SPLITS):
            return root / nesting
    raise InputError(f"{root} has no folders train, query and gallery: it is not in the layout of DukeMTMC-VideoReID")


def read_split(base: Path, split: str) -> list[Tracklet]:
    """The tracklets of one folder by person, then by tracklet."""
    tracklets = []
    for person in subfolders(base / split, "person", LAYOUT):
        if not re.fullmatch("[0-9]{4}", person):
            raise InputError(f"{base / split / person} is not named by a person's number of four digits")
        if int(person) == 0:
            raise InputError(f"{base / split / person} is person 0, but people are numbered from 1")
        for tracklet in subfolders(base / split / person, "tracklet", LAYOUT):
            folder = base / split / person / tracklet
            read = read_numbered(folder, NAMING)
            if read.common["person"] != person:
                raise InputError(
                    f"{folder} lies in the folder of person {person}, but its frame {os.path.basename(read.paths[0])} "
                    f"is of person {read.common['person']}"
                )
            tracklets.append(Tracklet(read.paths, int(person), int(read.common["camera"])))
    return tracklets


def count(train: list[Tracklet], query: list[Tracklet], gallery: list[Tracklet]) -> Counts:
    """What this copy holds, under the names of `OFFICIAL_COUNTS`."""
    frames = {
        name: np.array([len(tracklet) for tracklet in tracklets])
        for name, tracklets in (("train", train), ("query", query), ("gallery", gallery))
    }
    everything = np.concatenate(list(frames.values()))
    asked = {tracklet.person_id for tracklet in query}
    present = {tracklet.person_id for tracklet in gallery}
    return {
        "training tracklets": len(train),
        "gallery tracklets": len(gallery),
        "training frames": int(frames["train"].sum()),
        "gallery frames": int(frames["gallery"].sum()),
        "training people": len({tracklet.person_id for tracklet in train}),
        "frames in the shortest training tracklet": int(frames["train"].min()),
        "frames in the longest training tracklet": int(frames["train"].max()),
        "queries": len(query),
        "people among the queries": len(asked),
        "query frames": int(frames["query"].sum()),
        "gallery people with a query": len(present & asked),
        "gallery people without a query": len(present - asked),
        "frames in the shortest tracklet": int(everything.min()),
        "frames in the longest tracklet": int(everything.max()),
    }


def absent_query_notes(query: list[Tracklet], gallery: list[Tracklet]) -> list[str]:
    """A note where the gallery lacks queries, which the official one holds under the same person and tracklet folder.

    To its own query such a tracklet is junk, but to all others it is one more wrong answer.
    """
    present = {(tracklet.person_id, os.path.basename(tracklet.paths.folder)) for tracklet in gallery}
    absent = sum((tracklet.person_id, os.path.basename(tracklet.paths.folder)) not in present for tracklet in query)
    if not absent:
        return []
    return [
        f"{absent:,} of {len(query):,} queries are not in the gallery, which holds all of them in the official copy: "
        "queries have fewer wrong answers to avoid here"
    ]
