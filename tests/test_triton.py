"""The Triton backend, in Triton's interpreter: what the comparisons of all backends (test_operator*.py) do not show."""

import math
import re
import types

import numpy as np
import pytest
import torch

import literal_tf32
from comparison import INTERPRETED, Case, Operator, allowances, complaints, differentiate
from strf_cuda import InputError, backends, factorized_attention
from strf_cuda.backends import native, triton

if not INTERPRETED:
    reason = "there is a GPU" if backends()["triton"] == "usable" else backends()["triton"]
    pytest.skip(f"Triton's kernels are not interpreted here: {reason}", allow_module_level=True)

from triton.runtime import interpreter

from strf_cuda.backends.triton_kernels import launches
from strf_cuda.backends.triton_kernels.blocks import ONE_PASS

PAPER = ((1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3))
MAXIMA, AVERAGES = ("max",) * 4, ("avg",) * 4
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
OPTIONS = ([3, 1, 1, 1, 3, 3], [0, 1], 4.0, False, False)  # windows, kinds, temperature, tf32, cosine
COSINE = (*OPTIONS[:2], 16.0, False, True)


def tensors(batch=2, dtype=torch.float64, requires_grad=False):
    """x and weight."""
    random = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((batch, 4, 2, 3, 2), (2, 2, 4))]
    return [tensor.to(dtype).requires_grad_(requires_grad) for tensor in made]


def flat(operator, tf32=False):
    """Windows, kinds, temperature, tf32 and cosine, as the operators take them."""
    windows = [size for window in operator.windows for size in window]
    kinds = [native.KINDS[kind] for kind in operator.kinds]
    return windows, kinds, operator.temperature, tf32, operator.similarity == "cosine"


def wrong(case, dtype, layout="contiguous", *, tf32=False, **options):
    """Complaints about one call of the operators, as of comparison.complaints."""
    x, weight, grad = case.inputs(dtype)
    allowed = allowances(case.operator, x, weight, grad, **options)

    def attend(x, weight):
        return native.attention(triton.OPERATORS, x, weight, *flat(case.operator, tf32))

    x, grad = (tensor.contiguous(memory_format=LAYOUTS[layout]) for tensor in (x, grad))
    return complaints([result[None] for result in differentiate(attend, x, weight, grad)], allowed)


