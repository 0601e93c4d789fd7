"""iLIDS-VID, read strictly, with its ten official splits.

Layout and protocol of the release (Wang et al., Person Re-Identification by Video Ranking, ECCV 2014):

    i-LIDS-VID/sequences/cam{1,2}/personNNN/*.png       cam1_person001_00317.png: camera, person, frame
    train-test people splits/train_test_splits_ilidsvid.mat
                                                        `ls_set`: ten rows of 300 places in the sorted person folders,
                                                        counted from 1; the first 150 are tested, the others trained on

The numbers of the folders are not places: 300 people have numbers up to 319. So a listing in the file system's own
order, which some loaders take, divides the people differently on every machine.

Queries are camera 1, the gallery is camera 2. Published figures are means over the ten splits.
"""

import os
import re

from strf_cuda.data.indexing import and_more
from strf_cuda.data.numbered import Naming
from strf_cuda.data.splits import SHAPE, json_splits, matlab_splits
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.data.two_cameras import TwoCameraCopy, TwoCameraLayout, open_copy
from strf_cuda.data.witnesses import witness
from strf_cuda.errors import InputError

SPLIT_FOLDER = "train-test people splits"
SPLIT_FILE = "train_test_splits_ilidsvid.mat"
SPLIT_VARIABLE = "ls_set"

LAYOUT = TwoCameraLayout(
    name="iLIDS-VID",
    nestings=("i-LIDS-VID/sequences", "sequences", "iLIDS-VID/i-LIDS-VID/sequences", "iLIDS-VID/sequences"),
    cameras=("cam1", "cam2"),
    person=re.compile("person([0-9]{3})"),
    person_example="person001",
    naming=Naming(
        re.compile(r"(?P<camera>cam[12])_(?P<person>person[0-9]{3})_(?P<frame>[0-9]{5})\.png"),
        "cam1_person001_00317.png",
    ),
    # Counted from the release's frame names.
    official_counts={
        "people": 300,
        "frames": 42_459,
        "frames in the shortest tracklet": 22,
        "frames in the longest tracklet": 192,
    },
    published={
        "09fee35698067a0e2c60eab41a333db71d4641edde6f9802567129d7bad4c2b1": "the ten official splits",
    },
    unpublished="not the ten official splits",
)


class ILIDSVID(TrackletDataset):
    """iLIDS-VID in one of its ten splits. Persons and cameras keep the numbers of the data set.

    The splits come from the official file or from a JSON list of ten {"train": [...], "test": [...]} of person folders
    that lies in the root; where several files are there they must agree. `.notes` names the split, its file, whether
    these are the official ones, and says when the copy is partial.

    Args:
        root: the folder with i-LIDS-VID and the official "train-test people splits".
        split: 0 to 9.

    Raises:
        InputError: something is missing or disagrees with something else; the sentence names it.
    """

    def __init__(self, root: str | os.PathLike, split: int = 0):
        copy = open_copy(LAYOUT, root, split)
        check_both_cameras(copy)
        folders = [folder / inner for folder in copy.folders for inner in ("", SPLIT_FOLDER)]
        matlab = [folder / SPLIT_FILE for folder in folders if witness(folder / SPLIT_FILE).is_file()]
        found = {path: matlab_splits(path, SPLIT_VARIABLE, copy.people["cam1"]) for path in matlab}
        found |= json_splits(folders)
        wanted = f"the official {SPLIT_FOLDER}/{SPLIT_FILE}, or a JSON file with {SHAPE},"
        lists, notes = copy.lists(found, wanted, split)
        super().__init__(LAYOUT.name, **lists, notes=notes)


def check_both_cameras(copy: TwoCameraCopy) -> None:
    """Both cameras saw the same people, as the release has it."""
    for here, there in (("cam1", "cam2"), ("cam2", "cam1")):
        alone = sorted(set(copy.people[here]) - set(copy.people[there]))
        if alone:
            raise InputError(
                f"{copy.base / here / alone[0]} has no counterpart in {there}{and_more(len(alone))}: unpack the "
                "archive again"
            )
