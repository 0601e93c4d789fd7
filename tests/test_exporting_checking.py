"""The comparison of an exported model with the model in Python: rounding passes, anything else does not."""

import pytest
import torch

from strf_cuda.errors import InputError
from strf_cuda.exporting import checking
from strf_cuda.exporting.checking import ALLOWED, compare
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.trained import open_model


@pytest.fixture(scope="module")
def trained(tiny_checkpoint):
    return open_model(tiny_checkpoint)


def test_the_model_itself_does_not_differ(trained):
    difference = compare(trained, embedder(trained), exactly=True)
    assert (difference.embedding, difference.distance, difference.allowed) == (0, 0, 0)


@pytest.mark.parametrize(
    "spoilt", [lambda own, clips: own(clips) + 0.01 * (len(clips) == 7), lambda own, clips: own(clips) * float("nan")]
)
def test_what_differs_in_one_batch_or_is_no_number_is_refused(trained, spoilt):
    own = embedder(trained)
    with pytest.raises(InputError, match="the exported model differs from the model in Python by .* in an embedding"):
        compare(trained, lambda clips: spoilt(own, clips))


def test_another_type_or_shape_is_refused(trained):
    own = embedder(trained)
    with pytest.raises(
        InputError, match=r"gives torch.float64 \[1, 512\] where the model in Python gives torch.float32"
    ):
        compare(trained, lambda clips: own(clips).double())
    with pytest.raises(InputError, match=r"gives torch.float32 \[1, 511\] where"):
        compare(trained, lambda clips: own(clips)[:, 1:])


def test_a_model_that_float32_cannot_compute_is_refused_with_the_reason(trained, monkeypatch):
    own = embedder(trained)
    monkeypatch.setattr(checking, "_rounding", lambda *_: 0.05)
    assert compare(trained, own).allowed == checking.AT_MOST
    with pytest.raises(
        InputError, match=r"1.0e-03 is allowed: it must not be used; in Python it is itself off by 5.0e-02"
    ):
        compare(trained, lambda clips: own(clips) + 0.1)


def test_rounding_alone_is_let_pass_and_not_much_more(trained):
    own = embedder(trained)
    difference = compare(trained, lambda clips: own(clips.flip(0)).flip(0))
    assert difference.embedding <= 1e-6 and ALLOWED < difference.allowed < 2 * ALLOWED
    noise = torch.zeros(7, 512)
    noise[0, 0] = 1
    length = own(example_clips(trained, 1)).norm()
    with pytest.raises(InputError, match="must not be used"):
        compare(trained, lambda clips: own(clips) + 2 * difference.allowed * length * noise[: len(clips)])
