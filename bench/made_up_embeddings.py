"""Embeddings of people who do not exist, drawn block by block, so that galleries of any size can be had and none kept.

Vectors without structure would say nothing of compression: nothing could be left out, and no neighbour would be near.
These have the structure of re-identification embeddings:

* A tracklet is its person plus a deviation of its own, scaled to unit length and turned into 2048 dimensions.
* Both are Gaussian along the same 384 axes. The variance of people falls along them as 1 / i, that of deviations as
  1 / i^0.75: effective dimensions (the squared sum of the variances over the sum of their squares) of 26 and 82. Of the
  walkers as the demo model embeds them they are 15, with 144 people, and 54: what is drawn here is harder to compress.
* Deviations differ in length, lognormally by 0.2; those of the walkers do by 0.18.
* How long they are beside the people is chosen so that exact search finds the right person first for nine in ten
  queries among 10,000 tracklets. Published models do so on MARS, with its 11,310: STRF's rank-1 is 90.3 (ICCV 2021).
* People have 2 tracklets or more, 8 on average, by six cameras.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 2048
AXES = 384
BLOCK = 20_000
CAMERAS = 6
_FEWEST, _MEAN = 2, 8
_DEVIATION = 1.2  # length of the mean deviation over that of a person
_SPREAD = 0.2


@dataclass(frozen=True)
class Block:
    """Tracklets in a row: vectors float32 [n, SIZE] of unit length, persons and cameras int64 [n]."""

    vectors: np.ndarray
    persons: np.ndarray
    cameras: np.ndarray


class Population:
    """People without end; a block is drawn from the seed and its own number alone, and its people are in no other."""

    def __init__(self, seed: int = 0, deviation: float = _DEVIATION):
        self.seed = seed
        place = np.arange(1, AXES + 1, dtype=np.float32)
        self._people = _scaled(place**-1.0)
        self._deviations = deviation * _scaled(place**-0.75)
        random = np.random.default_rng([seed, 0])
        self._axes = np.linalg.qr(random.standard_normal((SIZE, AXES)))[0].T.astype(np.float32).copy()

    def block(self, number: int, rows: int = BLOCK) -> Block:
        """The first `rows` tracklets of a block of `BLOCK`."""
        owners, people = self._owners(number)[:rows], self._codes(number)
        random = np.random.default_rng([self.seed, 2, number])
        cameras = random.integers(1, CAMERAS + 1, BLOCK)[:rows]
        return Block(self._tracklets(people[owners], random), number * BLOCK + owners, cameras)

    def persons(self, rows: int) -> np.ndarray:
        """Of the first `rows` tracklets of all: int64 [rows]."""
        blocks = range(-(-rows // BLOCK))
        return np.concatenate([number * BLOCK + self._owners(number) for number in blocks])[:rows]

    def queries(self, count: int, rows: int) -> Block:
        """Further tracklets of people among the first `rows` tracklets, which are not among these."""
        random = np.random.default_rng([self.seed, 3, rows])
        chosen = np.sort(random.choice(rows, count, replace=False))
        codes, persons = np.empty((count, AXES), dtype=np.float32), np.empty(count, dtype=np.int64)
        for number in np.unique(chosen // BLOCK):
            here = chosen // BLOCK == number
            owners = self._owners(int(number))[chosen[here] % BLOCK]
            persons[here], codes[here] = number * BLOCK + owners, self._codes(int(number))[owners]
        return Block(self._tracklets(codes, random), persons, np.zeros(count, dtype=np.int64))

    def _owners(self, number: int) -> np.ndarray:
        """Whom of its people each tracklet of a block shows: int64 [BLOCK], rising from 0."""
        random = np.random.default_rng([self.seed, 1, number])
        tracklets = _FEWEST - 1 + random.geometric(1 / (_MEAN - _FEWEST + 1), BLOCK // _FEWEST)
        return np.repeat(np.arange(len(tracklets)), tracklets)[:BLOCK]

    def _codes(self, number: int) -> np.ndarray:
        """Of a block's people: float32 [people, AXES]."""
        random = np.random.default_rng([self.seed, 4, number])
        people = int(self._owners(number)[-1]) + 1
        return self._people * random.standard_normal((people, AXES), dtype=np.float32)

    def _tracklets(self, codes: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One tracklet for each code of a person [n, AXES]: float32 [n, SIZE]."""
        lengths = np.exp(_SPREAD * random.standard_normal((len(codes), 1), dtype=np.float32))
        codes = codes + lengths * self._deviations * random.standard_normal(codes.shape, dtype=np.float32)
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        return codes @ self._axes


def _scaled(variances: np.ndarray) -> np.ndarray:
    """Standard deviations whose squares add up to 1."""
    return np.sqrt(variances / variances.sum())
