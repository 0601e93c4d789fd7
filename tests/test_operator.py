"""Every backend computes the operator and its gradients: one comparison over types, layouts, pools, paths and sizes.

Where Triton's kernels are interpreted, which takes long, they run in one order of the channels only. The literal code
keeps its several orders, so its error, and with it what is allowed, is found as everywhere else; but of the kernels'
own errors the one order shows less than several would.
"""

import dataclasses
import functools
import itertools
import shutil

import pytest
import torch

import literal
from comparison import (
    BACKENDS,
    INTERPRETED,
    Case,
    Operator,
    allowances,
    assert_layout_of,
    complaints,
    device,
    differentiate,
    in_orders,
    number_of_threads,
    on_every_backend,
)
from strf_cuda import STRF, backends

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}


def _dot(windows, kinds, temperature=4.0):
    return Operator(windows, (kinds,) * len(windows) if isinstance(kinds, str) else kinds, temperature)


def _cosine(windows, kinds, temperature=16.0):
    return dataclasses.replace(_dot(windows, kinds, temperature), similarity="cosine")


PAPER = ((1, 1, 1), (3, 1, 1), (1, 1, 1), (1, 3, 3))
MIXED = ("max", "max", "avg", "avg")
CASES = {
    "N1-T1": Case((3, 5, 1, 1, 1), 1, _dot(((1, 1, 1),), "max")),
    "N1-T4": Case((3, 8, 4, 1, 1), 3, _dot(((1, 1, 1), (3, 1, 1), (5, 1, 1), (1, 3, 3)), "avg")),
    "N2-T5": Case((8, 24, 5, 2, 1), 3, _dot(((3, 1, 1), (1, 3, 3)), ("avg", "max"))),
    "N6-C520": Case((2, 520, 1, 3, 2), 1, _dot(((1, 3, 1),), "avg")),
    "N15-C2048": Case((1, 2048, 1, 5, 3), 16, _cosine(PAPER, "avg")),
    "N15": Case((2, 19, 2, 5, 3), 3, _dot(((1, 5, 5), (3, 3, 3), (1, 1, 1)), "max")),
    "N15-E280": Case((1, 70, 4, 3, 5), 70, _cosine(((3, 1, 1), (1, 3, 3)), "max")),
    "N31": Case((2, 20, 3, 31, 1), 8, _cosine(((5, 1, 1),), "avg")),
    "N33": Case((6, 12, 4, 11, 3), 1, _dot(PAPER, MIXED)),
    "N98": Case((2, 40, 4, 14, 7), 8, _dot(PAPER, "max")),
    "N98-avg": Case((1, 24, 3, 14, 7), 3, _cosine(PAPER, "avg")),
    "N127": Case((1, 37, 2, 127, 1), 3, _cosine(((3, 3, 3),), "max")),
    "N128": Case((2, 24, 4, 16, 8), 8, _dot(PAPER, ("avg", "avg", "max", "max"))),
    "N130": Case((2, 12, 5, 13, 10), 3, _cosine(((1, 5, 5), (5, 1, 1)), ("avg", "max"))),
    "N260-T1": Case((2, 12, 1, 20, 13), 4, _cosine(((3, 3, 3), (1, 1, 1)), "max")),
    "N521": Case((1, 8, 1, 1, 521), 2, _cosine(((1, 1, 5), (1, 3, 3)), ("max", "avg"))),
    "wider-than-the-map": Case((4, 22, 2, 3, 2), 3, _cosine(((7, 1, 1), (1, 9, 9), (5, 7, 7)), ("max", "avg", "max"))),
    "large-logits": Case((2, 24, 4, 14, 7), 8, _dot(PAPER, "max"), values="nearly equal", logits=300.0),
    "large-logits-avg": Case((2, 12, 3, 11, 3), 3, _dot(PAPER, "avg"), values="nearly equal", logits=300.0),
    "ties": Case((2, 40, 4, 14, 7), 8, _cosine(PAPER, "max"), values="grid"),
    "ties-wide": Case((2, 19, 5, 7, 5), 3, _dot(((5, 1, 1), (1, 5, 5), (3, 3, 3)), "max"), values="grid"),
    "temperature-0": Case((2, 8, 3, 5, 3), 2, _dot(PAPER, MIXED, temperature=0.0)),
    "temperature-negative": Case((2, 8, 3, 5, 3), 2, _dot(PAPER, MIXED, temperature=-2.5)),
    "temperature-64": Case((2, 12, 3, 7, 5), 3, _cosine(PAPER, MIXED, temperature=64.0), values="nearly equal"),
    "temperature-100": Case((2, 12, 3, 7, 5), 3, _cosine(PAPER, MIXED, temperature=100.0), values="nearly equal"),
    "empty-positions": Case((3, 12, 3, 5, 4), 3, _cosine(PAPER, ("max", "avg", "max", "max")), values="empty"),
}
LONG = Case((1, 6, 900, 2, 2), 2, _cosine(((1, 1, 1), (3, 1, 1)), "max"))
CALLS = {
    "parallel": ((0, 4),),
    "temporal_spatial": ((0, 2), (2, 4)),
    "spatial_temporal": ((2, 4), (0, 2)),
}


@pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler c++ on the PATH to build the library")
def test_the_cpu_backend_is_there_where_a_compiler_is():
    assert backends()["cpu"] == "usable"


@pytest.mark.parametrize("backend", list(backends()))
def test_every_backend_joins_the_comparisons_or_says_why_not(backend):
    if backends()[backend] != "usable":
        pytest.skip(f"backend {backend} is not usable here: {backends()[backend]}")
    assert backend in [parameter.id for parameter in BACKENDS]


