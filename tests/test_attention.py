"""Attention maps: the equation, and what they are scaled by."""

import pytest
import torch

from strf_cuda.attention import attention_maps, scaled
from strf_cuda.errors import InputError
from strf_cuda.trained import open_model


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return open_model(tiny_checkpoint).model


@pytest.fixture(scope="module")
def clips():
    return torch.randn(2, 3, 4, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stage", "size"), [(1, (16, 8)), (2, (8, 4)), (3, (4, 2)), (4, (4, 2))])
def test_a_map_is_the_sum_of_squares_over_the_channels_of_the_stage_s_output(model, clips, stage, size):
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(clips))))
        for number in range(1, stage + 1):
            x = getattr(model, f"layer{number}")(x)
    maps = attention_maps(model, clips, stage)
    assert maps.shape == (2, 4, *size) and maps.dtype == torch.float32
    torch.testing.assert_close(maps, sum(x[:, channel] ** 2 for channel in range(x.shape[1])))


def test_looking_leaves_the_model_as_it_was(model, clips):
    before = model(clips)
    attention_maps(model, clips)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(clips), before)


def test_the_maps_of_a_compiled_model_are_those_of_the_model(model, clips):
    expected = attention_maps(model, clips, 2)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(clips)
    assert torch.equal(attention_maps(compiled, clips, 2), expected)


def test_a_stage_that_is_none_is_refused(model, clips):
    with pytest.raises(InputError, match="stage is 5, but a ResNet has the stages 1, 2, 3 and 4"):
        attention_maps(model, clips, 5)


def test_activations_that_are_no_numbers_are_refused(model, clips):
    with pytest.raises(InputError, match="stage 3 are not finite"):
        attention_maps(model, clips * float("nan"))


def test_scaling_keeps_zero_and_makes_the_largest_value_of_a_clip_or_of_each_frame_one():
    maps = torch.tensor([[[[2.0, 8.0]], [[0.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])  # [2 clips, 2 frames, 1, 2]
    assert scaled(maps).tolist() == [[[[0.25, 1.0]], [[0.0, 0.5]]], [[[0.0, 0.0]], [[0.0, 0.0]]]]
    assert scaled(maps, "frame")[0].tolist() == [[[0.25, 1.0]], [[0.0, 1.0]]]
