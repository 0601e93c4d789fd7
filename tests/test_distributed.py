"""What two and three processes compute together, against one: shares of a batch, gradients, distances."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joint import carry_out
from strf_cuda.config import DataConfig, TrainConfig, check_training
from strf_cuda.data.augment import ClipAugmentation, batch_generator
from strf_cuda.data.sampler import PersonClipSampler, share
from strf_cuda.errors import InputError
from tolerance import allowance

PEOPLE, CLIPS = 2, 4  # 8 clips a batch: 3, 3 and 2 in three processes
SHARES = {2: [4, 4], 3: [3, 3, 2]}


# Shares of a batch


@given(st.integers(0, 200), st.integers(1, 40))
def test_shares_are_contiguous_in_order_and_differ_by_one_at_most(count, processes):
    shares = [share(count, process, processes) for process in range(processes)]
    assert [i for one in shares for i in one] == list(range(count))
    sizes = [len(one) for one in shares]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_eight_clips_in_three_processes_are_three_three_and_two():
    assert [list(share(8, process, 3)) for process in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.integers(1, 8),
    st.integers(1, 5),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_the_shares_of_all_processes_are_the_batches_of_one(counts, people, clips, processes, epoch):
    people = min(people, len(counts))
    processes = min(processes, people * clips)
    persons = [person for person, count in enumerate(counts) for _ in range(count)]
    whole = list(PersonClipSampler(persons, people, clips, 5, epoch))
    samplers = [PersonClipSampler(persons, people, clips, 5, epoch, p, processes) for p in range(processes)]
    assert [len(sampler) for sampler in samplers] == [len(whole)] * processes
    assert [[request for part in parts for request in part] for parts in zip(*samplers, strict=True)] == whole


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("processes", [2, 3, 5])
def test_each_process_augments_its_clips_as_one_process_would(processes, per_frame):
    clips = torch.randint(0, 256, (8, 4, 32, 16, 3), dtype=torch.uint8, generator=batch_generator(0, 0))
    augmentation = ClipAugmentation(0.5, 0.7, per_frame)
    whole = augmentation(clips, batch_generator(3, 9))
    shares = [share(8, process, processes) for process in range(processes)]
    parts = [augmentation(clips[own.start : own.stop], batch_generator(3, 9), own, 8) for own in shares]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, augmentation(clips, batch_generator(3, 10)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"devices": 9},
            r"a batch of 2 people x 4 clips is shared by 9 processes \(9 on each of 1 machines\), but each",
        ),
        ({"devices": 3, "nodes": 2}, "6 processes .* at least 2 clips: .* or --batch_norm=synchronised"),
        ({"devices": 0}, "devices is 0, but it must be at least 1"),
        ({"nodes": 0}, "nodes is 0, but it must be at least 1"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        check_training(TrainConfig(data=DataConfig(people=PEOPLE, clips=CLIPS), **options))


def test_synchronised_statistics_need_one_clip_a_process():
    data = DataConfig(people=PEOPLE, clips=CLIPS)
    check_training(TrainConfig(data=data, devices=8, batch_norm="synchronised"))
    check_training(TrainConfig(data=data, devices=4))


# Gradients


def case(batch_norm, double, shares=None, **model):
    config = {
        "data": {"height": 32, "width": 16, "people": PEOPLE, "clips": CLIPS, "stride": 2, "workers": 0},
        "model": {"width": 16, "depth": [1, 1, 1, 1], **model},
        "batch_norm": batch_norm,
    }
    return {"config": config, "double": double, "shares": shares}


MODELS = {
    "strf": {"kind": "i3d"},
    "dot": {"kind": "i3d", "similarity": "dot"},
    "recomputed": {"kind": "i3d", "recompute": True},
    "p3dc": {"kind": "p3dc", "integration": "parallel"},
    "gram": {"kind": "p3da", "unit": "gram"},
    "nonlocal": {"kind": "p3db", "unit": "nonlocal", "depth": [1, 2, 2, 1]},
    "none": {"kind": "c2d", "unit": "none"},
}


@pytest.fixture(scope="module")
def steps(tiny_walkers, tmp_path_factory):
    """What one, two and three processes see in a step, by (processes, case)."""
    out = tmp_path_factory.mktemp("steps")
    alone = {name: case("synchronised", True, **model) for name, model in MODELS.items()}
    together = dict(alone)
    alone |= {f"shares {count}": case("device", True, shares, kind="i3d") for count, shares in SHARES.items()}
    together["device"] = case("device", True, kind="i3d")
    # Dot products: where a position is nearly empty, its cosines magnify what float32 rounds away.
    alone["single"] = together["single"] = case("synchronised", False, kind="i3d", similarity="dot")
    jobs = [
        (count, "gradients", {"root": str(tiny_walkers), "cases": cases, "out": str(out / f"{count}.pt")})
        for count, cases in ((1, alone), (2, together), (3, together))
    ]
    codes, logs = carry_out(out, *jobs)
    assert codes == [[0], [0] * 2, [0] * 3], logs
    return {
        (count, name): seen
        for count in (1, 2, 3)
        for name, seen in torch.load(out / f"{count}.pt", weights_only=True).items()
    }


def flat(seen):
    return {"loss": seen["loss"], **seen["gradients"], **seen["buffers"]}


def assert_equal_in_float64(one, other):
    """A single rounding to float32 on the way would be a thousand times larger than what is allowed."""
    one, other = flat(one), flat(other)
    assert list(one) == list(other)
    largest = max(float(values.abs().max()) for name, values in other.items() if "running" not in name)
    for name, values in other.items():
        allowed = 1e-10 * max(largest, float(values.abs().max()))
        assert float((one[name].double() - values.double()).abs().max()) <= allowed, name


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_with_synchronised_statistics_are_those_of_the_whole_batch(steps, processes, name):
    one = steps[1, name]
    assert sum(bool(gradient.any()) for gradient in one["gradients"].values()) > 20
    assert_equal_in_float64(steps[processes, name], one)


@pytest.mark.parametrize("processes", [2, 3])
def test_gradients_with_statistics_of_each_device_are_those_of_the_shares_one_by_one(steps, processes):
    """Running statistics are the first process's, so these are not compared with the last share's."""
    one, other = steps[processes, "device"], steps[1, f"shares {processes}"]
    assert_equal_in_float64({**one, "buffers": {}}, {**other, "buffers": {}})
    with pytest.raises(AssertionError):
        assert_equal_in_float64({**one, "buffers": {}}, {**steps[1, "strf"], "buffers": {}})


@pytest.mark.parametrize("processes", [2, 3])
def test_gradients_in_float32_are_as_exact_as_those_of_one_process(steps, processes):
    """By the rule for operators: at most twice the error of one process against float64, and rounding."""
    truth, one, several = (
        torch.cat([gradient.flatten() for gradient in steps[key]["gradients"].values()])
        for key in ((1, "dot"), (1, "single"), (processes, "single"))
    )
    allowed = allowance(truth.numpy(), one[None])
    assert allowed.literal_error < 1e-3 * truth.abs().max()
    assert (complaint := allowed.complaint("the gradient", several[None])) is None, complaint


# Evaluation


def test_several_processes_evaluate_to_the_same_numbers_as_one(tiny_walkers, tmp_path):
    """Also with more processes than batches, with clips of whole tracklets and of mirror images."""
    protocols = {
        "plain": {"batch": 5},
        "one batch": {"batch": 1000},
        "whole tracklets": {"batch": 3, "frames": "all"},
        "mirrored": {"batch": 7, "flip": True, "stride": 2},
        "re-ranked": {"batch": 5, "rerank": True},
    }
    jobs = [
        (count, "distances", {"root": str(tiny_walkers), "protocols": protocols, "out": str(tmp_path / f"{count}.pt")})
        for count in (1, 2, 3)
    ]
    codes, logs = carry_out(tmp_path, *jobs)
    assert codes == [[0], [0] * 2, [0] * 3], logs
    one, two, three = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in (1, 2, 3))
    for name, (distances, figure) in one.items():
        assert distances.std() > 0 and figure > 0
        for other in (two, three):
            assert torch.equal(other[name][0], distances), name
            assert other[name][1] == figure, name
