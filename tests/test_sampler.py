"""Person-times-clips batches: what they hold, how many there are, and that they are a function of (seed, epoch)."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strf_cuda.data.sampler import PersonClipSampler
from strf_cuda.errors import InputError

tracklet_counts = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def make_sampler(counts, people, clips, seed=0, epoch=0):
    persons = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)) * 7 + 3, counts))
    return PersonClipSampler(persons.tolist(), people, clips, seed, epoch), persons


@settings(deadline=None)
@given(tracklet_counts, st.integers(1, 12), st.integers(1, 5), st.integers(0, 5))
def test_batches_hold_groups_of_one_person_each(counts, people, clips, epoch):
    people = min(people, len(counts))
    sampler, persons = make_sampler(counts, people, clips, epoch=epoch)
    batches = list(sampler)
    groups = {person: max(1, (persons == person).sum() // clips) for person in np.unique(persons)}
    assert len(batches) == len(sampler) == sum(groups.values()) // people

    uses = Counter()
    for batch in batches:
        tracklets = np.array([request.tracklet for request in batch])
        of_group = persons[tracklets].reshape(people, clips)
        assert (of_group == of_group[:, :1]).all()
        times = Counter(of_group[:, 0].tolist())
        assert all(count == 1 or groups[person] > len(batches) for person, count in times.items())
        uses.update(tracklets.tolist())
    for tracklet, count in uses.items():
        assert count == 1 or (persons == persons[tracklet]).sum() < clips
    assert [request.draw for batch in batches for request in batch] == list(range(len(batches) * people * clips))


def test_order_depends_on_seed_and_epoch_alone():
    counts = [5, 8, 3, 9, 12, 4]
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            np.random.seed(7 * epoch)
            first = list(make_sampler(counts, 2, 4, seed, epoch)[0])
            assert first == list(make_sampler(counts, 2, 4, seed, epoch)[0])
            orders[seed, epoch] = str(first)
    assert len(set(orders.values())) == 6


def test_a_sampler_gives_the_same_batches_when_iterated_again():
    sampler, _ = make_sampler([4, 4, 8], 2, 4)
    assert list(sampler) == list(sampler)


def test_every_tracklet_is_seen_once_when_all_groups_and_batches_are_full():
    sampler, persons = make_sampler([4, 8, 4, 8], 2, 4)
    seen = [request.tracklet for batch in sampler for request in batch]
    assert sorted(seen) == list(range(len(persons)))


def test_what_is_dropped_differs_from_epoch_to_epoch():
    seen = set()
    for epoch in range(20):
        seen.update(request.tracklet for batch in make_sampler([7, 7, 7], 2, 4, epoch=epoch)[0] for request in batch)
    assert seen == set(range(21))


def test_one_person_makes_batches_of_one_person():
    sampler, _ = make_sampler([9], 1, 4)
    assert len(sampler) == len(list(sampler)) == 2


def test_one_tracklet_is_repeated():
    (batch,) = make_sampler([1], 1, 4)[0]
    assert [request.tracklet for request in batch] == [0, 0, 0, 0]


def test_too_few_persons_are_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"batch of 8 people needs .* at least 8 persons .* there are 3"):
        make_sampler([40, 40, 40], 8, 4)


def test_batches_of_a_mars_sized_set_never_repeat_a_person():
    counts = np.random.default_rng(0).integers(2, 25, 625).tolist()
    sampler, persons = make_sampler(counts, 8, 4)
    for batch in sampler:
        assert len({persons[request.tracklet] for request in batch}) == 8
