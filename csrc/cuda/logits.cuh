// S_k = T_k^T T_k, computed again wherever it is needed: tiles of 16 rows by one block of columns, in block order.
#ifndef STRF_LOGITS_CUH
#define STRF_LOGITS_CUH

#include "shape.cuh"

namespace strf {

template <class Type>
using Logits = typename Type::Wide[Type::kTiles][4];

// s[m] += the 16 rows from `rows` + 16 m on, times the block of columns from `columns` on. Both point at positions of
// T_k [padded_positions][position_pitch]; the warp, together.
template <class Type, int kGroups>
STRF_DEVICE void add_logits(const Shape& shape, bool split, const typename Type::Storage* rows,
                            const typename Type::Storage* columns, Logits<Type> (&s)[kGroups],
                            int lane = lane_index()) {
  using Operand = typename Type::Operand;
  const int group = lane / 4, t = lane % 4, pitch = shape.position_pitch;
  rows += group * pitch + t * Type::kPiece;
  columns += t * Type::kPiece;
  // A split T is big + small: big big + big small + small big.
  const int terms = split ? 3 : 1;
#pragma unroll 1
  for (int term = 0; term < terms; ++term) {
    const int row_part = term == 2 ? shape.row_pitch : 0, column_part = term == 1 ? shape.row_pitch : 0;
#pragma unroll 1
    for (int k = 0; k < shape.row_pitch; k += Type::kBlock) {
      Operand low[kGroups], high[kGroups];
#pragma unroll
      for (int m = 0; m < kGroups; ++m) {
        const auto* from = rows + 16 * m * pitch + row_part + k;
        low[m] = Type::prepare(load_global(from), shape.exact);
        high[m] = Type::prepare(load_global(from + 8 * pitch), shape.exact);
      }
#pragma unroll
      for (int u = 0; u < Type::kTiles; ++u) {
        const auto* from = columns + in_block_order<Type>(u, group) * pitch + column_part + k;
        const Operand column = Type::prepare(load_global(from), shape.exact);
#pragma unroll
        for (int m = 0; m < kGroups; ++m) Type::multiply(s[m][u], low[m], high[m], column, shape.exact);
      }
    }
  }
}

// Turns products into log2(e) * logits, and gives columns from `valid` on, which do not exist, minus infinity. `valid`
// counts from the block's first column. Rounded here once and for all, so that the largest less itself is 0 everywhere.
template <class Type>
STRF_DEVICE void scale_logits(const Shape& shape, int valid, Logits<Type>& s) {
  using Wide = typename Type::Wide;
  const Wide scale = static_cast<Wide>(shape.scale);
#pragma unroll
  for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
    for (int i = 0; i < 4; ++i) s[u][i] *= scale;
  if (valid >= Type::kBlock) return;
  const int t = lane_index() % 4;
#pragma unroll
  for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (t * Type::kPiece + 2 * u + i % 2 >= valid) s[u][i] = -Wide(INFINITY);
}

// The lane's piece's worth of values at `from`, which is aligned to 16 bytes.
template <class Type>
STRF_DEVICE void load_wide(const typename Type::Wide* from, typename Type::Wide (&values)[Type::kPiece]) {
  using Wide = typename Type::Wide;
  constexpr int kWords = sizeof(Wide) / 4, kHeld = 4 / kWords;
#pragma unroll
  for (int i = 0; i < Type::kPiece; i += kHeld) {
    const Piece piece = load_global(from + i);
#pragma unroll
    for (int held = 0; held < kHeld; ++held) {
      if constexpr (kWords == 1)
        values[i + held] = float_of(piece.word[held]);
      else
        values[i + held] = double_of(piece.word[2 * held], piece.word[2 * held + 1]);
    }
  }
}

STRF_DEVICE Piece wide_piece(const float (&values)[4]) { return Float32::pack(values); }
STRF_DEVICE Piece wide_piece(const double (&values)[2]) { return Float64::pack(values); }

}  // namespace strf

#endif
