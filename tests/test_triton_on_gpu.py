"""What is Triton's alone on a GPU: compiling once, loading before a capture, agreeing with the CUDA kernels."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from comparison import Case, Operator, differentiate, float32_precision
from gpu_backends import ON_A_GPU, REASONS

if "triton" not in ON_A_GPU:
    pytest.skip(f"the Triton kernels have no GPU here: {REASONS['triton']}", allow_module_level=True)
pytestmark = pytest.mark.gpu

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
DOT = Operator(((1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)), ("max", "avg", "avg", "max"))
OPERATORS = {
    "contiguous": dataclasses.replace(DOT, temperature=16.0, similarity="cosine"),
    "channels-last": DOT,
}
# The spacing of numbers near 1 in which operands are held.
SPACING = {
    (torch.float64, "highest"): 2.0**-52,
    (torch.float32, "highest"): 2.0**-23,
    (torch.float32, "high"): 2.0**-10,
    (torch.float16, "highest"): 2.0**-10,
    (torch.bfloat16, "highest"): 2.0**-7,
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def make(batch, layout, dtype=torch.float32):
    """x, weight and grad of one size; the reduction is exact, so that maxima do not change places."""
    x, weight, grad = (t.cuda() for t in Case((batch, 48, 3, 9, 10), 4, DOT, "grid").inputs(dtype))
    return x.contiguous(memory_format=LAYOUTS[layout]), weight, grad.contiguous(memory_format=LAYOUTS[layout])


@pytest.fixture
def compiled(monkeypatch):
    """The names of the kernels that are compiled from here on, or loaded from Triton's cache on disk."""
    import triton

    names = []
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", lambda *, fn, **_: names.append(fn.name))
    return names


@layouts
def test_another_batch_compiles_nothing_and_a_second_call_neither(layout, compiled):
    differentiate(OPERATORS[layout].on("triton"), *make(3, layout))
    compiled.clear()
    for batch in (3, 1, 5, 16, 33):
        differentiate(OPERATORS[layout].on("triton"), *make(batch, layout))
    assert compiled == []


def test_the_hook_that_counts_sees_kernels_that_are_new(compiled):
    from strf_cuda.backends.triton_kernels import pools

    pools.pool.device_caches.clear()
    differentiate(DOT.on("triton"), *make(2, "contiguous"))
    assert len(compiled) == 2 and all(name.endswith("pool") for name in compiled)  # with and without places


def test_after_one_call_other_batches_are_captured_as_they_are():
    attend = OPERATORS["contiguous"].on("triton")
    differentiate(attend, *make(2, "contiguous"))
    static = make(5, "contiguous")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = differentiate(attend, *static)
    for result in results:
        result.fill_(float("nan"))
    graph.replay()
    for one, other in zip(results, differentiate(attend, *static), strict=True):
        assert torch.equal(one, other)


def test_a_first_call_inside_a_capture_is_an_error_or_right():
    """Triton loads a kernel when it is first launched, which CUDA forbids during a capture: call once before."""
    script = """
import torch
from strf_cuda import factorized_attention
x, weight = torch.randn(2, 32, 2, 8, 4, device="cuda"), torch.randn(1, 4, 32, device="cuda") / 8
graph = torch.cuda.CUDAGraph()
try:
    with torch.cuda.graph(graph):
        y = factorized_attention(x, weight, [(1, 3, 3)], backend="triton")
except Exception as error:
    while error.__context__:
        error = error.__context__
    assert "captur" in str(error), error
    print("an error")
else:
    y.fill_(float("nan"))
    graph.replay()
    assert torch.equal(y, factorized_attention(x, weight, [(1, 3, 3)], backend="triton"))
    print("right")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() in ("an error", "right"), done.stderr


@pytest.mark.skipif("cuda" not in ON_A_GPU, reason=str(REASONS["cuda"]))
@layouts
@pytest.mark.parametrize(("dtype", "products"), SPACING, ids=str)
def test_it_agrees_with_the_cuda_kernels(layout, dtype, products):
    with float32_precision(products):
        inputs = make(3, layout, dtype)
        attend = OPERATORS[layout].on
        pairs = zip(*(differentiate(attend(name), *inputs) for name in ("triton", "cuda")), strict=True)
    for one, other in pairs:
        error = (one.double() - other.double()).norm() / other.double().norm()
        assert error <= 16 * SPACING[dtype, products]
