"""Every backend with input at the edge of what it takes and beyond: sizes, NaN, memory, types, devices, ties."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from comparison import BACKENDS, Case, Operator, assert_layout_of, device, differentiate, on_every_backend
from oracle_gradients import first_of_the_largest
from strf_cuda import InputError, factorized_attention
from tolerance import assert_equal_up_to_rounding

WINDOWS = ((1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3))
KINDS = ("max", "max", "avg", "max")
OPERATOR = Operator(WINDOWS, KINDS)
COSINE = Operator(WINDOWS, KINDS, 16.0, similarity="cosine")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def results(backend, operator, dtype=torch.float64, layout="contiguous", shape=(3, 12, 3, 5, 4)):
    """y and both gradients of `make`, the same for every test that compares others with them."""
    return differentiate(operator.on(backend), *make(backend, shape, operator=operator, dtype=dtype, layout=layout))


def make(backend, shape=(3, 12, 3, 5, 4), reduced=3, operator=OPERATOR, dtype=torch.float64, layout="contiguous"):
    """x, weight and grad on the backend's device; the reduction is exact, so that no type's maximum goes astray."""
    x, weight, grad = (tensor.to(device(backend)) for tensor in Case(shape, reduced, operator, "grid").inputs(dtype))
    return x.contiguous(memory_format=LAYOUTS[layout]), weight, grad.contiguous(memory_format=LAYOUTS[layout])


@on_every_backend(dtype=TYPES, layout=list(LAYOUTS))
def test_an_empty_batch_gives_an_empty_result_and_a_zero_gradient_of_the_weight(backend, layout, dtype):
    x, weight, grad = make(backend, dtype=dtype, layout=layout)
    operator = COSINE if dtype.itemsize % 4 else OPERATOR
    y, grad_x, grad_weight = differentiate(operator.on(backend), x[:0], weight, grad[:0])
    assert y.shape == grad_x.shape == x[:0].shape
    assert y.dtype == grad_x.dtype == dtype
    assert torch.equal(grad_weight, torch.zeros_like(weight))


@on_every_backend(dtype=TYPES, frames=(1, 4))
def test_one_position_is_returned_once_by_every_path(backend, frames, dtype):
    x, weight, grad = make(backend, shape=(2, 12, frames, 1, 1), dtype=dtype)
    y, grad_x, grad_weight = differentiate(OPERATOR.on(backend), x, weight, grad)
    assert torch.equal(y, 4 * x) and torch.equal(grad_x, 4 * grad)
    assert torch.equal(grad_weight, torch.zeros_like(weight))


@on_every_backend(
    operator={
        "four paths": COSINE,
        "temporal": Operator(((3, 1, 1),), ("max",), 16.0, similarity="cosine"),
        "spatial": Operator(((1, 3, 3),), ("max",)),
    },
    bad=(math.nan, math.inf, -math.inf),
    where=("x", "grad"),
    layout=list(LAYOUTS),
)
def test_nan_and_infinity_stay_in_their_sample_and_do_not_vanish_in_it(backend, layout, where, bad, operator):
    x, weight, grad = make(backend, operator=operator, layout=layout)
    clean = results(backend, operator, layout=layout)
    (x if where == "x" else grad)[1, 2, 1, 3, 0] = bad
    y, grad_x, grad_weight = differentiate(operator.on(backend), x, weight, grad)
    for result, before in ((y, clean[0]), (grad_x, clean[1])):
        assert torch.equal(result[[0, 2]], before[[0, 2]])
    reference = differentiate(operator.on("reference"), x.cpu(), weight.cpu(), grad.cpu())
    for result, expected in zip((y, grad_x, grad_weight), reference, strict=True):
        assert not result.cpu()[~expected.isfinite()].isfinite().any()
    if where == "grad":
        assert torch.equal(y, clean[0])
    if math.isnan(bad) and where == "x":
        assert y[1].isnan().all() and grad_x[1].isnan().all() and grad_weight.isnan().all()


@pytest.mark.parametrize("operator", [OPERATOR, COSINE], ids=["dot", "cosine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_in_the_weight_reaches_everything(backend, operator):
    x, weight, grad = make(backend)
    weight[1, 0, 0] = math.nan
    y, grad_x, grad_weight = differentiate(operator.on(backend), x, weight, grad)
    assert y.isnan().all() and grad_x.isnan().all() and grad_weight[1].isnan().all()


@on_every_backend(empty=("positions", "a frame", "everything"), dtype=TYPES, layout=list(LAYOUTS))
def test_where_x_is_zero_gradients_of_cosines_are_finite(backend, layout, dtype, empty):
    x, weight, grad = make(backend, dtype=dtype, layout=layout)
    x[{"positions": (..., 1, slice(2)), "a frame": (slice(None), slice(None), 1), "everything": ...}[empty]] = 0
    y, grad_x, grad_weight = differentiate(COSINE.on(backend), x, weight, grad)
    assert all(result.isfinite().all() for result in (y, grad_x, grad_weight))
    if empty == "everything":  # then all masks are flat
        means = grad.double().mean((3, 4), keepdim=True).expand_as(grad)
        assert_equal_up_to_rounding([grad_x], [(4 * means).to(dtype)])
        assert not y.any() and not grad_weight.any()


def _inside(tensor, larger, index):
    """The same values as a slice of a larger tensor that is NaN elsewhere."""
    view = tensor.new_full(larger, math.nan)[index]
    return view.copy_(tensor)


def _unaligned(tensor):
    """The same values in the same layout, one element behind where memory was allocated."""
    storage = tensor.new_full((tensor.numel() + 1,), math.nan)
    return storage[1:].as_strided(tensor.size(), tensor.stride()).copy_(tensor)


def _every_second(tensor):
    b, c, t, h, w = tensor.shape
    return _inside(
        tensor,
        (b, 2 * c, t, h + 1, 2 * w),
        (slice(None), slice(0, None, 2), slice(None), slice(1, None), slice(1, None, 2)),
    )


def _last_frames(tensor):
    b, c, t, h, w = tensor.shape
    larger = tensor.new_full((b, c, t + 1, h, w), math.nan).contiguous(memory_format=torch.channels_last_3d)
    return larger[:, :, 1:].copy_(tensor)


CLIPS = {
    "channels-last": lambda tensor: tensor.contiguous(memory_format=torch.channels_last_3d),
    "every second": _every_second,
    "height and width exchanged": lambda tensor: tensor.mT.contiguous().mT,
    "batch and channels exchanged": lambda tensor: tensor.transpose(0, 1).contiguous().transpose(0, 1),
    "last frames of channels-last": _last_frames,
    "unaligned": _unaligned,
    "unaligned channels-last": lambda tensor: _unaligned(tensor.contiguous(memory_format=torch.channels_last_3d)),
    "negated lazily": lambda tensor: torch._neg_view(-tensor),
}
WEIGHTS = {
    "paths in the middle": lambda tensor: _inside(tensor, (6, *tensor.shape[1:]), slice(1, 5)),
    "every second channel": lambda tensor: _inside(
        tensor, (*tensor.shape[:2], 2 * tensor.shape[2]), (..., slice(0, None, 2))
    ),
    "transposed": lambda tensor: tensor.mT.contiguous().mT,
    "unaligned": _unaligned,
}


MOVED = {
    **{f"{name} {how}": (which, move) for which, name in ((0, "x"), (2, "grad")) for how, move in CLIPS.items()},
    **{f"weight {how}": (1, move) for how, move in WEIGHTS.items()},
}


@on_every_backend(moved=MOVED, dtype=(torch.float64, torch.bfloat16), layout=list(LAYOUTS))
def test_values_count_and_not_where_they_lie(backend, moved, dtype, layout):
    which, change = moved
    operator = COSINE if dtype == torch.float64 else OPERATOR
    shape = (2, 12, 2, 5, 4)
    inputs = make(backend, shape, operator=operator, dtype=dtype, layout=layout)
    expected = results(backend, operator, dtype, layout, shape)
    others = list(inputs)
    others[which] = change(inputs[which])
    assert torch.equal(others[which], inputs[which])
    actual = differentiate(operator.on(backend), *others)
    assert_equal_up_to_rounding(actual, expected)
    assert_layout_of(others[0], *actual[:2])


@pytest.mark.parametrize("dim", range(5))
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_expanded_input_counts_as_often_as_it_is_repeated(backend, dim):
    x, weight, grad = make(backend)
    expanded = x.narrow(dim, 0, 1).expand_as(x)
    actual = differentiate(COSINE.on(backend), expanded, weight, grad)
    assert_equal_up_to_rounding(actual, differentiate(COSINE.on(backend), expanded.contiguous(), weight, grad))
    assert_layout_of(expanded, *actual[:2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_weight_expanded_to_all_paths_counts_for_each(backend):
    x, weight, grad = make(backend)
    expanded = weight[:1].expand_as(weight)
    actual = differentiate(OPERATOR.on(backend), x, expanded, grad)
    assert_equal_up_to_rounding(actual, differentiate(OPERATOR.on(backend), x, expanded.contiguous(), grad))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_expanded_gradient_of_a_sum_is_read_as_ones(backend, layout):
    x, weight, grad = make(backend, layout=layout)
    x.requires_grad_(), weight.requires_grad_()
    OPERATOR.on(backend)(x, weight).sum().backward()
    _, *expected = differentiate(OPERATOR.on(backend), x, weight, torch.ones_like(grad))
    assert_equal_up_to_rounding((x.grad, weight.grad), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_input_has_its_gradient_alone_as_well(backend, layout):
    x, weight, grad = make(backend, operator=COSINE, layout=layout)
    expected = results(backend, COSINE, layout=layout)
    for of_x, of_weight in ((True, False), (False, True)):
        leaves = x.clone().requires_grad_(of_x), weight.clone().requires_grad_(of_weight)
        y = COSINE.on(backend)(*leaves)
        y.backward(grad)
        for leaf, wanted, gradient in zip(leaves, (of_x, of_weight), expected[1:], strict=True):
            assert (leaf.grad is not None) == wanted
            if wanted:
                assert_equal_up_to_rounding([leaf.grad], [gradient])
    assert not OPERATOR.on(backend)(x, weight).requires_grad
    with torch.no_grad():
        assert not OPERATOR.on(backend)(x.requires_grad_(), weight.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(x=torch.zeros(8, 2, 2, 2)), r"x has shape \(8, 2, 2, 2\), but it must be \[batch, channels, frames"),
        (dict(weight=torch.zeros(4, 2, 7)), r"weight has shape \(4, 2, 7\), but it must be .* x has 8 channels"),
        (dict(weight=torch.zeros(2, 8)), r"weight has shape \(2, 8\), but it must be .* x has 8 channels"),
        (dict(weight=torch.zeros(5, 2, 8), pools=[(1, 1, 1)] * 5), r"weight has shape \(5, 2, 8\).* 1 to 4 paths"),
        (dict(weight=torch.zeros(0, 2, 8), pools=[]), r"weight has shape \(0, 2, 8\).* 1 to 4 paths"),
        (dict(weight=torch.zeros(4, 2, 8).double()), "x is torch.float32 but weight is torch.float64"),
        (dict(weight=torch.zeros(4, 2, 8).bfloat16()), "x is torch.float32 but weight is torch.bfloat16"),
        (dict(weight=torch.zeros(4, 2, 8, dtype=torch.int64)), "x is torch.float32 but weight is torch.int64"),
        (dict(x=torch.zeros(1, 8, 2, 2, 2, dtype=torch.int64)), "x is torch.int64, but it must be float32, "),
        (dict(x=torch.zeros(1, 8, 2, 2, 2, dtype=torch.bool)), "x is torch.bool, but it must be float32, "),
        (dict(x=torch.zeros(1, 8, 2, 2, 2, dtype=torch.complex64)), "x is torch.complex64, but it must be float32, "),
        (dict(similarity="cosinus"), "similarity is 'cosinus', but it must be dot or cosine; did you mean cosine"),
        (dict(similarity=["dot"]), r"similarity is \['dot'\], but it must be dot or cosine"),
        (dict(temperature=-1.0), "temperature is -1.0, but for similarity cosine it must be above 0"),
        (dict(temperature=math.nan), "temperature is nan, but it must be a finite number"),
        (dict(temperature=10**400), "temperature is 10+, but it must be a finite number, at most 3.4e38"),
        (dict(temperature="16"), "temperature is '16', but it must be a number"),
        (dict(temperature=torch.tensor([16.0])), r"temperature is tensor\(.*, but it must be a number; none is"),
        (dict(x=torch.zeros(1, 8, 2, 2, 2, device="meta")), "x is on meta but weight is on (cpu|cuda:0); move one"),
        (dict(weight=torch.zeros(4, 2, 8, device="meta")), "x is on (cpu|cuda:0) but weight is on meta; move one"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_input_that_does_not_fit_is_refused_with_its_value(backend, change, sentence):
    def place(value):
        return value.to(device(backend)) if isinstance(value, torch.Tensor) and not value.is_meta else value

    arguments = dict(x=torch.zeros(1, 8, 2, 2, 2), weight=torch.zeros(4, 2, 8), pools=WINDOWS) | change
    with pytest.raises(InputError, match=sentence):
        factorized_attention(**{name: place(value) for name, value in arguments.items()}, backend=backend)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_channels_frames_or_positions_are_refused(backend, dim):
    shape = [2, 8, 3, 4, 5]
    shape[dim] = 0
    x = torch.zeros(shape, device=device(backend))
    with pytest.raises(InputError, match=r"x has shape .* 0"):
        factorized_attention(x, x.new_zeros(4, 2, shape[1]), WINDOWS, backend=backend)


@on_every_backend(window=((3, 1, 1), (1, 3, 1), (1, 1, 3), (1, 3, 3), (3, 3, 3)), dtype=TYPES, layout=list(LAYOUTS))
def test_ties_of_the_maximum_give_their_gradient_to_the_first(backend, layout, window, dtype):
    """Also those that are ties only after R was rounded to the type: its second channel is below half a unit."""
    operator = Operator((window,), ("max",))
    random = torch.Generator().manual_seed(0)
    x = torch.randint(1, 3, (1, 2, 4, 4, 5), generator=random, dtype=torch.float64)
    weight = torch.tensor([[[1.0, 2.0**-12]]], dtype=torch.float64)
    # The gradient comes in through the last frame, whose own values win no other frame's window.
    x[:, :, -1] = torch.rand(1, 2, 4, 5, generator=random, dtype=torch.float64) - 2
    grad = torch.zeros_like(x)
    grad[:, :, -1] = torch.randn(1, 2, 4, 5, generator=random, dtype=torch.float64)

    reduced = torch.einsum("rc,cthw->rthw", weight[0].to(dtype), x[0].to(dtype)).to(dtype)[0].double().numpy()
    receives = np.zeros_like(reduced, dtype=bool)
    for position in itertools.product(*map(range, reduced.shape)):
        receives[first_of_the_largest(reduced, position, window)] = True
    x, grad = (t.to(device(backend), dtype).contiguous(memory_format=LAYOUTS[layout]) for t in (x, grad))
    _, grad_x, _ = differentiate(operator.on(backend), x, weight.to(x), grad)
    np.testing.assert_array_equal((grad_x[0, 0, :-1] != 0).cpu().numpy(), receives[:-1])
    assert not receives[:-1].all()
