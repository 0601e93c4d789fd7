"""The operators as PyTorch sees them: shapes and strides, autograd, autocast, vmap, and what is refused."""

import functools
import itertools
import subprocess
import sys

import pytest
import torch
import torch.autograd.forward_ad as forward_ad

from strf_cuda import InputError, backends, factorized_attention
from strf_cuda.backends import library, native

pytestmark = pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"])

POOLS = [(3, 1, 1), (1, 3, 3)]
BEFORE = ([3, 1, 1, 1, 3, 3], [0, 1], 2.0, False)  # the options as they were when dot was the only similarity
OPTIONS = (*BEFORE, True)
KINDS = ["max", "avg"]
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last_3d),
    "neither": lambda x: x.transpose(3, 4).contiguous().transpose(3, 4),
    "expanded": lambda x: x[:, :, :1].expand_as(x),
}
BACKWARD_ONCE = 'there are no second derivatives of this backend; use backend="reference" for them'
REVERSE_ONLY = 'there are no forward-mode derivatives of this backend; use backend="reference" for them'


def tensors(batch=2, channels=4, frames=2, height=3, width=2, dtype=torch.float64, requires_grad=False):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, frames, height, width, generator=random, dtype=torch.float64)
    weight = torch.randn(2, 2, channels, generator=random, dtype=torch.float64)
    return tuple(tensor.to(dtype).requires_grad_(requires_grad) for tensor in (x, weight))


def attend(x, weight, backend="cpu"):
    return factorized_attention(
        x, weight, POOLS, pool=KINDS, similarity="cosine", temperature=OPTIONS[2], backend=backend
    )


def raw(x, weight):
    return torch.ops.strf_cuda.forward(x, weight, *OPTIONS)[0]


def loss(x, weight):
    return attend(x, weight).square().sum()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "options"), zip(native.DTYPES, itertools.cycle([OPTIONS, BEFORE])))
def test_both_operators_are_what_their_schemas_and_fakes_say(layout, dtype, options):
    x, weight = tensors(dtype=dtype)
    x = LAYOUTS[layout](x)
    y, maximum, normalizer = torch.ops.strf_cuda.forward(x, weight, *options)
    grad = torch.ones_like(y, memory_format=torch.contiguous_format)
    torch.library.opcheck(torch.ops.strf_cuda.forward.default, (x, weight, *options))
    torch.library.opcheck(torch.ops.strf_cuda.backward.default, (grad, x, weight, maximum, normalizer, *options))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_direct_call_that_names_no_similarity_is_dot(similarity):
    x, weight = tensors(requires_grad=True)
    named = () if similarity == "dot" else (True,)
    function = functools.partial(factorized_attention, pools=POOLS, pool=KINDS, temperature=2.0, backend="cpu")
    expected = function(x, weight, similarity=similarity)
    y, maximum, normalizer = torch.ops.strf_cuda.forward(x, weight, *BEFORE, *named)
    grad = torch.ones_like(y)
    found = torch.ops.strf_cuda.backward(grad, x.detach(), weight.detach(), maximum, normalizer, *BEFORE, *named)
    assert torch.equal(y, expected)
    for out in (y, expected):
        for gradient, other in zip(found, torch.autograd.grad(out, (x, weight), grad), strict=True):
            assert torch.equal(gradient, other)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_direct_call_with_cosines_and_no_positive_temperature_is_refused(temperature):
    x, weight = tensors()
    with pytest.raises(RuntimeError, match="^the temperature of similarity cosine must be above 0$"):
        torch.ops.strf_cuda.forward(x, weight, *OPTIONS[:2], temperature, False, True)


@pytest.mark.parametrize("call", [attend, raw])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_pass_gradcheck(call, layout):
    x, weight = tensors(requires_grad=True)
    torch.autograd.gradcheck(lambda x, weight: call(LAYOUTS[layout](x), weight), (x, weight))


