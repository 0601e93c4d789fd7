"""Every backend gives the same bits again, whatever lies in memory or runs beside it, and leaves its inputs alone."""

import concurrent.futures
import contextlib
import dataclasses
import threading

import pytest
import torch

from comparison import FAST, Case, Operator, device, differentiate, number_of_threads, on_every_backend
from tolerance import assert_equal_up_to_rounding

OPERATOR = Operator(((1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)), ("max", "avg", "avg", "max"))
COSINE = dataclasses.replace(OPERATOR, temperature=16.0, similarity="cosine")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
TYPES = (torch.float64, torch.float32)
SHAPES = {"1x12x3x14x7": (1, 12, 3, 14, 7), "3x20x2x11x13": (3, 20, 2, 11, 13), "2x7x2x24x11": (2, 7, 2, 24, 11)}
POISONED = {"3x20x2x11x13": (3, 20, 2, 11, 13), "3x7x3x3x5": (3, 7, 3, 3, 5), "3x4x2x1x1": (3, 4, 2, 1, 1)}
THREADS = {"cpu": (1, 2)}  # only the native CPU kernels share their work out among threads themselves
OPERATORS = {"four paths": OPERATOR, "identity": Operator(((1, 1, 1),), ("max",), 16.0, similarity="cosine")}


def make(backend, shape=(3, 20, 2, 11, 13), dtype=torch.float32, layout="contiguous", operator=OPERATOR):
    x, weight, grad = (tensor.to(device(backend)) for tensor in Case(shape, 3, operator).inputs(dtype))
    return x.contiguous(memory_format=LAYOUTS[layout]), weight, grad.contiguous(memory_format=LAYOUTS[layout])


def of_type(dtype):
    """A share of the tests for each similarity."""
    return OPERATOR if dtype == torch.float64 else COSINE


def assert_same_bits(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


@on_every_backend(
    shape=SHAPES,
    dtype=TYPES,
    layout=list(LAYOUTS),
    interpreted=[("1x12x3x14x7", "torch.float32", "channels-last")],
)
def test_a_second_call_gives_the_same_bits(backend, shape, dtype, layout):
    x, weight, grad = make(backend, shape, dtype, layout)
    for threads in THREADS.get(backend, (1,)):
        with number_of_threads(threads):
            first = differentiate(of_type(dtype).on(backend), x, weight, grad)
            for elsewhere in range(1, 4):  # so that results and workspace come to lie in other places
                held = [x.new_empty(elsewhere * 4099) for _ in range(elsewhere)]
                assert_same_bits(differentiate(of_type(dtype).on(backend), x.clone(), weight, grad), first)
                del held


@contextlib.contextmanager
def poisoned_memory():
    """torch.empty gives NaN, or the largest number where the type has none."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@on_every_backend(
    shape=POISONED,
    batch=(0, 1, 3),
    dtype=(*TYPES, torch.bfloat16),
    layout=list(LAYOUTS),
    interpreted=[
        ("3x20x2x11x13", "1", "torch.float64", "channels-last"),  # two passes
        ("3x20x2x11x13", "1", "torch.bfloat16", "contiguous"),  # one pass, averages as sums of two
        ("3x7x3x3x5", "3", "torch.float32", "channels-last"),
        ("3x7x3x3x5", "3", "torch.bfloat16", "contiguous"),
        ("3x7x3x3x5", "0", "torch.float32", "contiguous"),
        ("3x4x2x1x1", "3", "torch.float64", "contiguous"),
    ],
)
def test_what_uninitialised_memory_holds_does_not_show(backend, shape, batch, dtype, layout):
    x, weight, grad = make(backend, shape, dtype, layout)
    inputs = x[:batch], weight, grad[:batch]
    for threads in THREADS.get(backend, (1,)):
        with number_of_threads(threads):
            expected = differentiate(of_type(dtype).on(backend), *inputs)
            with poisoned_memory():
                assert_same_bits(differentiate(of_type(dtype).on(backend), *inputs), expected)


@on_every_backend(layout=list(LAYOUTS), interpreted=[("channels-last",)])
def test_a_sample_does_not_depend_on_the_others_of_its_batch(backend, layout):
    x, weight, grad = make(backend, (5, 12, 2, 9, 9), torch.float64, layout)
    for threads in THREADS.get(backend, (1,)):
        with number_of_threads(threads):
            y, grad_x, grad_weight = differentiate(COSINE.on(backend), x, weight, grad)
            alone = [
                differentiate(COSINE.on(backend), *part)
                for part in zip(x.split(1), [weight] * 5, grad.split(1), strict=True)
            ]
        assert_equal_up_to_rounding((y, grad_x), [torch.cat([result[i] for result in alone]) for i in range(2)])
        assert_equal_up_to_rounding([grad_weight], [sum(result[2] for result in alone)])


@on_every_backend(
    operator=OPERATORS,
    shape=((3, 12, 3, 5, 4), (2, 12, 1, 1, 1)),
    dtype=(*TYPES, torch.bfloat16),
    layout=list(LAYOUTS),
)
def test_inputs_are_left_as_they_are_and_results_are_tensors_of_their_own(backend, operator, shape, dtype, layout):
    inputs = make(backend, shape, dtype, layout, operator)
    before = [tensor.clone() for tensor in inputs]
    results = differentiate(operator.on(backend), *inputs)
    assert_same_bits(inputs, before)
    assert all(tensor._version == 0 for tensor in inputs)
    storages = {tensor.untyped_storage().data_ptr() for tensor in (*inputs, *results)}
    assert len(storages) == 6


@pytest.mark.parametrize("backend", FAST)  # the interpreter is one for all threads
def test_calls_from_two_threads_at_once_do_not_meet(backend):
    problems = [(OPERATOR, *make(backend, (2, 12, 2, 9, 9))), (COSINE, *make(backend, (3, 20, 1, 5, 13)))]
    together = threading.Barrier(2)

    def work(problem):
        with number_of_threads(1):
            together.wait()
            return [differentiate(problem[0].on(backend), *problem[1:]) for _ in range(20)]

    expected = [differentiate(problem[0].on(backend), *problem[1:]) for problem in problems]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for repeated, once in zip(pool.map(work, problems), expected, strict=True):
            for results in repeated:
                assert_same_bits(results, once)
