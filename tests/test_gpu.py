"""The backends that run on a GPU, there: CUDA graphs, streams, devices, TF32, autocast, compilation, sizes.

That they compute the equations, take every layout and refuse what they must is shown by test_operator*.py, where they
are among the backends. What is Triton's alone is in test_gpu_triton.py.
"""

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import literal
import literal_tf32
from comparison import Case, Operator, differentiate, float32_precision
from gpu_backends import NOT_ON_A_GPU, ON_A_GPU, REASONS
from strf_cuda import STRF, InputError, factorized_attention
from strf_cuda.backends import choice, cuda, library, native
from test_choice import SETTINGS, precision  # noqa: F401, a fixture
from test_operator import CASES, LAYOUTS, what_is_wrong
from tolerance import assert_equal_up_to_rounding

if not ON_A_GPU:
    pytest.skip(f"no backend runs on a GPU here: {NOT_ON_A_GPU}", allow_module_level=True)
pytestmark = pytest.mark.gpu

DOT = Operator(((1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3)), ("max",) * 4)
COSINE = dataclasses.replace(DOT, temperature=16.0, similarity="cosine")
MIXED = dataclasses.replace(
    COSINE, windows=((1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)), kinds=("max", "avg", "avg", "max")
)
OPTIONS = ([size for window in MIXED.windows for size in window], [native.KINDS[kind] for kind in MIXED.kinds], 16.0)
PAPER_SIZES = {
    "stage 2": Case((2, 128, 4, 32, 16), 8, COSINE),
    "stage 2, dot": Case((2, 128, 4, 32, 16), 8, DOT),
    "stage 3": Case((2, 256, 4, 16, 8), 16, COSINE),
    "stage 4, dot": Case((2, 512, 4, 16, 8), 32, DOT),
    "stage 2 before its stride": Case((1, 128, 4, 64, 32), 8, COSINE),
    "stage 2 before its stride, dot": Case((1, 128, 4, 64, 32), 8, DOT),
}
PRECISIONS = [*((dtype, "highest") for dtype in native.DTYPES), (torch.float32, "high")]


def over(pairs):
    return pytest.mark.parametrize(("dtype", "products"), pairs, ids=lambda value: str(value).removeprefix("torch."))


precisions = over(PRECISIONS)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(params=ON_A_GPU)
def backend(request):
    return request.param


@pytest.fixture
def attend(backend):
    """x, weight -> y of the operator with a path of each kind."""
    return MIXED.on(backend)


def make(shape=(3, 32, 4, 14, 7), reduced=4, dtype=torch.float32, layout="contiguous", device="cuda", operator=MIXED):
    x, weight, grad = (tensor.to(device) for tensor in Case(shape, reduced, operator).inputs(dtype))
    return x.contiguous(memory_format=LAYOUTS[layout]), weight, grad.contiguous(memory_format=LAYOUTS[layout])


