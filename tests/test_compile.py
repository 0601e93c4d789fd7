"""torch.compile and torch.export of the operator and of the STRF unit: one graph, the same values, no recompilation."""

import io

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from strf_cuda import STRF, InputError, backends, factorized_attention
from strf_cuda.modules import INTEGRATIONS

NATIVE = pytest.param("cpu", marks=pytest.mark.skipif(backends()["cpu"] != "usable", reason=backends()["cpu"]))
both = pytest.mark.parametrize("backend", [NATIVE, "reference"])
native = pytest.mark.parametrize("backend", [NATIVE])


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()


def unit(backend, dtype=torch.float64, pool=("max", "avg"), **options):
    torch.manual_seed(0)
    return STRF(8, reduction=4, pool=pool, backend=backend, **options).to(dtype)


def clip(batch=2, height=4, dtype=torch.float64, channels_last=False):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 8, 3, height, 3, generator=random, dtype=torch.float64).to(dtype)
    return (x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x).requires_grad_()


def run(function, module, x):
    """y and the gradients of x and of every parameter."""
    y = function(x)
    return y.detach(), *torch.autograd.grad(y.square().sum(), (x, *module.parameters()))


def compiled(function, **options):
    return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})


def assert_same(found, expected, **tolerances):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerances)
        assert one.stride() == other.stride()


@both
@pytest.mark.parametrize(("integration", "similarity"), zip(INTEGRATIONS, ("cosine", "dot", "cosine"), strict=True))
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_unit_is_one_graph_forward_and_backward(backend, integration, similarity, channels_last):
    module, x = unit(backend, integration=integration, similarity=similarity), clip(channels_last=channels_last)
    assert_same(run(compiled(module), module, x), run(module, module, x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert_same([compiled(module)(x)], [module(x)], rtol=1e-12, atol=1e-12)


@native
@pytest.mark.parametrize("channels_last", [False, True])
def test_inductor_keeps_values_and_layout_between_convolutions(backend, channels_last):
    """Inductor may choose strides between operators, but those of the operator's input decide its output's."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv3d(8, 8, 3, padding=1), torch.nn.ReLU(), unit(backend), torch.nn.Conv3d(8, 8, 1)]
    module, x = torch.nn.Sequential(*layers).float(), clip(dtype=torch.float32, channels_last=channels_last)
    found = run(compiled(module, backend="inductor"), module, x)
    for one, other in zip(found, run(module, module, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@both
def test_shapes_that_change_need_one_more_graph_and_no_third(backend):
    counter = CompileCounterWithBackend("aot_eager")
    module = unit(backend)
    function = compiled(module, backend=counter)
    for batch, height in [(2, 4), (3, 5), (5, 7), (4, 6)]:
        x = clip(batch, height)
        assert_same(run(function, module, x), run(module, module, x), rtol=1e-12, atol=1e-12)
    assert counter.frame_count == 2


@both
def test_the_same_shapes_are_compiled_once(backend):
    counter = CompileCounterWithBackend("aot_eager")
    module = unit(backend)
    function = compiled(module, backend=counter)
    for _ in range(3):
        run(function, module, clip())
    assert counter.frame_count == 1


@both
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_temperature_that_changes_is_traced(backend, similarity):
    def function(x, weight, temperature):
        options = {"similarity": similarity, "temperature": temperature, "backend": backend}
        return factorized_attention(x, weight, [(1, 3, 3)], **options)

    x, weight = clip().detach(), torch.full((1, 2, 8), 0.1, dtype=torch.float64)
    once = compiled(function)
    for temperature in (4.0, 2.5, 1.0):
        torch.testing.assert_close(once(x, weight, temperature), function(x, weight, temperature))


@native
def test_the_operator_is_a_single_node(backend):
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    module = unit(backend, integration="parallel")
    compiled(module, backend=keep)(clip())
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert [name for name in called if "getitem" not in name] == ["strf_cuda.forward.default"]


@both
def test_autocast_in_a_compiled_region(backend):
    module, x = unit(backend, dtype=torch.float32, pool="max"), clip(dtype=torch.float32)

    def function(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x)

    found, expected = (run(f, module, x) for f in (compiled(function), function))
    assert found[0].dtype == torch.bfloat16 and found[1].dtype == torch.float32
    assert_same(found, expected, rtol=0, atol=0)


@both
def test_autocast_around_a_compiled_unit(backend):
    module, x = unit(backend, dtype=torch.float32, pool="max"), clip(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(run(compiled(module), module, x), run(module, module, x), rtol=0, atol=0)


@both
def test_recomputation_is_compiled_too(backend):
    module, plain, x = unit(backend, recompute=True), unit(backend), clip()
    assert_same(run(compiled(module), module, x), run(plain, plain, x), rtol=1e-12, atol=1e-12)


@native
def test_vmap_is_compiled(backend):
    module, x = unit(backend), clip(batch=6).detach()
    function = torch.func.vmap(module)
    torch.testing.assert_close(compiled(function)(x.unflatten(0, (3, 2))).flatten(0, 1), module(x))


@native
def test_func_grad_inside_a_compiled_region_is_refused_in_words(backend):
    module, x = unit(backend), clip().detach()
    with pytest.raises(Exception, match="cannot be differentiated inside torch.func .* outside torch.compile"):
        compiled(torch.func.grad(lambda x: module(x).sum()))(x)


@native
def test_second_derivatives_of_a_compiled_unit_are_refused(backend):
    module, x = unit(backend), clip()
    y = compiled(module)(x)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0].sum().backward()


def test_bad_input_is_refused_by_a_compiled_function_as_well():
    function = torch.compile(lambda x, w: factorized_attention(x, w, [(1, 1, 1)]), backend="eager")
    with pytest.raises(InputError, match=r"x has shape \(2, 8, 4, 3\), but it must be"):
        function(torch.zeros(2, 8, 4, 3), torch.zeros(1, 2, 8))


@both
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_exported_unit_is_saved_loaded_and_still_trains(backend, strict, channels_last):
    module, x = unit(backend), clip(channels_last=channels_last)
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (x.detach(),), strict=strict), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    assert_same(run(loaded, loaded, x), run(module, module, x), rtol=1e-12, atol=1e-12)


class Before(torch.nn.Module):
    """Calls the operator as programs do that were exported when dot was the only similarity."""

    def forward(self, x, weight):
        return torch.ops.strf_cuda.forward(x, weight, [1, 3, 3], [0], 4.0, False)[0]


@native
def test_a_program_that_names_no_similarity_is_dot(backend):
    x, weight = clip().detach(), torch.full((1, 2, 8), 0.1, dtype=torch.float64)
    file = io.BytesIO()
    torch.export.save(torch.export.export(Before(), (x, weight)), file)
    file.seek(0)
    program = torch.export.load(file)
    (call,) = [node for node in program.graph.nodes if str(node.target) == "strf_cuda.forward.default"]
    assert len(call.args) == 6 and not call.kwargs
    expected = factorized_attention(x, weight, [(1, 3, 3)], similarity="dot", backend=backend)
    assert torch.equal(program.module()(x, weight), expected)


@native
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_unit_takes_other_batches_and_sizes(backend, strict):
    module = unit(backend)
    sizes = {0: torch.export.Dim("batch", min=2, max=64), 3: torch.export.Dim("height", min=2, max=64)}
    program = torch.export.export(module, (clip().detach(),), dynamic_shapes=({**sizes},), strict=strict)
    x = clip(batch=5, height=7)
    assert_same(run(program.module(), module, x)[:2], run(module, module, x)[:2], rtol=1e-12, atol=1e-12)
