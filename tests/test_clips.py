"""Frame rules of training and evaluation clips."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strf_cuda.data.clips import clip_count, evaluation_clips, training_frames, whole_clips

lengths = st.integers(1, 200)
frame_counts = st.integers(1, 9)
strides = st.integers(1, 9)


@settings(deadline=None)
@given(lengths, frame_counts, strides, st.integers(0, 2**32))
def test_training_frames_follow_the_rule_of_their_length(length, frames, stride, seed):
    chosen = training_frames(length, frames, stride, np.random.default_rng(seed))
    assert chosen.shape == (frames,)
    assert chosen.min() >= 0 and chosen.max() < length
    steps = np.diff(chosen)
    if length >= frames * stride:
        assert (steps == stride).all()
    elif length >= frames:
        assert (steps > 0).all()
    else:
        assert (steps >= 0).all()


def test_every_start_that_fits_is_drawn_and_no_other():
    random = np.random.default_rng(0)
    for length in (32, 40):
        starts = {int(training_frames(length, 4, 8, random)[0]) for _ in range(500)}
        assert starts == set(range(length - 24))


def test_short_tracklets_draw_from_all_their_frames():
    random = np.random.default_rng(0)
    assert {frame for _ in range(200) for frame in training_frames(31, 4, 8, random).tolist()} == set(range(31))
    assert {tuple(training_frames(2, 4, 8, random).tolist()) for _ in range(200)} == {
        (0, 0, 0, 0),
        (0, 0, 0, 1),
        (0, 0, 1, 1),
        (0, 1, 1, 1),
        (1, 1, 1, 1),
    }


@settings(deadline=None)
@given(lengths, frame_counts, strides)
def test_evaluation_uses_every_frame_once_before_it_repeats(length, frames, stride):
    clips = evaluation_clips(length, frames, stride)
    assert clips.shape == (clip_count(length, frames), frames)
    used = []
    for clip in clips.tolist():
        own = sorted(set(clip))
        assert clip == [own[i % len(own)] for i in range(frames)], "ascending, then its own frames from the first on"
        used += own
    assert sorted(used) == list(range(length))


@settings(deadline=None)
@given(lengths, frame_counts, strides)
def test_whole_spans_keep_the_training_stride(length, frames, stride):
    whole = length // (frames * stride) * stride
    assert (np.diff(evaluation_clips(length, frames, stride)[:whole]) == stride).all()


@settings(deadline=None)
@given(lengths, frame_counts)
def test_stride_one_cuts_consecutive_clips_and_loops_over_the_last(length, frames):
    expected = [list(range(first, min(first + frames, length))) for first in range(0, length, frames)]
    last = expected[-1]
    expected[-1] = [last[i % len(last)] for i in range(frames)]
    assert evaluation_clips(length, frames).tolist() == expected


def test_the_rest_of_a_strided_tracklet_is_spread_over_few_moving_clips():
    assert evaluation_clips(10, 4, 2).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 9, 8, 9]]
    assert evaluation_clips(40, 4, 8)[8:].tolist() == [[32, 34, 36, 38], [33, 35, 37, 39]]
    assert evaluation_clips(10, 4, 8).tolist() == [[0, 3, 6, 9], [1, 4, 7, 1], [2, 5, 8, 2]]


@settings(deadline=None)
@given(lengths, strides)
def test_whole_clips_use_every_frame_once_at_the_stride_and_differ_by_a_frame_at_most(length, stride):
    clips = whole_clips(length, stride)
    assert len(clips) == min(length, stride)
    assert sorted(frame for clip in clips for frame in clip.tolist()) == list(range(length))
    assert all((np.diff(clip) == stride).all() for clip in clips)
    sizes = [len(clip) for clip in clips]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


def test_stride_one_gives_the_whole_tracklet_as_one_clip():
    assert [clip.tolist() for clip in whole_clips(5)] == [[0, 1, 2, 3, 4]]
    assert [clip.tolist() for clip in whole_clips(5, 2)] == [[0, 2, 4], [1, 3]]
