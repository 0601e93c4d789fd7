"""How the Triton kernels load tiles, and what they do to the operands of a product."""

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
