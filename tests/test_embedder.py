"""The model that is exported: the same features from pixels, and the trained model stays as it was."""

import pytest
import torch

from strf_cuda.data.augment import normalise
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.modules import STRF
from strf_cuda.trained import open_model


@pytest.fixture(scope="module")
def trained(tiny_checkpoint):
    return open_model(tiny_checkpoint)


def test_pixels_are_normalised_as_in_training_to_the_last_bit(trained):
    clips = example_clips(trained, 3)
    with torch.no_grad():
        expected = trained.model(normalise(clips.permute(0, 2, 3, 4, 1).contiguous()))
        assert torch.equal(embedder(trained)(clips), expected)


def test_example_clips_are_of_the_models_size_and_always_the_same(trained):
    clips = example_clips(trained)
    assert (clips.dtype, tuple(clips.shape)) == (torch.uint8, (2, 3, 4, 32, 16))
    assert torch.equal(clips, example_clips(trained)) and not torch.equal(clips, example_clips(trained, seed=1))
    assert len(clips.unique()) > 100


def test_the_trained_model_is_not_touched(trained):
    exported = embedder(trained, backend="reference")
    units = {
        name: {unit.backend for unit in model.modules() if isinstance(unit, STRF)}
        for name, model in {"own": trained.model, "exported": exported}.items()
    }
    assert units == {"own": {"auto"}, "exported": {"reference"}}
    with torch.no_grad():
        exported.model.conv1.weight.zero_()
    assert trained.model.conv1.weight.any()
    assert not any(parameter.requires_grad for parameter in exported.parameters())


def test_what_tells_training_people_apart_is_left_behind(trained):
    assert not [name for name in embedder(trained).state_dict() if "classifier" in name]