def test_a_direct_call_has_the_gradients_of_the_function():
    x, weight = tensors(requires_grad=True)
    expected = torch.autograd.grad(loss(x, weight), (x, weight))
    y, maximum, normalizer = torch.ops.strf_cuda.forward(x, weight, *OPTIONS)
    assert not maximum.requires_grad and not normalizer.requires_grad
    found = torch.autograd.grad(y.square().sum(), (x, weight))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_direct_call_without_the_package_is_refused_instead_of_losing_its_gradients():
    script = f"""
import torch
torch.ops.load_library({str(library.FILE)!r})
x, weight = torch.ones(1, 1, 1, 2, 2), torch.ones(1, 1, 1, requires_grad=True)
with torch.no_grad():
    assert torch.ops.strf_cuda.forward(x, weight, [1, 1, 1], [0], 1.0, False)[0].eq(1).all()
try:
    torch.ops.strf_cuda.forward(x, weight, [1, 1, 1], [0], 1.0, False)
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("torch.ops.strf_cuda operators have no gradient of their own: call strf_cuda.")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_gradients_come_for_those_inputs_that_want_them(wanted):
    x, weight = tensors(requires_grad=True)
    expected = torch.autograd.grad(loss(x, weight), (x, weight))
    inputs = [tensor.detach().requires_grad_(want) for tensor, want in zip((x, weight), wanted, strict=True)]
    loss(*inputs).backward()
    for tensor, want, gradient in zip(inputs, wanted, expected, strict=True):
        assert torch.equal(tensor.grad, gradient) if want else tensor.grad is None


def test_nothing_is_recorded_where_no_gradient_is_wanted():
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: held.append(tensor), lambda tensor: tensor):
        with torch.no_grad():
            assert attend(*tensors(requires_grad=True)).grad_fn is None
        with torch.inference_mode():
            assert attend(*tensors()).is_inference()
        assert attend(*tensors()).grad_fn is None
    assert held == []


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_held_for_backward_is_the_input_and_less_than_a_twentieth_more(layout, dtype):
    x = LAYOUTS[layout](torch.randn(8, 128, 4, 32, 16).to(dtype)).requires_grad_()
    weight = torch.randn(4, 8, 128).to(dtype).requires_grad_()
    held = {}

    def hold(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        factorized_attention(x, weight, [(1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3)], backend="cpu")
    assert held.keys() >= {x.data_ptr(), weight.data_ptr()} and len(held) == 4
    assert sum(held.values()) <= 1.05 * x.nbytes


def test_an_input_changed_before_backward_is_noticed():
    x, weight = tensors(requires_grad=True)
    copy = x * 1
    y = attend(copy, weight)
    copy.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_autocast_gives_the_function_the_type_of_the_region_and_the_leaves_their_own():
    x, weight = tensors(dtype=torch.float32, requires_grad=True)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in (x, weight)]
    expected = attend(*halves)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = attend(x, weight)
        found = torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    assert torch.equal(y, expected) and y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(expected, halves, torch.ones_like(y))
    assert all(torch.equal(a.float(), b) for a, b in zip(gradients, found, strict=True))


@pytest.mark.parametrize("call", [attend, raw])
@pytest.mark.parametrize("dims", [(0, None), (2, None), (0, 0), (None, 1), (-1, -1)])
def test_vmap_equals_a_loop(call, dims):
    mapped = []
    for tensor, dim in zip(tensors(), dims, strict=True):
        factors = torch.tensor([1.0, 0.5, -2.0], dtype=tensor.dtype)
        mapped.append(tensor if dim is None else torch.stack([tensor * factor for factor in factors], dim))
    out = torch.func.vmap(call, in_dims=dims)(*mapped)
    for index in range(3):
        one = [tensor if dim is None else tensor.select(dim, index) for tensor, dim in zip(mapped, dims, strict=True)]
        torch.testing.assert_close(out[index], call(*one), rtol=1e-13, atol=1e-13)


def test_func_grad_is_the_gradient():
    x, weight = tensors(requires_grad=True)
    expected = torch.autograd.grad(loss(x, weight), (x, weight))
    for found in (
        torch.func.grad(loss, argnums=(0, 1))(x.detach(), weight.detach()),
        torch.func.vjp(loss, x.detach(), weight.detach())[1](torch.ones((), dtype=x.dtype)),
        torch.func.jacrev(loss, argnums=(0, 1))(x.detach(), weight.detach()),
    ):
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_vmap_over_func_grad_gives_the_gradients_of_each_sample():
    x, weight = tensors(batch=3)
    samples = x[:, None]
    gradients = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None))(samples, weight)
    for index, sample in enumerate(samples):
        for all_of_them, one in zip(gradients, torch.func.grad(loss, argnums=(0, 1))(sample, weight), strict=True):
            torch.testing.assert_close(all_of_them[index], one, rtol=1e-12, atol=1e-12)


def test_func_grad_over_vmap_and_nested_vmap():
    x, weight = tensors(batch=4)
    expected = torch.func.grad(loss)(x, weight)
    twice = torch.func.vmap(torch.func.vmap(loss, in_dims=(0, None)), in_dims=(0, None))
    found = torch.func.grad(lambda x: twice(x.reshape(2, 2, 1, *x.shape[1:]), weight).sum())(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_many_gradients_at_once_are_those_one_by_one():
    x, weight = tensors(batch=1, requires_grad=True)
    y = attend(x, weight)
    directions = torch.randn(3, *y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    together = torch.autograd.grad(y, (x, weight), directions, is_grads_batched=True, retain_graph=True)
    for index, direction in enumerate(directions):
        for many, one in zip(together, torch.autograd.grad(y, (x, weight), direction, retain_graph=True), strict=True):
            torch.testing.assert_close(many[index], one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call", [attend, raw])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_second_derivatives_are_refused_in_one_sentence(call, wanted):
    inputs = [tensor.requires_grad_(want) for tensor, want in zip(tensors(), wanted, strict=True)]
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    first = torch.autograd.grad(call(*inputs).square().sum(), leaves, create_graph=True)
    with pytest.raises(InputError, match=BACKWARD_ONCE):
        sum(gradient.square().sum() for gradient in first).backward()


@pytest.mark.parametrize("call", [attend, raw])
def test_a_gradient_penalty_with_a_constant_grad_output_is_refused_not_without_gradient(call):
    x, weight = tensors(requires_grad=True)
    y = call(x, weight)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    with pytest.raises(InputError, match=BACKWARD_ONCE):
        (gradient.norm() - 1).square().backward()


def test_a_gradient_penalty_works_on_the_reference_as_the_sentence_says():
    x, weight = tensors(requires_grad=True)
    y = attend(x, weight, backend="reference")
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    (gradient.norm() - 1).square().backward()
    assert x.grad.abs().sum() > 0 and weight.grad.abs().sum() > 0


def test_second_derivatives_of_func_grad_are_refused():
    x, weight = tensors()
    with pytest.raises(InputError, match=BACKWARD_ONCE):
        torch.func.grad(lambda x: torch.func.grad(loss)(x, weight).square().sum())(x)


@pytest.mark.parametrize("call", [attend, raw])
@pytest.mark.parametrize("record", [False, True])
def test_forward_mode_is_refused_not_lost(call, record):
    x, weight = tensors()
    weight.requires_grad_(record)
    with forward_ad.dual_level(), pytest.raises(InputError, match=REVERSE_ONLY):
        call(forward_ad.make_dual(x, torch.ones_like(x)), weight)


def test_jvp_of_torch_func_is_refused():
    x, weight = tensors()
    with pytest.raises(InputError, match=REVERSE_ONLY):
        torch.func.jvp(lambda x: attend(x, weight), (x,), (torch.ones_like(x),))


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacrev, torch.func.jacfwd])
def test_a_direct_call_under_a_derivative_of_torch_func_is_refused_in_one_sentence(transform):
    x, weight = tensors()
    with pytest.raises(InputError, match=r"^strf_cuda\.forward\.default cannot be differentiated inside torch\.func"):
        transform(lambda x: raw(x, weight).sum())(x)


@pytest.fixture(scope="module")
def other():
    """A second pair of operators, written in Python, and the batches of the calls that their kernels got."""
    lib, batches = torch.library.Library("strf_cuda_test", "FRAGMENT"), []

    def kernel(operator, place_of_x):
        def run(*arguments):
            batches.append(len(arguments[place_of_x]))
            assert torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype == torch.float32, "autocast reached the kernel"
            return operator(*arguments)

        return run

    for name, place_of_x in (("forward", 0), ("backward", 1)):
        lib.define(name + library.SCHEMAS[name])
        lib.impl(name, kernel(getattr(torch.ops.strf_cuda, name).default, place_of_x), "CPU")
    ops = torch.ops.strf_cuda_test
    pair = native.register(native.Operators(ops.forward.default, ops.backward.default), lib)

    def call(x, weight):
        batches.clear()
        return native.attention(pair, x, weight, *OPTIONS)

    call.batches, call.lib = batches, lib
    return call


def test_another_pair_of_operators_is_served_in_the_same_way(other):
    x, weight = tensors(requires_grad=True)
    torch.autograd.gradcheck(other, (x, weight))
    torch.library.opcheck(torch.ops.strf_cuda_test.forward.default, (x, weight, *OPTIONS))
    samples = torch.func.vmap(torch.func.grad(lambda x, w: other(x, w).sum()), in_dims=(0, None))(x[:, None], weight)
    assert samples.shape == (2, 1, *x.shape[1:])
    (gradient,) = torch.autograd.grad(other(x, weight).sum(), x, create_graph=True)
    with pytest.raises(InputError, match=BACKWARD_ONCE):
        gradient.sum().backward()


def test_autocast_does_not_reach_what_a_kernel_asks_of_pytorch(other):
    x, weight = tensors(dtype=torch.float32, requires_grad=True)
    direct = torch.ops.strf_cuda_test.forward
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for y in (other(x, weight), other(x.detach(), weight.detach()), direct(x, weight, *OPTIONS)[0]):
            assert y.dtype == torch.float32
            if y.requires_grad:
                y.sum().backward()
        torch.func.grad(lambda x: other(x, weight).sum())(x)


def test_vmap_over_the_input_is_one_call_over_a_larger_batch(other):
    x, weight = tensors(batch=6)
    out = torch.func.vmap(other, in_dims=(1, None))(x.unflatten(0, (2, 3)), weight)
    assert other.batches == [6]
    assert torch.equal(out.transpose(0, 1).flatten(0, 1), attend(x, weight))


def test_the_forward_operator_is_called_once_and_the_backward_once(other):
    x, weight = tensors(batch=3, requires_grad=True)
    other(x, weight).sum().backward()
    assert other.batches == [3, 3]


def test_memory_that_does_not_suffice_is_told_in_words():
    """The stable interface of PyTorch says only which call failed, and where in the source."""
    x, weight = torch.zeros(1).expand(2**20, 4, 2**20, 32, 32), tensors(dtype=torch.float32)[1]
    with pytest.raises(RuntimeError, match=r"^out of memory: cannot allocate a tensor of the sizes \[1048576, 4, 104"):
        raw(x, weight)