TF32 = {
    "N98": Case((2, 40, 2, 14, 7), 8, Operator(PAPER, MAXIMA)),
    "N33": Case((3, 12, 4, 11, 3), 3, Operator(PAPER, ("max", "avg", "avg", "max"), 16.0, similarity="cosine")),
    "one-element": Case((2, 24, 2, 1, 1), 4, Operator(PAPER, MAXIMA, 16.0, similarity="cosine")),
    "nearly-equal": Case((2, 24, 3, 8, 4), 4, Operator(PAPER, MAXIMA), values="nearly equal", logits=300.0),
    "negative-temperature": Case((2, 24, 2, 5, 3), 4, Operator(PAPER, MAXIMA, temperature=-2.7)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", TF32)
def test_tf32_is_within_twice_the_error_of_products_whose_operands_are_rounded_to_it(name, layout):
    """The interpreter cuts digits off: see triton_interpreter.py."""
    assert not wrong(TF32[name], torch.float32, layout, tf32=True, written_out=literal_tf32.factorized_attention)


def test_tf32_is_not_what_float32_is_multiplied_in_unless_it_is_allowed():
    x, weight, _ = TF32["N33"].inputs(torch.float32)
    options = (flat(TF32["N33"].operator, tf32) for tf32 in (False, True))
    exact, rounded = (torch.ops.strf_cuda.triton_forward(x, weight, *given)[0] for given in options)
    assert 1e-5 < (exact - rounded).abs().max() / exact.abs().max() < 1e-2


class _SumsThatDependOnTheShape(type(interpreter.interpreter_builder)):
    def create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
        return interpreter.TensorHandle(np.matmul(a.data, b.data, dtype=d.data.dtype) + d.data, d.dtype.scalar)


SHARP = [Operator(PAPER, MAXIMA), Operator(PAPER, AVERAGES, 64.0, similarity="cosine")]


@pytest.mark.parametrize("operator", SHARP, ids=["dot", "cosine"])
def test_kernels_need_not_agree_on_the_last_bits_of_logits(monkeypatch, operator):
    """Of large logits of positions that resemble each other these bits are worth more than the gradient."""
    monkeypatch.setattr(interpreter.interpreter_builder, "__class__", _SumsThatDependOnTheShape)
    case = Case((2, 24, 4, 14, 7), 8, operator, values="nearly equal", logits=300.0)
    assert not wrong(case, torch.float32)


def test_up_to_a_temperature_of_64_no_maximum_is_searched():
    """The bound, 1 before the scaling, is taken for it; results are those of the maximum."""
    x, weight = tensors()
    least, more = (options_at(temperature) for temperature in (64.0, math.nextafter(64.0, math.inf)))
    bounded, searched = (torch.ops.strf_cuda.triton_forward(x, weight, *options) for options in (least, more))
    assert bounded[1].eq(1).all() and searched[1].lt(1).any()
    torch.testing.assert_close(bounded[0], searched[0])
    gradients = [
        torch.ops.strf_cuda.triton_backward(x, x, weight, *results[1:], *options)
        for results, options in ((bounded, least), (searched, more))
    ]
    torch.testing.assert_close(*gradients)


def options_at(temperature):
    return *OPTIONS[:2], temperature, False, True


@pytest.mark.parametrize(("positions", "options"), [((5, 3), OPTIONS), ((ONE_PASS // 4 + 1, 1), COSINE)])
def test_samples_in_groups_have_the_bits_of_samples_together(monkeypatch, positions, options):
    random = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(3, 6, 1, *positions, generator=random, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(2, 2, 6, generator=random, dtype=torch.float64)

    def results():
        return differentiate(lambda x, weight: native.attention(triton.OPERATORS, x, weight, *options), x, weight, grad)

    together = results()
    groups = []
    monkeypatch.setattr(launches, "GROUP_BYTES", 1)
    each = launches.Launches.groups
    monkeypatch.setattr(launches.Launches, "groups", lambda *args: groups.append(list(each(*args))) or groups[-1])
    assert all(torch.equal(one, other) for one, other in zip(results(), together, strict=True))
    assert groups == [[(0, 1), (1, 1), (2, 1)]] * 3


def test_a_group_is_as_large_as_its_bytes_allow():
    x, weight, _ = Case((7, 4, 1, 16, 16), 2, Operator(PAPER, MAXIMA)).inputs(torch.float16)
    passes = triton.launches(x, weight, *flat(Operator(PAPER, MAXIMA)))
    sample = 256 * 256 * 2
    with pytest.MonkeyPatch.context() as patch:
        for held, expected in ((3 * sample, [(0, 3), (3, 3), (6, 1)]), (sample - 1, [(i, 1) for i in range(7)])):
            patch.setattr(launches, "GROUP_BYTES", held)
            assert list(passes.groups(1)) == expected


@pytest.mark.parametrize(("layout", "options"), [("contiguous", COSINE), ("channels-last", OPTIONS)])
def test_the_operators_pass_opcheck(layout, options):
    x, weight = tensors(requires_grad=True)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    torch.library.opcheck(torch.ops.strf_cuda.triton_forward.default, (x, weight, *options))
    x, weight = x.detach(), weight.detach()
    y, maximum, normalizer = torch.ops.strf_cuda.triton_forward(x, weight, *options)
    arguments = (torch.ones_like(y), x, weight, maximum, normalizer, *options)
    torch.library.opcheck(torch.ops.strf_cuda.triton_backward.default, arguments)


def test_operators_that_are_not_told_the_similarity_multiply_as_the_paper_writes():
    """As in programs that earlier versions have exported."""
    forward, backward = torch.ops.strf_cuda.triton_forward, torch.ops.strf_cuda.triton_backward
    x, weight = tensors(requires_grad=True)
    results = []
    for options in (OPTIONS[:-1], OPTIONS):
        y, *statistics = forward(x, weight, *options)
        given = [tensor.detach() for tensor in (x, weight, *statistics)]
        mapped, *_ = torch.func.vmap(lambda x, weight: forward(x[None], weight, *options), (0, None))(*given[:2])  # noqa: B023
        assert torch.equal(mapped[:, 0], y)
        results.append([y, mapped, *torch.autograd.grad(y.sum(), (x, weight)), *backward(y.detach(), *given, *options)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_strides_that_do_not_matter_are_those_of_the_layout():
    x, weight = tensors(1)
    x = torch.randn(24).double().as_strided((1, 4, 1, 3, 2), (777, 1, 555, 8, 4))
    y, maximum, normalizer = torch.ops.strf_cuda.triton_forward(x, weight, *OPTIONS)
    grad_x, _ = torch.ops.strf_cuda.triton_backward(y, x, weight, maximum, normalizer, *OPTIONS)
    assert y.stride() == grad_x.stride() == torch.empty_like(y, memory_format=LAYOUTS["channels-last"]).stride()


@pytest.mark.parametrize(("layout", "similarity"), [("contiguous", "dot"), ("channels-last", "cosine")])
def test_gradients_pass_gradcheck(layout, similarity):
    x, weight = tensors(requires_grad=True)

    def attend(x, weight):
        x = x.contiguous(memory_format=LAYOUTS[layout])
        options = dict(pool=("max", "avg"), similarity=similarity, backend="triton")
        return factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], **options)

    torch.autograd.gradcheck(attend, (x, weight), fast_mode=True)


@pytest.mark.parametrize(("backend", "similarity"), [("eager", "cosine"), ("aot_eager", "dot"), ("inductor", "cosine")])
def test_a_compiled_call_is_one_graph_with_the_same_results(backend, similarity):
    def loss(x, weight):
        y = factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], similarity=similarity, backend="triton")
        return (y * y).sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for batch in (2, 3):
        x, weight = tensors(batch, torch.float32, requires_grad=True)
        expected = torch.autograd.grad(loss(x, weight), (x, weight))
        found = torch.autograd.grad(compiled(x, weight), (x, weight))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_an_exported_program_calls_the_operator_and_can_be_trained():
    class Unit(torch.nn.Module):
        def forward(self, x, weight):
            return factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], backend="triton")

    x, weight = tensors(dtype=torch.float32, requires_grad=True)
    program = torch.export.export(Unit(), (x, weight)).module()
    expected, found = (torch.autograd.grad(unit(x, weight).sum(), weight)[0] for unit in (Unit(), program))
    assert torch.equal(expected, found)


def test_derivatives_and_vmap_of_torch_func_are_those_of_the_function():
    x, weight = tensors(3)

    def attend(x, weight):
        return factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], backend="triton")

    grads = torch.func.vmap(torch.func.grad(lambda x, weight: attend(x[None], weight).sum()), (0, None))(x, weight)
    y = attend(x.requires_grad_(), weight)
    torch.testing.assert_close(grads, torch.autograd.grad(y.sum(), x)[0])
    with pytest.raises(InputError, match="there are no forward-mode derivatives of this backend"):
        torch.func.jvp(lambda x: attend(x, weight), (x.detach(),), (x.detach(),))


def test_second_derivatives_are_refused():
    x, weight = tensors(requires_grad=True)
    y = factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], backend="triton")
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(InputError, match="there are no second derivatives of this backend"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_the_function_the_type_of_the_region_and_the_leaves_their_own(dtype):
    x, weight = tensors(dtype=torch.float32, requires_grad=True)
    halves = [tensor.detach().to(dtype).requires_grad_() for tensor in (x, weight)]

    def attend(x, weight):
        return factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], pool=("max", "avg"), backend="triton")

    expected = attend(*halves)
    with torch.autocast("cpu", dtype=dtype):
        y = attend(x, weight)
        found = torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    assert torch.equal(y, expected) and y.dtype == dtype
    gradients = torch.autograd.grad(expected, halves, torch.ones_like(y))
    assert all(torch.equal(one, other.float()) for one, other in zip(found, gradients, strict=True))


