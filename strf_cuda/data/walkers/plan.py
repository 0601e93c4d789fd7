"""Which tracklets a set consists of: who is seen by which camera how often, and what makes each hard.

Drawn once in the main process; drawing the frames then depends on a single `TrackletPlan` and the parameters alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON
from strf_cuda.data.walkers.config import CAMERAS, CAMERAS_SEEN, QUERIES, SPLITS, TRACKLET, WalkersConfig, stream
from strf_cuda.data.walkers.people import Walker, sample_appearance, sample_gait, sample_people

Challenge = Literal["none", "occluded", "misaligned", "look-alike", "look-alike-pace"]

CHALLENGES: tuple[Challenge, ...] = ("none", "occluded", "misaligned", "look-alike", "look-alike-pace")


@dataclass(frozen=True, slots=True)
class TrackletPlan:
    """One tracklet before it is drawn.

    Attributes:
        split: "train" or "test".
        person_id: as written to the files; the walker of a distractor or of junk has no identity of its own.
        number: of the tracklet among its person's, from 1; for distractors and junk among all of them.
        num_frames: how many frames it has.
        group: the look-alike group, or None.
    """

    split: str
    person_id: int
    camera: int
    number: int
    num_frames: int
    walker: Walker
    challenge: Challenge
    group: int | None

    @property
    def stream_key(self) -> tuple[int, ...]:
        """What its random draws depend on besides the seed; streams take whole numbers from 0, hence the shift."""
        return SPLITS.index(self.split), self.person_id - JUNK_PERSON, self.camera, self.number

    @property
    def folder(self) -> str:
        """The person's folder as MARS names it: four characters, junk being "00-1"."""
        return "00-1" if self.person_id == JUNK_PERSON else f"{self.person_id:04d}"

    def frame_name(self, frame: int) -> str:
        """The file name of a frame, counted from 0."""
        return f"{self.folder}C{self.camera}T{self.number:04d}F{frame + 1:03d}.jpg"


def plan_split(config: WalkersConfig, split: str) -> list[TrackletPlan]:
    """All tracklets of one side in the order of its info rows: by person, junk and distractors first."""
    plans = []
    if split == "test":
        plans += [_stranger(config, JUNK_PERSON, number) for number in range(1, config.junk + 1)]
        plans += [_stranger(config, DISTRACTOR_PERSON, number) for number in range(1, config.distractors + 1)]
    for walker in sample_people(config, split):
        for number, camera in enumerate(_cameras_of(config, split, walker), start=1):
            key = (SPLITS.index(split), walker.person_id - JUNK_PERSON, camera, number)
            rng = stream(config.seed, TRACKLET, *key)
            num_frames = int(rng.integers(config.frames, config.most_frames + 1))
            challenge = walker.group_kind or _challenge(config, rng)
            plans.append(
                TrackletPlan(split, walker.person_id, camera, number, num_frames, walker, challenge, walker.group)
            )
    return plans


def plan_queries(config: WalkersConfig, plans: list[TrackletPlan]) -> list[int]:
    """The query rows (from 0) among the test side's plans: one tracklet of each person and camera, as in MARS."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, plan in enumerate(plans):
        if plan.person_id > DISTRACTOR_PERSON:
            rows.setdefault((plan.person_id, plan.camera), []).append(row)
    rng = stream(config.seed, QUERIES)
    return [candidates[rng.integers(len(candidates))] for candidates in rows.values()]


def _cameras_of(config: WalkersConfig, split: str, walker: Walker) -> list[int]:
    """The cameras (1..6, ascending) of a person's tracklets.

    A look-alike group shares them, so that among its tracklets of other cameras each member is equally likely.
    """
    member_of = (0, walker.group) if walker.group else (1, walker.person_id)
    rng = stream(config.seed, CAMERAS_SEEN, SPLITS.index(split), *member_of)
    cameras = rng.permutation(CAMERAS)[: config.cameras_per_person] + 1
    repeats = config.tracklets_per_person - config.cameras_per_person
    again = np.resize(rng.permutation(cameras), repeats)
    return sorted([*cameras.tolist(), *again.tolist()])


def _challenge(config: WalkersConfig, rng: np.random.Generator) -> Challenge:
    draw = rng.random()
    if draw < config.occluded:
        return "occluded"
    return "misaligned" if draw < config.occluded + config.misaligned else "none"


def _stranger(config: WalkersConfig, person_id: int, number: int) -> TrackletPlan:
    """A test tracklet of somebody seen once; junk is a box that missed most of its person."""
    rng = stream(config.seed, TRACKLET, SPLITS.index("test"), person_id - JUNK_PERSON, 0, number)
    camera = int(rng.integers(1, CAMERAS + 1))
    num_frames = int(rng.integers(config.frames, config.most_frames + 1))
    walker = Walker(person_id, sample_appearance(rng), sample_gait(rng))
    challenge: Challenge = "misaligned" if person_id == JUNK_PERSON else "none"
    return TrackletPlan("test", person_id, camera, number, num_frames, walker, challenge, None)
