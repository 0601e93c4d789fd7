"""Loaders of training and evaluation clips: the same batches in any process, and faults told as one sentence."""

import os
import random
import socket
import sys
import warnings
from multiprocessing import resource_sharer

import numpy as np
import pytest
import torch

from images import HEIGHT, WIDTH, frame_colour, make_tracklets
from strf_cuda.data.clips import evaluation_clips, whole_clips
from strf_cuda.data.loader import EvaluationClips, TrainingClips, evaluation_loader, training_loader
from strf_cuda.data.sampler import ClipRequest
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError

SIZE = {"height": HEIGHT, "width": WIDTH, "frames": 4}
LENGTHS = [40, 32, 9, 3, 33, 1, 20, 8]
PEOPLE = [30, 30, 5, 5, 12, 12, 30, 30]


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory):
    return make_tracklets(tmp_path_factory.mktemp("frames"), LENGTHS, PEOPLE)


@pytest.fixture
def damaged(tmp_path):
    """Three people with one tracklet of 6 frames each; frames 1 and 4 of the first are cut, and all of the last."""
    tracklets = make_tracklets(tmp_path, [6, 6, 6], [1, 2, 3])
    for path in [tracklets[0].paths[1], tracklets[0].paths[4], *tracklets[2].paths]:
        with open(path, "r+b") as file:
            file.truncate(50)
    return tracklets


def training(tracklets, epoch=0, workers=0, **options):
    options = {"people": 2, "clips": 2, "stride": 8, "seed": 5, **SIZE, **options}
    return training_loader(tracklets, epoch=epoch, workers=workers, **options)


def contents(loader):
    return [{name: value.tolist() for name, value in batch.items()} for batch in loader]


def test_training_batches_hold_clips_in_channels_last_memory_with_labels(tracklets):
    loader = training(tracklets)
    assert loader.dataset.classes == [5, 12, 30]
    batches = list(loader)
    assert len(batches) == len(loader) == 2
    for batch in batches:
        assert sorted(batch) == ["camera", "clip", "index", "label"]
        assert batch["clip"].shape == (4, 4, HEIGHT, WIDTH, 3)
        assert batch["clip"].dtype == torch.uint8 and batch["clip"].is_contiguous()
        for clip, label, camera, index in zip(
            *(batch[key] for key in ("clip", "label", "camera", "index")), strict=True
        ):
            assert loader.dataset.classes[label] == PEOPLE[index]
            assert camera == tracklets[index].camera_id
            frames = clip[:, 0, 0, 1].tolist()
            assert clip[:, 0, 0].tolist() == [list(frame_colour(index, frame)) for frame in frames]
            assert (clip == clip[:, :1, :1]).all()
            if LENGTHS[index] >= 32:
                assert np.diff(frames).tolist() == [8, 8, 8]
            else:
                assert frames == sorted(frames)


def test_batches_depend_on_seed_and_epoch_not_on_workers_or_global_random_state(tracklets):
    first = contents(training(tracklets, epoch=3))
    for shift in (random.seed, np.random.seed, torch.manual_seed):
        shift(1234)
    assert contents(training(tracklets, epoch=3, workers=2)) == first
    assert contents(training(tracklets, epoch=3)) == first
    assert contents(training(tracklets, epoch=4)) != first
    assert contents(training(tracklets, epoch=3, seed=6)) != first


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_an_epoch_leaves_global_random_state_alone(tracklets, workers):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    list(training(tracklets, workers=workers))
    list(evaluation_loader(tracklets, batch_frames=16, workers=workers, **SIZE))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_the_same_tracklet_drawn_twice_gives_different_clips(tracklets):
    dataset = TrainingClips(tracklets, stride=8, seed=0, epoch=0, **SIZE)
    clips = [dataset[ClipRequest(6, draw)]["clip"][:, 0, 0, 1].tolist() for draw in range(8)]
    assert len(set(map(tuple, clips))) > 4


def test_one_person_can_be_loaded(tracklets):
    (batch,) = training(tracklets[:2], people=1, clips=2)
    assert batch["label"].tolist() == [0, 0] and sorted(batch["index"].tolist()) == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_frame_ends_training_with_its_path(damaged, workers):
    with pytest.raises(InputError) as caught:
        list(training(damaged, people=3, workers=workers))
    message = str(caught.value)
    assert any(path in message for tracklet in damaged for path in tracklet.paths)
    assert "is damaged" in message and "\n" not in message and "Traceback" not in message


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_frames_are_skipped_and_each_is_warned_of_once(damaged, workers):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(12):
            for batch in training(damaged[:2], epoch=epoch, workers=workers * (epoch < 2), on_corrupt="skip"):
                for clip, index in zip(batch["clip"], batch["index"].tolist(), strict=True):
                    frames = clip[:, 0, 0, 1].tolist()
                    assert clip[:, 0, 0].tolist() == [list(frame_colour(index, frame)) for frame in frames]
                    assert frames == sorted(set(frames)) and len(frames) == 4
                    assert index == 1 or not {1, 4} & set(frames)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    for frame in (1, 4):
        assert sum(damaged[0].paths[frame] in message for message in messages) == 1


