"""Tensors of more than 2^31 elements: every index in them, and every offset in bytes, needs 64 bits.

x and grad are zero but for a few samples or frames: at both ends and on both sides of element 2^31. Memory that holds
zeros and was never written takes no space, so that only y or grad_x needs its 8.6 GB. All results must be those of a
small problem with the same samples or frames, and zero elsewhere. What an unsigned index of 32 bits would spoil, beyond
2^32 elements, is not shown; nor are the half types, whose float32 copies would need 22 GB; nor the reference, whose
gradients would need 26 GB; nor the interpreter of Triton, which would need hours.
"""

import itertools
import os

import numpy as np
import pytest
import torch

from comparison import FAST, Operator, device, number_of_threads
from tolerance import assert_equal_up_to_rounding

WINDOWS, KINDS = ((1, 1, 1), (3, 1, 1), (1, 3, 3)), ("max", "max", "avg")
# A cosine is a mean over frames, so that zero frames count.
OPERATORS = {"samples": Operator(WINDOWS, KINDS, 16.0, similarity="cosine"), "frames": Operator(WINDOWS, KINDS)}
LIMIT = 2**31
NEEDED_GB = 12
NEEDED_ON_A_GPU_GB = 40  # where zeros take space, so that x, grad, grad_x and workspace are there at once
# [B, C, T, H, W], and the dimension along which it is repeated until there are more than 2^31 elements.
PROBLEMS = {"samples": ((1, 64, 4, 4, 4), 0), "frames": ((1, 1024, 1, 2, 4), 2)}


def _zeros(shape, channels_last):
    """Untouched zeros: numpy asks the system for them, torch would write them."""
    if channels_last:
        b, c, t, h, w = shape
        return torch.from_numpy(np.zeros((b, t, h, w, c), np.float32)).permute(0, 4, 1, 2, 3)
    return torch.from_numpy(np.zeros(shape, np.float32))


def _places(shape, dim, channels_last):
    """Three groups of indices along `dim`, at both ends and around element 2^31, and which of them hold values.

    Two zeros follow each value: as far as a temporal window of 3 and the gradient of its maximum reach.
    """
    if dim == 0 or channels_last:
        around = LIMIT // (np.prod(shape) // shape[dim])
    else:  # in the last channel, where the tensor passes 2^31
        stride = shape[3] * shape[4]
        around = (LIMIT - (shape[1] - 1) * shape[2] * stride) // stride
    last = shape[dim] - 1
    places = [0, 1, 2, 3, *range(int(around) - 3, int(around) + 4), *range(last - 3, last + 1)]
    return places, [0, 1, 6, 7, 8, 13, 14]


@pytest.mark.slow
@pytest.mark.skipif(
    os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < NEEDED_GB * 1e9, reason=f"needs {NEEDED_GB} GB of memory"
)
@pytest.mark.parametrize(
    ("name", "channels_last"),
    [("samples", False), ("frames", False), ("frames", True)],
    ids=["samples", "frames", "frames-channels-last"],
)
@pytest.mark.parametrize("backend", [backend for backend in FAST if backend.id != "reference"])
def test_more_than_2_to_the_31_elements_are_all_reached(backend, name, channels_last):
    if device(backend) == "cuda" and torch.cuda.get_device_properties().total_memory < NEEDED_ON_A_GPU_GB * 1e9:
        pytest.skip(f"needs a GPU with {NEEDED_ON_A_GPU_GB} GB of memory")
    shape, dim = list(PROBLEMS[name][0]), PROBLEMS[name][1]
    shape[dim] = LIMIT // np.prod(shape) + 16
    places, filled = _places(shape, dim, channels_last)

    random = torch.Generator().manual_seed(0)
    small_x, small_grad = torch.zeros(2, *shape[:dim], len(places), *shape[dim + 1 :])
    for index, tensor in itertools.product(filled, (small_x, small_grad)):
        part = tensor.select(dim, index)
        part.copy_(torch.randn(part.shape, generator=random))
    weight = (0.3 / shape[1] ** 0.5 * torch.randn(3, 1, shape[1], generator=random)).to(device(backend))

    def run(x, grad, check_y, check_grad_x):
        x, leaf = x.to(weight.device).requires_grad_(), weight.clone().requires_grad_()
        y = OPERATORS[name].on(backend)(x, leaf)
        y_result = check_y(y.detach())
        y.untyped_storage().resize_(0)  # its values are not needed any more, its memory is
        grad_x, grad_weight = torch.autograd.grad(y, (x, leaf), grad.to(weight.device))
        return y_result, check_grad_x(grad_x), grad_weight

    def chosen_and_zero_elsewhere(result):
        parts = torch.stack([result.select(dim, place) for place in places])
        assert result.count_nonzero() == parts.count_nonzero()
        return parts

    def all_of_small(result):
        return torch.stack(result.unbind(dim))

    with number_of_threads(os.cpu_count()):
        expected = run(small_x, small_grad, all_of_small, all_of_small)
        large = [_zeros(shape, channels_last) for _ in range(2)]
        assert large[0].numel() > LIMIT
        for to, small in zip(large, (small_x, small_grad), strict=True):
            for place, part in zip(places, small.unbind(dim), strict=True):
                to.select(dim, place).copy_(part)
        actual = run(*large, chosen_and_zero_elsewhere, chosen_and_zero_elsewhere)
    assert all(tensor.abs().max() > 0.1 for tensor in expected)
    assert_equal_up_to_rounding(actual, expected)
