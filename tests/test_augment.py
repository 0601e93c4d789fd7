"""Augmentation of batched clips: normalisation, flips and erasing that are the same for a whole clip."""

import pytest
import torch

from strf_cuda.data.augment import (
    ERASED_AREA,
    ERASED_ASPECT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClipAugmentation,
    batch_generator,
    draw_boxes,
    normalise,
)

HEIGHT, WIDTH = 64, 32


def random_clips(batch=16, time=4, height=HEIGHT, width=WIDTH):
    return torch.randint(0, 256, (batch, time, height, width, 3), dtype=torch.uint8, generator=batch_generator(0, 0))


def bright_clips(batch):
    """No pixel of these is 0 after normalisation but an erased one."""
    return torch.full((batch, 4, HEIGHT, WIDTH, 3), 255, dtype=torch.uint8)


def erased_pixels(clips):
    """bool [B, T, H, W]: where all channels are 0."""
    return (clips == 0).all(1)


def check_layout(out, clips):
    batch, time, height, width, channels = clips.shape
    assert out.dtype == torch.float32 and out.shape == (batch, channels, time, height, width)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    folded = out.permute(0, 2, 3, 4, 1).view(batch * time, height, width, channels)
    assert folded.data_ptr() == out.data_ptr()


@pytest.mark.parametrize("training", [False, True])
def test_the_result_is_channels_last_and_the_input_untouched(training):
    clips = random_clips()
    kept = clips.clone()
    check_layout(ClipAugmentation().train(training)(clips, batch_generator(0, 1)), clips)
    check_layout(normalise(clips), clips)
    assert torch.equal(clips, kept)


@pytest.mark.parametrize("width", [1, 5, 32])
def test_normalise_subtracts_mean_and_divides_by_deviation(width):
    clips = random_clips(width=width)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = (clips.permute(0, 4, 1, 2, 3).double() / 255 - mean) / std
    torch.testing.assert_close(normalise(clips).double(), expected, atol=1e-6, rtol=0)


def test_normalise_works_in_training_after_inference_mode():
    clips = random_clips(width=9)
    with torch.inference_mode():
        inferred = normalise(clips)
    assert torch.equal(normalise(clips), inferred)


def test_evaluation_mode_normalises_only():
    clips = random_clips()
    assert torch.equal(ClipAugmentation(flip=1.0, erase=1.0).eval()(clips), normalise(clips))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_certain_flip_mirrors_every_frame(probability):
    clips = random_clips()
    expected = clips.flip(3) if probability else clips
    assert torch.equal(ClipAugmentation(flip=probability, erase=0)(clips), normalise(expected))


def test_half_the_clips_are_flipped_each_as_a_whole():
    clips = random_clips(batch=200, height=4, width=4)
    plain, mirrored = normalise(clips), normalise(clips.flip(3))
    out = ClipAugmentation(erase=0)(clips, batch_generator(0, 0))
    is_plain = (out == plain).flatten(1).all(1)
    is_mirrored = (out == mirrored).flatten(1).all(1)
    assert (is_plain ^ is_mirrored).all()
    assert 70 < is_mirrored.sum() < 130


def test_one_box_is_erased_in_all_frames_of_a_clip_and_another_in_the_next_clip():
    out = ClipAugmentation(flip=0)(bright_clips(200), batch_generator(0, 0))
    erased = erased_pixels(out)
    assert (erased == erased[:, :1]).all()
    hit = erased.flatten(1).any(1)
    assert 70 < hit.sum() < 130
    boxes = {tuple(pixels.nonzero().flatten().tolist()) for pixels in erased[hit, 0]}
    assert len(boxes) > 0.9 * hit.sum()
    for pixels in erased[hit, 0]:
        rows, columns = pixels.any(1), pixels.any(0)
        assert torch.equal(pixels, rows[:, None] & columns), "a box"


def test_everything_outside_the_box_is_kept():
    clips = random_clips()
    out, plain = ClipAugmentation(flip=0, erase=1)(clips), normalise(clips)
    erased = erased_pixels(out)
    assert erased.flatten(1).any(1).all()
    kept = ~erased[:, None].expand_as(out)
    assert torch.equal(out[kept], plain[kept])


def test_boxes_can_be_drawn_for_each_frame():
    out = ClipAugmentation(flip=0, erase_per_frame=True)(bright_clips(50), batch_generator(0, 0))
    erased = erased_pixels(out).flatten(0, 1)
    hit = erased.flatten(1).any(1)
    assert 70 < hit.sum() < 130
    assert len({tuple(pixels.nonzero().flatten().tolist()) for pixels in erased[hit]}) > 0.9 * hit.sum()


@pytest.mark.parametrize(("height", "width"), [(256, 128), (64, 32), (48, 96)])
def test_boxes_have_the_area_and_shape_of_random_erasing_and_lie_anywhere_inside(height, width):
    boxes = torch.tensor(draw_boxes(3000, height, width, 1.0, batch_generator(0, 0)), dtype=torch.float64)
    top, left, rows, columns = boxes.unbind(1)
    assert (rows >= 1).all() and (rows < height).all() and (columns >= 1).all() and (columns < width).all()
    assert top.min() == 0 and left.min() == 0
    assert (top + rows).max() == height and (left + columns).max() == width
    share = rows * columns / (height * width)
    assert ERASED_AREA[0] * 0.85 < share.min() and share.max() < ERASED_AREA[1] * 1.05
    assert share.min() < 0.03 and share.max() > 0.35
    aspect = rows / columns
    assert ERASED_ASPECT[0] * 0.8 < aspect.min() and aspect.max() < ERASED_ASPECT[1] * 1.25


def test_a_frame_too_small_for_any_box_is_left_alone():
    assert all(box[2:] == [0, 0] for box in draw_boxes(20, 1, 1, 1.0))


def test_draws_are_those_of_the_generator():
    clips = random_clips()
    augmentation = ClipAugmentation()
    first = augmentation(clips, batch_generator(3, 7))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(augmentation(clips, batch_generator(3, 7)), first)
    assert torch.equal(torch.get_rng_state(), state)
    for seed, step in ((3, 8), (4, 7)):
        assert not torch.equal(augmentation(clips, batch_generator(seed, step)), first)


def test_without_a_generator_draws_are_those_of_torch():
    clips = random_clips()
    outs = []
    for _ in range(2):
        torch.manual_seed(5)
        outs.append(ClipAugmentation()(clips))
    assert torch.equal(*outs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_draws():
    clips = random_clips()
    for per_frame in (False, True):
        augmentation = ClipAugmentation(erase_per_frame=per_frame)
        out = augmentation(clips.cuda(), batch_generator(1, 2))
        check_layout(out, clips)
        torch.testing.assert_close(out.cpu(), augmentation(clips, batch_generator(1, 2)), atol=1e-6, rtol=0)
