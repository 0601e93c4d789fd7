"""Batches of people x clips for the batch-hard triplet loss, in an order that depends on (seed, epoch) alone.

The grouping is that of AP3D (github.com/guxinqian/AP3D), whose recipe the STRF paper follows: 8 people with 4 clips
each (supplement, "Hyperparameters Details").
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from strf_cuda.errors import InputError


class ClipRequest(NamedTuple):
    """One clip that a batch asks for.

    Attributes:
        tracklet: index of the tracklet in the data set.
        draw: running number of the request within its epoch. Every random choice about the clip is a function of
            (seed, epoch, draw), so it is the same in whatever process the clip is read.
    """

    tracklet: int
    draw: int


def share(count: int, process: int, processes: int) -> range:
    """What one of several processes takes of `count` things: contiguous, in the order of the processes, none twice.

    Shares differ by at most one, and the larger ones come first: 8 in three processes are 3, 3 and 2.
    """
    least, more = divmod(count, processes)
    start = process * least + min(process, more)
    return range(start, start + least + (process < more))


class PersonClipSampler(Sampler[list[ClipRequest]]):
    """Batch sampler: each batch holds `people` groups of `clips` tracklets of one person.

    The tracklets of every person are shuffled and cut into groups of `clips`; the rest is dropped, and a person with
    fewer tracklets gives one group drawn with replacement. So each tracklet is seen about once an epoch. The groups are
    shuffled and dealt into batches; the last partial batch is dropped. A batch holds two groups of the same person only
    when that person has more groups than the epoch has batches.

    Args:
        person_ids: the person of each tracklet.
        people: groups in a batch.
        clips: tracklets in a group.
        seed, epoch: all that the order depends on.
        process, processes: with several processes each reads its `share` of every batch, so that all together read the
            same batches as one.

    Raises:
        InputError: there are fewer persons than `people`, or fewer clips in a batch than processes.
    """

    def __init__(
        self,
        person_ids: Sequence[int],
        people: int,
        clips: int,
        seed: int,
        epoch: int,
        process: int = 0,
        processes: int = 1,
    ):
        self._person_ids = np.asarray(person_ids)
        persons, tracklets = np.unique(self._person_ids, return_counts=True)
        if len(persons) < people:
            raise InputError(
                f"a batch of {people} people needs tracklets of at least {people} persons to train on, but there are "
                f"{len(persons)}: add persons or ask for fewer people a batch"
            )
        if people * clips < processes:
            raise InputError(
                f"a batch of {people} x {clips} clips cannot be shared by {processes} processes: each needs a clip"
            )
        self._people = people
        self._clips = clips
        self._share = share(people * clips, process, processes)
        self._seed = seed
        self._epoch = epoch
        self._batches = int(np.maximum(tracklets // clips, 1).sum()) // people

    def __len__(self) -> int:
        """Batches in an epoch, the same in each."""
        return self._batches

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        random = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self._epoch,)))
        groups = self._groups(random)
        order = random.permutation(len(groups))[: self._batches * self._people]
        batches = order.reshape(self._batches, self._people).tolist()
        _separate(batches, [self._person_ids[group[0]].item() for group in groups])
        draw = 0
        for batch in batches:
            tracklets = np.concatenate([groups[group] for group in batch]).tolist()
            yield [ClipRequest(tracklets[i], draw + i) for i in self._share]
            draw += len(tracklets)

    def _groups(self, random: np.random.Generator) -> list[np.ndarray]:
        """Groups of `clips` tracklet indexes, person by person."""
        by_person = np.argsort(self._person_ids, kind="stable")
        starts = np.unique(self._person_ids[by_person], return_index=True)[1]
        groups = []
        for own in np.split(by_person, starts[1:]):
            if len(own) < self._clips:
                groups.append(random.choice(own, self._clips))
            else:
                whole = len(own) - len(own) % self._clips
                groups.extend(random.permutation(own)[:whole].reshape(-1, self._clips))
        return groups


def _separate(batches: list[list[int]], person_of: Sequence[int]) -> None:
    """Swap groups between batches, in place, until no batch holds a person twice who could stand elsewhere.

    A repeated person changes places with a group of the next batch without that person: with a person repeated over
    there, or else with one unknown here. Each swap lowers the number of repetitions, so this ends; and it ends only
    when a person who is still repeated somewhere stands in every batch.
    """
    present = [Counter(person_of[group] for group in batch) for batch in batches]
    for here, batch in enumerate(batches):
        for i in range(len(batch)):
            while present[here][person := person_of[batch[i]]] > 1:
                later = (other % len(batches) for other in range(here + 1, here + len(batches)))
                there = next((other for other in later if not present[other][person]), None)
                if there is None:
                    break
                arrivals = [person_of[group] for group in batches[there]]
                repeated = (j for j, arrival in enumerate(arrivals) if present[there][arrival] > 1)
                unknown = (j for j, arrival in enumerate(arrivals) if not present[here][arrival])
                j = next(repeated, None)
                j = next(unknown) if j is None else j
                batch[i], batches[there][j] = batches[there][j], batch[i]
                present[here].subtract({person: 1})
                present[here][arrivals[j]] += 1
                present[there].subtract({arrivals[j]: 1})
                present[there][person] += 1