def test_an_exported_program_takes_other_batches_and_sizes():
    class Unit(torch.nn.Module):
        def forward(self, x, weight):
            return factorized_attention(x, weight, [(3, 1, 1), (1, 3, 3)], backend="triton")

    sizes = {0: torch.export.Dim("batch", min=2, max=64), 3: torch.export.Dim("height", min=2, max=64)}
    program = torch.export.export(Unit(), tuple(tensors()), dynamic_shapes=(sizes, None)).module()
    x = torch.randn(3, 4, 2, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, weight = tensors()
    assert torch.equal(program(x, weight), Unit()(x, weight))


REFUSED = {
    "five dimensions": (dict(x=torch.zeros(2, 4)), "x has 2 dimensions, but it must have 5: [batch, channels, frames"),
    "channels": (
        dict(weight=torch.zeros(2, 2, 5)),
        "weight is [2, 2, 5] of torch.float32 on cpu, but it must be [1 to 4 paths, reduced channels, 4] as x is",
    ),
    "type": (dict(weight=torch.zeros(2, 2, 4).half()), "weight is [2, 2, 4] of torch.float16 on cpu, but it must be"),
    "windows": (
        dict(windows=[1, 1, 1]),
        "windows are [1, 1, 1] and kinds [0, 1], but there must be three odd sizes and one kind per path",
    ),
    "even windows": (dict(windows=[1, 2, 1, 1, 1, 1]), "windows are [1, 2, 1, 1, 1, 1] and kinds [0, 1], but there"),
    "kinds": (dict(kinds=[0, 2]), "kinds are [0, 2], but each must be 0 (max) or 1 (average)"),
    "temperature": (
        dict(temperature=0.0, tf32=False, cosine=True),
        "temperature is 0.0, but for similarity cosine it must be above 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_that_is_called_directly_refuses_what_it_cannot_read(name):
    change, sentence = REFUSED[name]
    arguments = dict(x=torch.zeros(1, 4, 1, 2, 2), weight=torch.zeros(2, 2, 4), windows=OPTIONS[0], kinds=OPTIONS[1])
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        torch.ops.strf_cuda.triton_forward(**(dict(temperature=4.0, tf32=False) | arguments | change))


def test_the_backward_operator_refuses_what_is_not_of_its_forward():
    x, weight = tensors(dtype=torch.float32)
    y, maximum, normalizer = torch.ops.strf_cuda.triton_forward(x, weight, *OPTIONS)
    backward = torch.ops.strf_cuda.triton_backward
    with pytest.raises(InputError, match=r"^grad is \[1, 4, 2, 3, 2\] of torch.float32 on cpu, but it must be as x is"):
        backward(y[:1], x, weight, maximum, normalizer, *OPTIONS)
    with pytest.raises(InputError, match=r"^grad is \[2, 4, 2, 3, 2\] of torch.float64 on cpu, but it must be as x is"):
        backward(y.double(), x, weight, maximum, normalizer, *OPTIONS)
    with pytest.raises(
        InputError, match=r"^normalizer is \[2, 2, 5\] of .*, but it must be \[2, 2, 6\] as the forward"
    ):
        backward(y, x, weight, maximum, normalizer[..., 1:], *OPTIONS)
    with pytest.raises(InputError, match=r"^maximum is \[2, 2, 6\] of torch.float16 on cpu, but it must be"):
        backward(y, x, weight, maximum.half(), normalizer, *OPTIONS)


class _Kernel:
    def __getitem__(self, grid):
        def fail(*arguments, **options):
            raise RuntimeError("Triton Error [CUDA]: operation not permitted when stream is capturing")

        return fail


@pytest.mark.parametrize(("capturing", "sentence"), [(True, "call the operator once"), (False, "operation not permi")])
def test_a_first_launch_within_a_capture_says_what_to_do(monkeypatch, capturing, sentence):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    with pytest.raises(RuntimeError, match=sentence):
        launches.launch(_Kernel(), 1, types.SimpleNamespace(is_cuda=True))
    launches.launch(_Kernel(), 0)