@functools.cache
def _inputs_and_limits(case, dtype, written_out):
    inputs = case.inputs(dtype)
    return inputs, allowances(case.operator, *inputs, written_out)


def what_is_wrong(case, dtype, layout, backend, function, written_out=literal.factorized_attention):
    """Complaints about the results of `function(x, weight)`, in several orders of the channels."""

    def place(tensor):
        return tensor.to(device(backend)).contiguous(memory_format=LAYOUTS[layout])

    def compute(x, weight, grad):
        x = place(x)
        y, grad_x, grad_weight = differentiate(function, x, weight.to(x.device), place(grad))
        assert {tensor.dtype for tensor in (y, grad_x, grad_weight)} == {dtype}
        assert_layout_of(x, y, grad_x)
        return y, grad_x, grad_weight

    inputs, limits = _inputs_and_limits(case, dtype, written_out)
    one_order = backend in [parameter.id for parameter in INTERPRETED]
    return complaints(in_orders(compute, *inputs, orders=1 if one_order else None), limits)


def _interpreted():
    """Every case in one type or more and alternating layouts; in all types together they reach every kind of kernel."""
    costly = dict.fromkeys(("N128", "N260-T1", "N521", "N33", "ties", "wider-than-the-map"), "float16")
    costly |= dict.fromkeys(("N130", "N2-T5", "N15-E280", "N98", "large-logits"), "float32")
    cheap = ("N1-T4", "N31", "N98-avg", "temperature-0", "temperature-negative", "large-logits-avg")
    for index, name in enumerate(CASES):
        types = [costly[name]] if name in costly else ["float32", "float16"]
        types += ["bfloat16", "float64"] if name in cheap else []
        for place, dtype in enumerate(types):
            yield name, f"torch.{dtype}", list(LAYOUTS)[(index + place) % 2]


@on_every_backend(case=CASES, dtype=TYPES, layout=list(LAYOUTS), interpreted=_interpreted())
def test_y_and_gradients_are_within_twice_the_error_of_plain_pytorch(backend, case, dtype, layout):
    assert not what_is_wrong(case, dtype, layout, backend, case.operator.on(backend))


# Not in the interpreter, which takes most of a minute. In half types and channels-last memory the reference multiplies
# frame by frame, as plain PyTorch, and rounds the masks' gradient 900 times: it is not within the rule there.
@on_every_backend(dtype=TYPES, layout=list(LAYOUTS), interpreted=[])
def test_900_frames_are_as_exact_as_few(backend, dtype, layout):
    if (backend, dtype.itemsize, layout) == ("reference", 2, "channels-last"):
        pytest.xfail("the reference rounds half types once for each of 900 frames")
    assert not what_is_wrong(LONG, dtype, layout, backend, LONG.operator.on(backend))


@on_every_backend(dtype=TYPES[:3], layout=list(LAYOUTS))
def test_huge_features_are_within_twice_the_error_of_plain_pytorch(backend, dtype, layout):
    case = Case((2, 12, 3, 7, 5), 3, _cosine(PAPER, MIXED), values="huge")
    assert not what_is_wrong(case, dtype, layout, backend, case.operator.on(backend))


def _modules():
    for index, (integration, pools, dtype) in enumerate(
        itertools.product(CALLS, itertools.product(("max", "avg"), repeat=2), TYPES)
    ):
        similarity = ("dot", "cosine")[(index + index // len(TYPES)) % 2]
        second = {"temporal_spatial": pools[1], "spatial_temporal": pools[0]}.get(integration)
        # The first call's result, once rounded to a half type, no longer says which of two close values is the larger.
        if dtype.itemsize > 2 or second != "max":
            yield f"{integration}-{'-'.join(pools)}-{dtype}", (integration, pools, dtype, similarity)


@on_every_backend(
    unit=dict(_modules()),
    layout=list(LAYOUTS),
    interpreted=[
        ("temporal_spatial-max-avg-torch.bfloat16", "channels-last"),
        ("spatial_temporal-max-max-torch.float32", "contiguous"),
        ("parallel-avg-max-torch.float16", "channels-last"),
    ],
)
def test_the_module_is_within_twice_the_error_of_plain_pytorch(backend, unit, layout):
    integration, pools, dtype, similarity = unit
    windows = ((3, 1, 1), (5, 1, 1), (1, 3, 3), (1, 5, 5))
    # With few channels a grid leaves some positions empty by chance, whose gradients drown those of the others.
    temperature, reduced = {"dot": (4.0, 3), "cosine": (16.0, 6)}[similarity]
    kinds = (pools[0], pools[0], pools[1], pools[1])
    operator = Operator(windows, kinds, temperature, CALLS[integration], similarity)
    values = "grid" if dtype.itemsize == 2 else "normal"
    # Y is larger than x, and so the second call's logits.
    case = Case((4, 24, 3, 7, 5), reduced, operator, values, logits=2.0)
    options = {"pool": pools, "integration": integration, "similarity": similarity, "backend": backend}
    module = STRF(24, reduction=24 // reduced, resolutions=(3, 5), **options)

    def function(x, weight):
        return torch.func.functional_call(module, {"weight": weight}, (x,))

    assert not what_is_wrong(case, dtype, layout, backend, function)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES[:2], ids=str)
@pytest.mark.parametrize("name", ["N15-E280", "N33", "N98", "N130", "N521", "wider-than-the-map"])
@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend.id == "cpu"])
def test_several_threads_are_as_exact_as_one(backend, name, dtype, layout, threads):
    with number_of_threads(threads):
        assert not what_is_wrong(CASES[name], dtype, layout, backend, CASES[name].operator.on(backend))
