"""How the Triton kernels load tiles and multiply them."""

import triton
import triton.language as tl


@triton.jit
def load_tile(pointer, rows, ROWS, row_stride, columns, COLUMNS, column_stride):
    """[rows, columns] of the matrix [ROWS, COLUMNS]; 0 outside of it."""
    inside = (rows[:, None] < ROWS) & (columns < COLUMNS)
    return tl.load(pointer + rows[:, None] * row_stride + columns * column_stride, inside, other=0.0)


@triton.jit
def operand(values, PRECISION: tl.constexpr):
    """`values` as the tensor cores should see them: in TF32 rounded to the nearest, since they would cut digits off."""
    if PRECISION == "tf32":
        bits = values.to(tl.int32, bitcast=True)
        rounded = ((bits + 0x1000) & ~0x1FFF).to(tl.float32, bitcast=True)
        values = tl.where(tl.abs(values) < float("inf"), rounded, values)
    return values


@triton.jit
def add_product(total, left, right, PRECISION: tl.constexpr):
    """total + left right.

    In float32 and float64 a block is summed by itself, since long sums one after the other lose digits. Triton would
    put `total` into the place of a zero; of program_id(1) it does not know that it is 0 in a grid of one dimension.
    """
    if PRECISION == "ieee" and left.dtype.primitive_bitwidth >= 32:
        start = tl.zeros_like(total) + tl.program_id(1).to(total.dtype)
        total += tl.dot(left, right, start, input_precision=PRECISION, out_dtype=total.dtype)
    else:
        total = tl.dot(left, right, total, input_precision=PRECISION, out_dtype=total.dtype)
    return total
