"""The function around the operator: equations, layouts, types and faults."""

import functools
import math

import numpy as np
import pytest
import torch

import oracle
from strf_cuda import InputError, backends, factorized_attention

NATIVE = pytest.param("cpu", marks=pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"]))
ALL_POOLS = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (1, 5, 5)]


@pytest.fixture(params=["reference", NATIVE])
def attend(request):
    return functools.partial(factorized_attention, backend=request.param)


def make(batch=2, channels=8, frames=3, height=4, width=3, paths=4, reduced=2, dtype=torch.float64, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, frames, height, width, generator=random, dtype=torch.float64)
    weight = 0.4 * torch.randn(paths, reduced, channels, generator=random, dtype=torch.float64)
    return x.to(dtype), weight.to(dtype)


@pytest.mark.parametrize(
    ("kinds", "similarity"),
    [(("max", "max"), "cosine"), (("max", "avg"), "dot"), (("avg", "max"), "dot"), (("avg", "avg"), "cosine")],
)
@pytest.mark.parametrize("shape", [(3, 4, 3), (1, 5, 1), (2, 1, 7), (1, 1, 1), (5, 2, 2)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_the_paper_computed_path_by_path(attend, kinds, similarity, shape, channels_last):
    x, weight = make(frames=shape[0], height=shape[1], width=shape[2])
    kinds = [kinds[0], kinds[0], kinds[1], kinds[1]]
    given = x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x
    out = attend(given, weight, ALL_POOLS, pool=kinds, similarity=similarity, temperature=2.5)
    expected = oracle.factorized_attention(x.numpy(), weight.numpy(), ALL_POOLS, kinds, 2.5, similarity)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert out.stride() == given.stride()


@pytest.mark.parametrize("paths", [1, 2, 3, 4])
@pytest.mark.parametrize(("pool", "similarity"), [("max", "cosine"), ("avg", "dot")])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_of_both_inputs_pass_gradcheck(attend, paths, pool, similarity, channels_last):
    x, weight = make(batch=1, channels=4, frames=2, height=2, width=3, paths=paths)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    torch.autograd.gradcheck(
        lambda x, w: attend(x, w, ALL_POOLS[:paths], pool=pool, similarity=similarity),
        (x.requires_grad_(), weight.requires_grad_()),
    )


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_second_derivatives_of_the_reference_pass_gradgradcheck(similarity):
    x, weight = make(batch=1, channels=2, frames=2, height=2, width=2, paths=2)
    function = lambda x, w: factorized_attention(x, w, ALL_POOLS[1:3], similarity=similarity, backend="reference")  # noqa: E731
    torch.autograd.gradgradcheck(function, (x.requires_grad_(), weight.requires_grad_()))


def test_masks_are_added_before_one_multiplication(attend):
    """Four equal paths give exactly four times one path, since 4 P is exact in binary."""
    x, weight = make(paths=1)
    one = attend(x, weight, ALL_POOLS[:1])
    four = attend(x, weight.repeat(4, 1, 1), ALL_POOLS[:1] * 4)
    torch.testing.assert_close(four, 4 * one, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_low_precision_is_within_rounding_of_float64(attend, dtype, channels_last, similarity):
    x, weight = make(channels=32, reduced=2, height=6, width=5, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    out = attend(x, weight, ALL_POOLS, similarity=similarity)
    expected = attend(x.double(), weight.double(), ALL_POOLS, similarity=similarity)
    assert out.dtype == dtype and out.stride() == x.stride()
    # The reduction is rounded to the input type, and the soft-max magnifies its error by the size of the logits.
    reduced = torch.einsum("prc,bcthw->bprthw", weight.double(), x.double())
    logits = {"dot": 4.0 * reduced.square().sum((2, 3)).max().item(), "cosine": 16.0}
    magnification = 4 * logits[similarity]
    error = (out.double() - expected).abs().max().item()
    assert error <= 2 * torch.finfo(dtype).eps * magnification * expected.abs().max().item()


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(attend, pool):
    x, weight = make()
    x, weight = x[:0].requires_grad_(), weight.requires_grad_()
    out = attend(x, weight, ALL_POOLS, pool=pool)
    out.sum().backward()
    assert out.shape == x.shape == x.grad.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_a_non_contiguous_input_gives_the_same_values(attend):
    x, weight = make(height=6, width=6)
    sliced = x[:, ::2, :, 1:, ::2]
    weight = weight[:, :, ::2]
    torch.testing.assert_close(
        attend(sliced, weight, ALL_POOLS),
        attend(sliced.contiguous(), weight.contiguous(), ALL_POOLS),
        rtol=1e-13,
        atol=1e-13,
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_or_inf_in_one_sample_stays_in_that_sample(attend, bad):
    x, weight = make(batch=3)
    clean = attend(x, weight, ALL_POOLS)
    x[1, 2, 1, 3, 0] = bad
    out = attend(x, weight, ALL_POOLS)
    assert torch.equal(out[[0, 2]], clean[[0, 2]])
    assert out[1].isnan().all()


def test_ties_of_the_maximum_give_their_gradient_to_the_first(attend):
    x = torch.zeros(1, 1, 3, 1, 2, dtype=torch.float64)
    x[..., 0], x[..., 1] = 1.0, 2.0
    weight = torch.ones(1, 1, 1, dtype=torch.float64, requires_grad=True)
    x.requires_grad_()
    attend = functools.partial(attend, pools=[(3, 1, 1)], similarity="dot")
    reduced_gradient = torch.autograd.grad(attend(x, weight)[0, 0, 0, 0, 0], x)[0]
    direct = torch.autograd.grad(attend(x, weight.detach() * 0)[0, 0, 0, 0, 0], x)[0]
    # Windows of frames 0 and 1 take frame 0, the window of frame 2 takes frame 1: nothing reaches frame 2.
    assert direct[0, 0, 0].abs().sum() > 0
    assert torch.equal(reduced_gradient[0, 0, 2], torch.zeros(1, 2, dtype=torch.float64))
    assert reduced_gradient[0, 0, 1].abs().sum() > 0


def test_autocast_takes_the_type_of_the_region_and_leaves_float64_alone(attend):
    x, weight = make(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend(x, weight, ALL_POOLS)
        double = attend(x.double(), weight.double(), ALL_POOLS)
    assert double.dtype == torch.float64
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, attend(x.bfloat16(), weight.bfloat16(), ALL_POOLS))


@pytest.mark.parametrize(("similarity", "temperature"), [("dot", 4.0), ("cosine", 16.0)])
def test_the_temperature_is_that_of_the_similarity_unless_given(attend, similarity, temperature):
    x, weight = make()
    unnamed = {} if similarity == "cosine" else {"similarity": similarity}
    expected = attend(x, weight, ALL_POOLS, similarity=similarity, temperature=temperature)
    assert torch.equal(attend(x, weight, ALL_POOLS, **unnamed), expected)


def test_the_size_of_features_does_not_count_for_cosines(attend):
    x, weight = make(dtype=torch.float32)
    large, larger = (attend(size * x, weight, ALL_POOLS) / size for size in (2.0**10, 2.0**30))
    torch.testing.assert_close(larger, large)


def test_backends_say_in_words_what_is_usable():
    assert backends()["reference"] == "usable"
    assert set(backends()) == {"cuda", "cpu", "triton", "reference"}


def test_auto_on_the_cpu_is_the_cpu_backend_where_that_is_usable():
    x, weight = make()
    served = "cpu" if backends()["cpu"] == "usable" else "reference"
    assert torch.equal(
        factorized_attention(x, weight, ALL_POOLS), factorized_attention(x, weight, ALL_POOLS, backend=served)
    )


def test_shapes_can_be_followed_on_the_meta_device():
    x, weight = (tensor.to("meta") for tensor in make(dtype=torch.float32))
    assert factorized_attention(x, weight, ALL_POOLS).shape == x.shape


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(x=torch.zeros(2, 8, 4, 4)), r"x has shape \(2, 8, 4, 4\), but it must be \[batch, channels, frames"),
        (dict(x=torch.zeros(1, 8, 2, 2, 2, dtype=torch.int64)), "x is torch.int64, but it must be float32, "),
        (dict(x=torch.zeros(1, 8, 2, 0, 2)), r"x has shape \(1, 8, 2, 0, 2\), but nothing but its batch may be empty"),
        (
            dict(weight=torch.zeros(4, 0, 8)),
            r"weight has shape \(4, 0, 8\), but it must be \[paths, reduced channels, 8",
        ),
        (dict(weight=torch.zeros(4, 2, 8, device="meta")), "x is on cpu but weight is on meta; move one of them"),
        (
            dict(x=torch.zeros(1, 8, 2, 2, 2).to(torch.float8_e4m3fn)),
            "x is torch.float8_e4m3fn, but it must be float32, ",
        ),
        (dict(weight=torch.zeros(4, 2, 7)), r"weight has shape \(4, 2, 7\), but it must be .* x has 8 channels"),
        (dict(weight=torch.zeros(5, 2, 8)), r"weight has shape \(5, 2, 8\).* 1 to 4 paths"),
        (dict(weight=torch.zeros(4, 2, 8).double()), "x is torch.float32 but weight is torch.float64"),
        (dict(pools=[(1, 1, 1)]), "1 pool windows for 4 paths"),
        (dict(pools=[(1, 1, 1)] * 3 + [(1, 2, 2)]), r"pool window \(1, 2, 2\) must be three odd positive"),
        (dict(pools=[(1, 1, 1)] * 3 + [(1, 0, 1)]), r"pool window \(1, 0, 1\) must be three odd positive"),
        (dict(pool="maxx"), "pool is 'maxx', but it must be max or avg; did you mean max"),
        (dict(pool=("max", "avg")), "pool names 2 kinds for 4 paths"),
        (dict(temperature=math.nan), "temperature is nan, but it must be a finite number"),
        (dict(temperature=math.inf, similarity="dot"), "temperature is inf, but it must be a finite number"),
        (dict(temperature=0.0), "temperature is 0.0, but for similarity cosine it must be above 0: a larger one makes"),
        (dict(temperature=-1.0), "temperature is -1.0, but for similarity cosine it must be above 0: a larger one"),
        (dict(similarity="cos"), "similarity is 'cos', but it must be dot or cosine; did you mean cosine"),
        (dict(similarity=None), "similarity is None, but it must be dot or cosine"),
        (dict(backend="cud"), "backend is 'cud', but it must be .*; did you mean cuda"),
        (dict(backend="cuda"), "backend cuda (is not usable here: |takes tensors on a CUDA device, but x is on cpu)"),
    ],
)
def test_bad_input_is_refused_with_its_value(change, sentence):
    arguments = dict(x=torch.zeros(1, 8, 2, 2, 2), weight=torch.zeros(4, 2, 8), pools=ALL_POOLS) | change
    with pytest.raises(InputError, match=sentence):
        factorized_attention(**arguments)