def test_a_clip_with_skipped_frames_depends_on_its_draw_alone(damaged):
    first, second = (TrainingClips(damaged, stride=1, seed=0, epoch=0, on_corrupt="skip", **SIZE) for _ in range(2))
    forwards = [first[ClipRequest(0, draw)]["clip"] for draw in range(6)]
    backwards = [second[ClipRequest(0, draw)]["clip"] for draw in reversed(range(6))]
    assert torch.equal(torch.stack(forwards), torch.stack(backwards[::-1]))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tracklet_without_a_readable_frame_is_an_error_even_when_skipping(damaged, workers):
    with pytest.raises(
        InputError, match=r"none of the 6 frames of a tracklet of person 3, camera 3 can be read; .*0002-"
    ):
        list(training(damaged, people=3, on_corrupt="skip", workers=workers))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_reads_all_clips_in_order_with_batches_across_tracklets(tracklets, workers, stride):
    loader = evaluation_loader(tracklets, batch_frames=7 * 4, workers=workers, stride=stride, **SIZE)
    clips, indexes = (torch.cat(parts) for parts in zip(*loader, strict=True))
    expected = [(i, clip) for i, n in enumerate(LENGTHS) for clip in evaluation_clips(n, 4, stride).tolist()]
    assert len(loader.dataset) == len(clips) == len(expected)
    assert [(i, clip[:, 0, 0, 1].tolist()) for i, clip in zip(indexes.tolist(), clips, strict=True)] == expected
    sizes = [len(batch) for batch, _ in loader]
    assert sizes == [7] * (len(expected) // 7) + [len(expected) % 7]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stride", [1, 3])
def test_clips_of_whole_tracklets_come_longest_first_with_equal_ones_together(tracklets, workers, stride):
    size = {**SIZE, "frames": "all"}
    loader = evaluation_loader(tracklets, batch_frames=20, workers=workers, stride=stride, **size)
    seen = []
    for clips, indexes in loader:
        assert clips.shape[:2].numel() <= 20 or len(clips) == 1
        seen += [(i, clip[:, 0, 0, 1].tolist()) for i, clip in zip(indexes.tolist(), clips, strict=True)]
    lengths = [len(frames) for _, frames in seen]
    assert lengths == sorted(lengths, reverse=True)
    expected = [(i, clip.tolist()) for i, length in enumerate(LENGTHS) for clip in whole_clips(length, stride)]
    assert sorted(seen) == sorted(expected)


def test_batches_hold_as_many_frames_as_fit(tracklets):
    lengths = [40, 33, 32, 20, 9, 8, 3, 1]
    assert sorted(LENGTHS, reverse=True) == lengths, "all different, so a batch for each"
    whole = EvaluationClips([*tracklets, *tracklets, *tracklets], **{**SIZE, "frames": "all"})
    sizes = [[len(whole[i][0]) for i in batch] for batch in whole.batches(48)]
    assert sizes == [[40]] * 3 + [[33]] * 3 + [[32]] * 3 + [[20] * 2, [20], [9] * 3, [8] * 3, [3] * 3, [1] * 3]
    eight = EvaluationClips(tracklets, **{**SIZE, "frames": 8})
    assert [len(batch) for batch in eight.batches(28)] == [3] * 7 + [1]
    assert [i for batch in eight.batches(28) for i in batch] == list(range(len(eight)))
    assert [len(batch) for batch in eight.batches(7)] == [1] * 22, "a clip is read whole, whatever its size"


@pytest.mark.parametrize("frames", [4, "all"])
def test_shuffled_frames_are_the_same_frames_in_another_order_on_every_run(tracklets, frames):
    size = {**SIZE, "frames": frames}
    plain = EvaluationClips(tracklets, **size)
    shuffled, again = (EvaluationClips(tracklets, shuffle_frames=True, **size) for _ in range(2))
    moved = 0
    for i in range(len(plain)):
        frames, other = plain[i][0][:, 0, 0, 1].tolist(), shuffled[i][0][:, 0, 0, 1].tolist()
        assert sorted(frames) == sorted(other)
        assert torch.equal(shuffled[i][0], again[i][0])
        moved += frames != other
    assert moved > 0.8 * (len(plain) - 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_frame_ends_evaluation_with_its_path(damaged, workers):
    with pytest.raises(InputError, match=r"^frame .*0000-0001.png is damaged \([^\n]*$"):
        list(evaluation_loader(damaged, batch_frames=8, workers=workers, **SIZE))


def test_empty_lists_and_empty_tracklets_are_refused(tracklets):
    with pytest.raises(InputError, match="no tracklets"):
        EvaluationClips([], **SIZE)
    with pytest.raises(InputError, match=r"tracklet 1 \(person 9, camera 2\) has no frames"):
        training([tracklets[0], Tracklet([], 9, 2)])


@pytest.mark.parametrize("quiet", [False, True])
def test_a_worker_says_nothing_when_the_main_process_leaves_while_it_takes_a_batch(tracklets, quiet, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: said.append(kind))
    if quiet:
        training_loader(
            tracklets, people=2, clips=2, height=8, width=4, frames=2, stride=1, seed=0, epoch=0, workers=1
        ).worker_init_fn(0)
    read, write = os.pipe()
    batch = resource_sharer.DupFd(read)
    with socket.socket(socket.AF_UNIX) as left:
        left.connect(batch._id[0])
    os.close(batch.detach())  # is answered after the one that has left
    with pytest.raises(EOFError):
        batch.detach()  # there no longer: a fault of another kind
    resource_sharer.stop()
    for descriptor in (read, write):
        os.close(descriptor)
    assert said[-1:] == [KeyError] and bool(said[:-1]) != quiet, said
