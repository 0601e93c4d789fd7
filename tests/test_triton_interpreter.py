"""Triton's interpreter, as triton_interpreter.py mends it, does what a GPU would do."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from comparison import INTERPRETED
from literal_tf32 import to_tf32
from strf_cuda import backends

if not INTERPRETED:
    reason = "there is a GPU" if backends()["triton"] == "usable" else backends()["triton"]
    pytest.skip(f"Triton's kernels are not interpreted here: {reason}", allow_module_level=True)

import triton.language as tl
from triton.runtime.errors import InterpreterError
from triton.runtime.interpreter import InterpretedFunction

SIZES = (16, 16, 16)


@InterpretedFunction
def convert(source, target):
    at = tl.arange(0, 1024)
    tl.store(target + at, tl.load(source + at).to(target.dtype.element_ty))


@InterpretedFunction
def multiply(left, right, product, ROWS: tl.constexpr, J: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    i, j, k = tl.arange(0, ROWS)[:, None], tl.arange(0, J), tl.arange(0, K)
    a, b = tl.load(left + i * K + k), tl.load(right + k[:, None] * J + j)
    total = tl.zeros((ROWS, J), tl.float32)
    tl.store(product + i * J + j, tl.dot(a, b, total, input_precision=PRECISION))


@InterpretedFunction
def calculate(source, target, OPERATION: tl.constexpr):
    at = tl.arange(0, 16)
    values = tl.load(source + at)
    if OPERATION == "add":
        values = values + values
    elif OPERATION == "compare":
        values = tl.where(values > values, values, values)
    elif OPERATION == "abs":
        values = tl.abs(values)
    elif OPERATION == "fma":
        values = tl.fma(values, values, values)
    elif OPERATION == "sum":
        values = tl.where(at < 8, values, tl.sum(values, 0))
    elif OPERATION == "maximum":
        values = tl.maximum(values, tl.max(values, 0))
    elif OPERATION == "move":
        values = tl.where(at < 8, values.reshape(4, 4).trans().reshape(16), values)
    tl.store(target + at, values)


def _numbers():
    """Float32 bit patterns next to every place where rounding to bfloat16 changes, infinities, NaN and subnormals."""
    random = torch.Generator().manual_seed(0)
    high = torch.randint(0, 2**16, (1024,), generator=random, dtype=torch.int64)
    low = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]).repeat(171)[:1024]
    high[:24] = torch.tensor([0x7F7F, 0x7F80, 0xFF80, 0x0000]).repeat_interleave(6)
    bits = (high << 16 | low).to(torch.uint32)
    return bits.view(torch.float32)


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
def test_bfloat16_is_rounded_to_the_nearest(source):
    numbers = _numbers().to(source)
    found = torch.empty(1024, dtype=torch.bfloat16)
    convert[(1,)](numbers, found)
    torch.testing.assert_close(found, numbers.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert (found.float() != numbers.float()).any()


@pytest.mark.parametrize("target", [torch.float32, torch.float64, torch.float16], ids=str)
def test_bfloat16_becomes_the_same_number(target):
    numbers = _numbers().bfloat16()
    found = torch.empty(1024, dtype=target)
    with np.errstate(over="ignore"):
        convert[(1,)](numbers, found)
    torch.testing.assert_close(found, numbers.to(target), rtol=0, atol=0, equal_nan=True)


def test_integers_become_the_nearest_bfloat16():
    numbers = torch.arange(-512, 512, dtype=torch.int32)
    found = torch.empty(1024, dtype=torch.bfloat16)
    convert[(1,)](numbers, found)
    assert torch.equal(found, numbers.bfloat16())


def _matrices(size=16):
    return torch.randn(2, size, size, generator=torch.Generator().manual_seed(0))


def test_products_of_bfloat16_are_those_of_the_numbers():
    left, right = _matrices().bfloat16()
    found = torch.empty(16, 16)
    multiply[(1,)](left, right, found, *SIZES, "ieee")
    torch.testing.assert_close(found, left.float() @ right.float(), rtol=1e-5, atol=1e-5)


def test_products_in_tf32_cut_their_operands_off():
    left, right = _matrices()
    cut = [(matrix.view(torch.int32) & ~0x1FFF).view(torch.float32) for matrix in (left, right)]
    found, exact = torch.empty(2, 16, 16)
    multiply[(1,)](left, right, found, *SIZES, "tf32")
    multiply[(1,)](left, right, exact, *SIZES, "ieee")
    torch.testing.assert_close(found, cut[0] @ cut[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exact, left @ right, rtol=1e-5, atol=1e-5)
    assert (found - exact).abs().max() > 1e-3
    rounded = to_tf32(left), to_tf32(right)
    multiply[(1,)](*rounded, found, *SIZES, "tf32")
    torch.testing.assert_close(found, rounded[0] @ rounded[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_product_does_not_depend_on_its_block(dtype):
    left, right = _matrices(64).to(dtype)
    large, small = torch.empty(64, 64), torch.empty(16, 64)
    multiply[(1,)](left, right, large, 64, 64, 64, "ieee")
    multiply[(1,)](left[16:32], right, small, 16, 64, 64, "ieee")
    assert torch.equal(large[16:32], small)


@pytest.mark.parametrize("operation", ["add", "compare", "abs", "fma", "sum"])
def test_calculating_with_bfloat16_is_refused(operation):
    values = torch.arange(16).bfloat16()
    with pytest.raises(InterpreterError, match=r"cannot calculate with bfloat16; convert it to float32"):
        calculate[(1,)](values, torch.empty(16).bfloat16(), operation)
    calculate[(1,)](values.float(), torch.empty(16), operation)


def test_bfloat16_may_be_moved_and_chosen():
    values, found = torch.arange(16).bfloat16(), torch.empty(16).bfloat16()
    calculate[(1,)](values, found, "move")
    assert torch.equal(found, torch.cat([values.view(4, 4).T.flatten()[:8], values[8:]]))


def test_the_maximum_of_a_number_and_nan_is_the_number():
    values, found = torch.arange(16.0), torch.empty(16)
    values[3] = float("nan")
    calculate[(1,)](values, found, "maximum")
    assert found.eq(15).all()


def test_neither_the_language_nor_other_processes_are_left_changed():
    before = dict(vars(tl)), dict(vars(tl.core)), dict(vars(tl.tensor))
    calculate[(1,)](torch.arange(16.0), torch.empty(16), "sum")
    assert (dict(vars(tl)), dict(vars(tl.core)), dict(vars(tl.tensor))) == before
    assert "TRITON_INTERPRET" not in os.environ
    script = "from strf_cuda.backends import triton; print(triton.INTERPRETED, triton.why_not())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False PyTorch ")
