"""PRID2011 for video, read strictly, with whichever ten splits lie beside it.

Layout of the release (Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA
2011):

    prid_2011/multi_shot/cam_{a,b}/person_NNNN/*.png    0001.png: frame

Camera a saw 385 people and camera b 749, of whom the first 200 are the same. Video re-identification uses 178 of these,
who have enough frames in both, in ten splits of 89 and 89. The release has no splits, and two sets of ten have been
published, which divide the same people differently: `.notes` says by a fingerprint which one is in use, since their
figures do not compare.

Queries are camera a, the gallery is camera b. Published figures are means over ten splits.
"""

import os
import re

from strf_cuda.data.numbered import Naming
from strf_cuda.data.splits import SHAPE, json_splits
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.data.two_cameras import TwoCameraLayout, open_copy

LAYOUT = TwoCameraLayout(
    name="PRID2011",
    nestings=("prid_2011/multi_shot", "multi_shot"),
    cameras=("cam_a", "cam_b"),
    person=re.compile("person_([0-9]{4})"),
    person_example="person_0001",
    naming=Naming(re.compile(r"(?P<frame>[0-9]{4})\.png"), "0001.png"),
    # Of the 178 people, counted from the release's frame names.
    official_counts={
        "people": 178,
        "frames": 38_466,
        "frames in the shortest tracklet": 28,
        "frames in the longest tracklet": 675,
    },
    published={
        "93de1395e6384bef986951b8f758e55d07a8ed030cbbab66e2958068db268ff7": "the ten splits that torchreid uses",
        "0b17c9ee103a978c2e749ac941595cb7d3d6fca2a611752546d045826a9e3afe": (
            "the other published ten (Deep-Association-Learning)"
        ),
    },
    unpublished="neither of the two published sets",
)


class PRID2011(TrackletDataset):
    """PRID2011 in one of ten splits. Persons keep the numbers of the data set; camera a is 1 and camera b is 2.

    The splits come from a JSON list of ten {"train": [...], "test": [...]} of person folders that lies in the root,
    such as torchreid's splits_prid2011.json; where several are there they must agree. People whom no split names are
    left out. `.notes` names the split, its file and which of the published sets it belongs to, and says when the copy
    is partial.

    Args:
        root: the folder with prid_2011 or multi_shot, and the file of splits.
        split: 0 to 9.

    Raises:
        InputError: something is missing or disagrees with something else; the sentence names it.
    """

    def __init__(self, root: str | os.PathLike, split: int = 0):
        copy = open_copy(LAYOUT, root, split)
        wanted = f"a JSON file with {SHAPE}, such as torchreid's splits_prid2011.json,"
        lists, notes = copy.lists(json_splits(copy.folders), wanted, split)
        super().__init__(LAYOUT.name, **lists, notes=notes, camera_names=dict(enumerate(LAYOUT.cameras, start=1)))
