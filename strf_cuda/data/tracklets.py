"""What every data set provides: lists of tracklets for training, query and gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, field

JUNK_PERSON = -1
DISTRACTOR_PERSON = 0
LISTS = ("train", "query", "gallery")


@dataclass(frozen=True, slots=True)
class Tracklet:
    """Consecutive frames of one person seen by one camera.

    Attributes:
        paths: the frame files in temporal order, at least one.
        person_id: identity; `DISTRACTOR_PERSON` (0) never matches a query.
        camera_id: the camera, numbered as the data set numbers it.
        challenge: what makes this tracklet hard ("none", "occluded", "misaligned", "look-alike"), or None where the
            data set does not say.
        group: the look-alike group that the person belongs to, or None.
    """

    paths: Sequence[str]
    person_id: int
    camera_id: int
    challenge: str | None = None
    group: int | None = None

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class TrackletDataset:
    """The three lists of a re-identification data set.

    `gallery` holds everything that a query is ranked against; whether the query tracklets are among it is each data
    set's official protocol. Tracklets of the query's own person and camera are junk and are left out by
    `strf_cuda.metrics.evaluate_ranking`, not here.

    Attributes:
        notes: sentences that a user should read before trusting a figure, such as "partial copy of MARS: ...".
        person_names, camera_names: names by number, empty where the data set has numbers alone.
        junk: how many tracklets the data set itself marks as junk; they are in none of the lists.
    """

    name: str
    train: list[Tracklet]
    query: list[Tracklet]
    gallery: list[Tracklet]
    notes: list[str] = field(default_factory=list)
    person_names: dict[int, str] = field(default_factory=dict)
    camera_names: dict[int, str] = field(default_factory=dict)
    junk: int = 0
