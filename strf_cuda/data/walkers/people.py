"""Who walks: bodies, clothes, things carried and gaits, and the groups of four that share all but the gait."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from strf_cuda.data.walkers.config import APPEARANCE, GAIT, GROUP_SIZE, SPLITS, WalkersConfig, stream

Colour = tuple[int, int, int]
GroupKind = Literal["look-alike", "look-alike-pace"]

# Ranges of the gait; a group of four is spread evenly over them.
GAIT_RANGES = {
    "pace": (0.7, 1.2),
    "thigh": (14.0, 38.0),
    "arm": (5.0, 45.0),
    "lean": (-4.0, 14.0),
    "knee": (15.0, 60.0),
    "elbow": (5.0, 80.0),
}

SKINS: list[Colour] = [(244, 208, 177), (224, 172, 105), (198, 134, 66), (141, 85, 36), (96, 60, 40)]
HAIRS: list[Colour] = [(28, 22, 20), (72, 46, 28), (150, 108, 60), (205, 178, 120), (140, 136, 132)]
# Few hues and little variation: colour alone must leave many people alike.
GARMENTS: list[Colour] = [
    (38, 38, 44),
    (96, 98, 104),
    (216, 214, 206),
    (36, 52, 104),
    (70, 124, 190),
    (176, 44, 46),
    (52, 108, 66),
    (206, 168, 60),
    (118, 74, 48),
    (122, 66, 128),
    (214, 120, 140),
    (66, 140, 140),
]
TROUSERS: list[Colour] = [(34, 34, 40), (44, 58, 100), (92, 94, 100), (128, 108, 80), (70, 60, 52), (176, 164, 140)]
SHOES: list[Colour] = [(24, 22, 22), (230, 228, 222), (120, 70, 40), (180, 40, 44)]

TEXTURES = ("plain", "bands", "stripes", "checks", "two-tone", "emblem")
LOWER_GARMENTS = ("trousers", "trousers", "striped trousers", "shorts", "skirt")
HAIR_STYLES = ("short", "long", "cap")
CARRIED = ("none", "none", "backpack", "shoulder bag", "handbag", "briefcase")


@dataclass(frozen=True, slots=True)
class Gait:
    """How somebody walks: cycles a second, then the swings and bends in degrees.

    Attributes:
        pace: gait cycles (two steps) a second.
        thigh, arm: swing to either side of the vertical.
        lean: of the trunk, forward positive.
        knee, elbow: the largest bend.
    """

    pace: float
    thigh: float
    arm: float
    lean: float
    knee: float
    elbow: float


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a single frame shows of somebody: body (factors of the average), clothes and things carried."""

    height: float
    build: float
    legs: float
    head: float
    skin: Colour
    hair: Colour
    hair_style: str
    upper: Colour
    accent: Colour
    texture: str
    long_sleeves: bool
    lower: Colour
    lower_garment: str
    shoes: Colour
    carried: str
    carried_colour: Colour


@dataclass(frozen=True, slots=True)
class Walker:
    """One identity. `group` numbers the look-alike groups over both sides from 1; None for those without."""

    person_id: int
    appearance: Appearance
    gait: Gait
    group: int | None = None
    group_kind: GroupKind | None = None


def sample_people(config: WalkersConfig, split: str) -> list[Walker]:
    """The identities of one side, look-alike groups first.

    Training people are numbered from 1, test people after them.
    """
    side = SPLITS.index(split)
    count, first_id = (config.train_people, 1) if side == 0 else (config.test_people, config.train_people + 1)
    groups_a_side = config.gait_groups + config.pace_groups
    people: list[Walker] = []
    for index in range(groups_a_side):
        group = side * groups_a_side + index + 1
        kind: GroupKind = "look-alike" if index < config.gait_groups else "look-alike-pace"
        appearance = sample_appearance(stream(config.seed, APPEARANCE, side, 0, group))
        gaits = sample_group_gaits(kind, stream(config.seed, GAIT, side, 0, group))
        people += [Walker(first_id + len(people) + n, appearance, gait, group, kind) for n, gait in enumerate(gaits)]
    for person_id in range(first_id + len(people), first_id + count):
        appearance = sample_appearance(stream(config.seed, APPEARANCE, side, 1, person_id))
        people.append(Walker(person_id, appearance, sample_gait(stream(config.seed, GAIT, side, 1, person_id))))
    return people


def sample_gait(rng: np.random.Generator) -> Gait:
    """A gait drawn uniformly from `GAIT_RANGES`."""
    return Gait(**{name: float(rng.uniform(low, high)) for name, (low, high) in GAIT_RANGES.items()})


def sample_group_gaits(kind: GroupKind, rng: np.random.Generator) -> list[Gait]:
    """Four gaits well apart: in every parameter, or in pace alone for "look-alike-pace"."""
    if kind == "look-alike-pace":
        base = sample_gait(rng)
        return [replace(base, pace=float(pace)) for pace in _spread(*GAIT_RANGES["pace"], rng)]
    columns = {name: _spread(low, high, rng) for name, (low, high) in GAIT_RANGES.items()}
    return [Gait(**{name: float(values[n]) for name, values in columns.items()}) for n in range(GROUP_SIZE)]


def _spread(low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Four values in random order, the range's ends and thirds moved by at most a twentieth of the range."""
    jitter = rng.uniform(-0.05, 0.05, GROUP_SIZE)
    return low + (high - low) * np.clip(rng.permutation(np.linspace(0, 1, GROUP_SIZE) + jitter), 0, 1)


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """Body, clothes and things carried; the accent always differs from the upper garment."""
    upper, accent = rng.choice(len(GARMENTS), 2, replace=False)
    return Appearance(
        height=float(rng.uniform(0.92, 1.0)),
        build=float(rng.uniform(0.85, 1.25)),
        legs=float(rng.uniform(0.94, 1.06)),
        head=float(rng.uniform(0.92, 1.1)),
        skin=_near(SKINS[rng.integers(len(SKINS))], rng),
        hair=_near(HAIRS[rng.integers(len(HAIRS))], rng),
        hair_style=str(rng.choice(HAIR_STYLES)),
        upper=_near(GARMENTS[upper], rng),
        accent=_near(GARMENTS[accent], rng),
        texture=str(rng.choice(TEXTURES)),
        long_sleeves=bool(rng.random() < 0.65),
        lower=_near(TROUSERS[rng.integers(len(TROUSERS))], rng),
        lower_garment=str(rng.choice(LOWER_GARMENTS)),
        shoes=_near(SHOES[rng.integers(len(SHOES))], rng),
        carried=str(rng.choice(CARRIED)),
        carried_colour=_near(GARMENTS[rng.integers(len(GARMENTS))], rng),
    )


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.integers(-8, 9, 3), 0, 255).tolist()
    return red, green, blue
