"""Every backend in float64 against plain loops in NumPy, for shapes, windows and temperatures that hypothesis draws."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comparison import FAST, INTERPRETED, NAMES, Operator, assert_layout_of, device, differentiate
from oracle_gradients import gradients

# Rounding errors are a few units in the last place of a sum's largest terms, times the logits, which reach some tens.
TOLERANCE = 500 * 2**-53


@dataclasses.dataclass(frozen=True)
class Drawn:
    operator: Operator
    x: np.ndarray
    weight: np.ndarray
    grad: np.ndarray
    channels_last: bool


@st.composite
def problems(draw, sizes=(1, 3, 5, 7)):
    """`sizes` are those of windows, in frames, height and width."""
    shape = tuple(draw(st.integers(1, largest)) for largest in (3, 9, 5, 9, 12))
    reduced, paths = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    size = st.sampled_from(sizes)
    windows = tuple(draw(st.tuples(size, size, size)) for _ in range(paths))
    kinds = tuple(draw(st.sampled_from(("max", "avg"))) for _ in range(paths))
    similarity, temperature = draw(
        st.one_of(
            # Products of temperatures next to nothing have few bits, whatever computes them.
            st.tuples(st.just("dot"), st.sampled_from((4.0, 0.0, -2.0)) | st.floats(0.01, 8) | st.floats(-8, -0.01)),
            st.tuples(st.just("cosine"), st.one_of(st.sampled_from((16.0, 64.0, 65.0)), st.floats(0.01, 32))),
        )
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, grad = random.standard_normal((2, *shape))
    weight = random.standard_normal((paths, reduced, shape[1])) / shape[1]
    if draw(st.booleans()):  # on a grid the reduction is exact, and its equal values are equal for every backend
        x, weight = x.round(), np.sign(weight) / 4
    operator = Operator(windows, kinds, temperature, similarity=similarity)
    return Drawn(operator, x, weight, grad, draw(st.booleans()))


def _drawing(examples: int, drawn):
    suppressed = [HealthCheck.too_slow, HealthCheck.differing_executors]
    chosen = settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=suppressed
    )
    return lambda test: chosen(given(drawn=drawn)(test))


@pytest.mark.parametrize("backend", FAST)
@_drawing(80, problems())
def test_any_shape_gives_what_plain_loops_give(backend, drawn):
    compare(backend, drawn)


@pytest.mark.parametrize("backend", INTERPRETED)
@_drawing(12, problems(sizes=(1, 3)))
def test_any_shape_gives_what_plain_loops_give_in_the_interpreter(backend, drawn):
    compare(backend, drawn)


def compare(backend, drawn):
    memory_format = torch.channels_last_3d if drawn.channels_last else torch.contiguous_format
    x, grad = (
        torch.from_numpy(array).to(device(backend)).contiguous(memory_format=memory_format)
        for array in (drawn.x, drawn.grad)
    )
    weight = torch.from_numpy(drawn.weight).to(x.device)
    actual = differentiate(drawn.operator.on(backend), x, weight, grad)
    assert_layout_of(x, *actual[:2])

    operator = drawn.operator
    options = (operator.windows, operator.kinds, operator.temperature, operator.similarity)
    truths = operator.in_long_double(drawn.x, drawn.weight, drawn.grad)
    largest_terms = (
        len(drawn.weight) * np.abs(drawn.x),
        *gradients(drawn.grad, drawn.x, drawn.weight, *options, magnitudes=True),
    )
    for name, tensor, truth, terms in zip(NAMES, actual, truths, largest_terms, strict=True):
        error = np.abs(tensor.cpu().numpy() - truth).max()
        assert error <= TOLERANCE * terms.max(), name
