"""The parameters of the walkers, their named sizes, and the random streams that everything is drawn from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from strf_cuda.errors import InputError

# Raised whenever the same parameters would give other bytes, so that a set made by an older version is not reused.
GENERATOR_VERSION = 1

GROUP_SIZE = 4
FRAMES_PER_SECOND = 40
CAMERAS = 6
SPLITS = ("train", "test")

# MARS file names hold four digits of person and tracklet and three of frame.
_MOST_PEOPLE, _MOST_FRAMES = 9999, 999
_SMALLEST_FRAME = 16


@dataclass(frozen=True)
class WalkersConfig:
    """Everything that decides the bytes of a set of walkers. The defaults are the small built-in set.

    Attributes:
        train_people, test_people: identities on each side, disjoint.
        gait_groups, pace_groups: on each side, groups of four look-alikes that differ in their whole gait, and in the
            pace of their gait alone.
        cameras_per_person, tracklets_per_person: each identity is seen at least once by that many cameras of the six.
        distractors, junk: further test tracklets of person 0 and of person -1.
        height, width: of a frame, in pixels.
        frames: the fewest frames of a tracklet; up to a fifth more are drawn at random.
        occluded, misaligned: shares of the tracklets of people without look-alikes.
        seed: of every random draw.
    """

    train_people: int = 96
    test_people: int = 48
    gait_groups: int = 3
    pace_groups: int = 3
    cameras_per_person: int = 4
    tracklets_per_person: int = 6
    distractors: int = 12
    junk: int = 4
    height: int = 64
    width: int = 32
    frames: int = 40
    occluded: float = 0.25
    misaligned: float = 0.25
    seed: int = 0

    def check(self) -> None:
        """Raises `InputError` when no set can be made with these parameters."""
        grouped = GROUP_SIZE * (self.gait_groups + self.pace_groups)
        for name in ("gait_groups", "pace_groups", "distractors", "junk", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}, but it must be 0 or more")
        for name in ("train_people", "test_people"):
            people = getattr(self, name)
            if people < max(grouped, 1):
                raise InputError(
                    f"{name} is {people}, but {self.gait_groups} gait_groups and {self.pace_groups} pace_groups of "
                    f"{GROUP_SIZE} need at least {max(grouped, 1)}: ask for more people or fewer groups"
                )
        if self.train_people + self.test_people > _MOST_PEOPLE:
            raise InputError(
                f"train_people and test_people are {self.train_people + self.test_people} together, but MARS file "
                f"names have room for {_MOST_PEOPLE}"
            )
        if max(self.distractors, self.junk) > _MOST_PEOPLE:
            raise InputError(
                f"distractors and junk are {self.distractors} and {self.junk}, but MARS file names have room for "
                f"{_MOST_PEOPLE} tracklets of a person"
            )
        if not 2 <= self.cameras_per_person <= CAMERAS:
            raise InputError(f"cameras_per_person is {self.cameras_per_person}, but it must be 2 to {CAMERAS}")
        if not self.cameras_per_person <= self.tracklets_per_person <= _MOST_PEOPLE:
            raise InputError(
                f"tracklets_per_person is {self.tracklets_per_person}, but it must be at least cameras_per_person, "
                f"{self.cameras_per_person}, and at most {_MOST_PEOPLE}"
            )
        if min(self.height, self.width) < _SMALLEST_FRAME:
            raise InputError(
                f"frames of {self.height}x{self.width} pixels are too small to draw: use {_SMALLEST_FRAME} or more "
                "for height and width"
            )
        if not 1 <= self.frames <= self.most_frames <= _MOST_FRAMES:
            raise InputError(
                f"frames is {self.frames}, but it must be 1 to {_MOST_FRAMES * 5 // 6}: tracklets get up to a fifth "
                f"more, and MARS file names have room for {_MOST_FRAMES}"
            )
        shares = (self.occluded, self.misaligned)
        if not (min(shares) >= 0 and sum(shares) <= 1):
            raise InputError(
                f"occluded and misaligned are {self.occluded} and {self.misaligned}, but they are shares of the "
                "tracklets: each 0 or more, together at most 1"
            )

    @property
    def most_frames(self) -> int:
        """The most frames that a tracklet can have."""
        return self.frames + self.frames // 5


SizeName = Literal["demo", "full"]

SIZES: dict[SizeName, WalkersConfig] = {
    "demo": WalkersConfig(),
    "full": WalkersConfig(
        train_people=300,
        test_people=300,
        gait_groups=20,
        pace_groups=10,
        distractors=100,
        junk=25,
        height=256,
        width=128,
    ),
}

# First numbers of the streams' keys, so that draws for one purpose never disturb those for another.
APPEARANCE, GAIT, CAMERAS_SEEN, TRACKLET, QUERIES, SCENE, RENDERING = range(7)


def stream(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on `seed` and `key` (whole numbers from 0) alone, on any machine and in any order."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed, spawn_key=key)))