def assert_same_bits(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


# ---- Exactness ------------------------------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_with_tf32_it_is_within_twice_the_error_of_plain_pytorch_with_tf32(backend, case, layout):
    def function(x, weight):
        with float32_precision("high"):
            return case.operator.on(backend)(x, weight)

    assert not what_is_wrong(case, torch.float32, layout, "cuda", function, literal_tf32.factorized_attention)


def _on_the_gpu(function):
    """Literal code that computes on the GPU, for sizes that are slow on a CPU."""

    def run(x, weight, *options):
        return function(x.cuda(), weight.cuda(), *options).cpu()

    return run


ON_THE_GPU = {
    "highest": _on_the_gpu(literal.factorized_attention),
    "high": _on_the_gpu(literal_tf32.factorized_attention),
}


# The truth for float64, plain loops in long double, takes too long at these sizes.
@over([pair for pair in PRECISIONS if pair[0] != torch.float64])
@layouts
@pytest.mark.parametrize("case", PAPER_SIZES.values(), ids=PAPER_SIZES)
def test_at_the_papers_sizes_it_is_within_twice_the_error_of_plain_pytorch(backend, case, layout, dtype, products):
    def function(x, weight):
        with float32_precision(products):
            return case.operator.on(backend)(x, weight)

    assert not what_is_wrong(case, dtype, layout, "cuda", function, ON_THE_GPU[products])


@pytest.mark.parametrize("setting", SETTINGS)
def test_tf32_is_allowed_where_pytorch_itself_uses_it(precision, setting):  # noqa: F811
    precision(setting)
    almost_one = torch.full((1024, 1024), 1 + 2**-13, device="cuda")  # which TF32 rounds to 1
    rounded = torch.mm(almost_one, torch.ones_like(almost_one)).eq(1024).all().item()
    assert cuda.tf32_allowed() is rounded is SETTINGS[setting]


def test_the_backward_pass_does_as_its_forward_did(attend):
    x, weight, grad = make()
    expected = {}
    for products in ("highest", "high"):
        with float32_precision(products):
            expected[products] = differentiate(attend, x, weight, grad)
    assert not torch.equal(expected["highest"][1], expected["high"][1])
    for products, other in (("highest", "high"), ("high", "highest")):
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with float32_precision(products):
            y = attend(*leaves)
        with float32_precision(other):
            assert_same_bits(torch.autograd.grad(y, leaves, grad), expected[products][1:])


@layouts
def test_gradients_pass_gradcheck(attend, layout):
    x, weight, _ = make((2, 4, 3, 3, 2), 2, torch.float64, layout)
    torch.autograd.gradcheck(attend, (x.requires_grad_(), weight.requires_grad_()))


# ---- As PyTorch sees the operators ----------------------------------------------------------------------------------


@precisions
@layouts
def test_both_operators_are_what_their_schemas_and_fakes_say(backend, layout, dtype, products):
    forward, backward = choice.OPERATORS[backend]
    x, weight, grad = make((2, 8, 3, 5, 4), 2, dtype, layout)
    options = (*OPTIONS, products == "high", layout == "contiguous")  # by cosines in one layout, by dot in the other
    _, maximum, normalizer = forward(x, weight, *options)
    torch.library.opcheck(forward, (x, weight, *options))
    torch.library.opcheck(backward, (grad, x, weight, maximum, normalizer, *options))


SEVERAL_DEVICES = {
    "cuda": (
        "^weight must be on device cuda:0, as x is",
        r"^maximum is \[2, 4, 20\] of float32, but it must be .* on device cuda:0",
    ),
    "triton": (
        r"^weight is \[4, 2, 8\] of torch.float32 on cpu, but it must be .* as x is",
        r"^maximum is \[2, 4, 20\] of torch.float32 on cpu, but it must be \[2, 4, 20\] as the forward operator",
    ),
}


def test_tensors_on_several_devices_are_refused_with_their_names(backend):
    forward, backward = choice.OPERATORS[backend]
    about_weight, about_maximum = SEVERAL_DEVICES[backend]
    x, weight, grad = make((2, 8, 3, 5, 4), 2)
    y, maximum, normalizer = forward(x, weight, *OPTIONS, False, True)
    with pytest.raises((RuntimeError, InputError), match=about_weight):
        forward(x, weight.cpu(), *OPTIONS, False, True)
    with pytest.raises((RuntimeError, InputError), match=about_maximum):
        backward(grad, x, weight, maximum.cpu(), normalizer, *OPTIONS, False, True)
    with pytest.raises(InputError, match="backend cpu takes tensors on the CPU, but x is on cuda:0"):
        factorized_attention(x, weight, MIXED.windows, backend="cpu")
    if backend == ON_A_GPU[0]:
        assert torch.equal(factorized_attention(x, weight, MIXED.windows, pool=MIXED.kinds), y)  # by "auto"


@pytest.mark.skipif("cuda" not in ON_A_GPU, reason=str(REASONS["cuda"]))
def test_a_device_that_is_not_there_is_one_sentence_and_harms_nothing():
    assert library.cuda_code_runs(torch.cuda.device_count()).startswith("CUDA says: invalid device ordinal")
    assert library.cuda_code_runs(0) is None
    x, weight, grad = make()
    assert differentiate(MIXED.on("cuda"), x, weight, grad)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_the_function_the_type_of_the_region_and_the_leaves_their_own(attend, dtype):
    x, weight, grad = make()
    expected = differentiate(attend, x.to(dtype), weight.to(dtype), grad.to(dtype))
    leaves = x.requires_grad_(), weight.requires_grad_()
    with torch.autocast("cuda", dtype=dtype):
        y = attend(*leaves)
    y.backward(grad.to(dtype))
    assert y.dtype == dtype and all(leaf.grad.dtype == torch.float32 for leaf in leaves)
    assert_same_bits((y, *(leaf.grad.to(dtype) for leaf in leaves)), expected)


@layouts
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_unit_is_one_graph_with_the_same_values(backend, mode, layout):
    torch.compiler.reset()
    module = _between_convolutions(backend)
    compiled = torch.compile(module, fullgraph=True, mode=mode)
    x, _, grad = make(layout=layout)
    for _ in range(3):  # with "reduce-overhead" the second call is recorded and the third one replayed
        torch.compiler.cudagraph_mark_step_begin()
        _assert_same_gradients(compiled, module, x, grad)


def test_a_compiled_unit_takes_changing_sizes_with_one_more_graph_and_no_third(backend):
    torch.compiler.reset()
    counter = CompileCounterWithBackend("inductor")
    module = _between_convolutions(backend)
    compiled = torch.compile(module, fullgraph=True, backend=counter)
    for batch, height in ((3, 14), (5, 9), (2, 20), (7, 11)):
        x, _, grad = make((batch, 32, 4, height, 7))
        _assert_same_gradients(compiled, module, x, grad)
    assert counter.frame_count == 2


def _between_convolutions(backend):
    torch.manual_seed(0)
    unit = STRF(32, reduction=8, backend=backend)
    return torch.nn.Sequential(torch.nn.ReLU(), unit, torch.nn.Conv3d(32, 32, 1), torch.nn.ReLU()).cuda()


def _assert_same_gradients(compiled, module, x, grad):
    found, expected = (
        [result.clone() for result in _all_gradients(function, module, x, grad)] for function in (compiled, module)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


def _all_gradients(function, module, x, grad):
    x = x.detach().requires_grad_()
    y = function(x)
    return y, *torch.autograd.grad(y, (x, *module.parameters()), grad)


# ---- Streams, graphs, devices ---------------------------------------------------------------------------------------


def _both_passes(attend, x, weight, grad):
    x, weight = x.requires_grad_(), weight.requires_grad_()
    y = attend(x, weight)
    return y.detach(), *torch.autograd.grad(y, (x, weight), grad)


@torch.no_grad()
def _forward_alone(attend, x, weight, grad):
    return (attend(x, weight),)


@precisions
@layouts
@pytest.mark.parametrize("call", [_forward_alone, _both_passes])
def test_a_cuda_graph_computes_what_the_calls_would(attend, call, layout, dtype, products):
    static = [tensor.clone() for tensor in make(dtype=dtype, layout=layout)]
    with float32_precision(products):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            call(attend, *static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = call(attend, *static)
        for factor in (1.0, -0.5):
            others = [factor * tensor for tensor in make(dtype=dtype, layout=layout)]
            with torch.no_grad():
                for place, values in zip(static, others, strict=True):
                    place.copy_(values)
            for result in results:
                result.fill_(float("nan"))
            graph.replay()
            assert_same_bits(results, call(attend, *others))


@pytest.mark.skipif("cuda" not in ON_A_GPU, reason=str(REASONS["cuda"]))
def test_the_first_call_of_a_process_may_be_the_one_that_is_captured():
    """By the CUDA kernels, which the driver has loaded with the library; Triton's: see test_gpu_triton.py."""
    script = """
import torch
from strf_cuda import factorized_attention
x, weight = torch.randn(2, 32, 2, 8, 4, device="cuda"), torch.randn(1, 4, 32, device="cuda") / 8
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    y = factorized_attention(x, weight, [(1, 3, 3)], backend="cuda")
y.fill_(float("nan"))
graph.replay()
assert torch.equal(y, factorized_attention(x, weight, [(1, 3, 3)], backend="cuda"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_work_is_put_on_the_current_stream_and_not_waited_for(attend):
    x, weight, grad = make()
    expected = differentiate(attend, x, weight, grad)
    late, stream, done = torch.zeros_like(x), torch.cuda.Stream(), torch.cuda.Event()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        differentiate(attend, late, weight, grad)  # takes the memory that the second call is given again
        torch.cuda.synchronize()
        torch.cuda._sleep(1_000_000_000)  # cycles: about half a second
        late.copy_(x)
        found = differentiate(attend, late, weight, grad)
        done.record()
        assert not done.query()
    done.synchronize()
    assert_same_bits(found, expected)


def test_calls_on_two_streams_do_not_meet(attend):
    problems = [make(), make((2, 16, 3, 11, 13), 2)]
    expected = [differentiate(attend, *problem) for problem in problems]
    streams = [torch.cuda.Stream() for _ in problems]
    torch.cuda.synchronize()
    found = [[], []]
    for _ in range(20):
        for problem, stream, results in zip(problems, streams, found, strict=True):
            with torch.cuda.stream(stream):
                results.append(differentiate(attend, *problem))
    torch.cuda.synchronize()
    for results, right in zip(found, expected, strict=True):
        for result in results:
            assert_same_bits(result, right)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second CUDA device")
def test_tensors_on_another_device_than_the_current_one(attend):
    expected = differentiate(attend, *make())
    x, weight, grad = make(device="cuda:1")
    found = differentiate(attend, x, weight, grad)
    assert torch.cuda.current_device() == 0 and {result.device for result in found} == {x.device}
    assert_same_bits([result.cpu() for result in found], [result.cpu() for result in expected])
    assert_same_bits(differentiate(attend, *make()), expected)


# ---- Determinism, faults and sizes ----------------------------------------------------------------------------------


@precisions
@pytest.mark.parametrize("case", PAPER_SIZES.values(), ids=PAPER_SIZES)
def test_a_hundred_calls_give_the_same_bits(backend, case, dtype, products):
    x, weight, grad = (tensor.cuda() for tensor in case.inputs(dtype))
    with float32_precision(products):
        first = differentiate(case.operator.on(backend), x, weight, grad)
        for _ in range(100):
            assert_same_bits(differentiate(case.operator.on(backend), x, weight, grad), first)


@precisions
@layouts
def test_nan_stays_in_its_sample_in_every_type(attend, layout, dtype, products):
    x, weight, grad = make(dtype=dtype, layout=layout)
    with float32_precision(products):
        clean = differentiate(attend, x, weight, grad)
        x[1, 2, 1, 3, 0] = float("nan")
        y, grad_x, grad_weight = differentiate(attend, x, weight, grad)
    assert_same_bits((y[[0, 2]], grad_x[[0, 2]]), (clean[0][[0, 2]], clean[1][[0, 2]]))
    assert y[1].isnan().all() and grad_x[1].isnan().all() and grad_weight.isnan().all()


@layouts
def test_more_samples_than_a_grid_has_rows(attend, layout):
    """70,000 is more than the y and z of a grid reach."""
    small = make((7, 8, 2, 3, 2), 2, torch.float64, layout)
    x, grad = (tensor.repeat(10_000, 1, 1, 1, 1) for tensor in (small[0], small[2]))
    x, grad = (tensor.contiguous(memory_format=LAYOUTS[layout]) for tensor in (x, grad))
    y, grad_x, grad_weight = differentiate(attend, x, small[1], grad)
    expected_y, expected_x, expected_weight = differentiate(attend, *small)
    repeated = [right.expand(10_000, *right.shape).flatten(0, 1) for right in (expected_y, expected_x)]
    assert_equal_up_to_rounding((y, grad_x), repeated)
    torch.testing.assert_close(
        grad_weight, 10_000 * expected_weight, rtol=0, atol=1e-9 * grad_weight.abs().max().item()
    )
