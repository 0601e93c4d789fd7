// S_k = T_k^T T_k, computed again wherever it is needed: tiles of 16 rows by one block of columns, in block order.
#ifndef STRF_LOGITS_CUH
#define STRF_LOGITS_CUH

#include "shape.cuh"

namespace strf {

template <class Type>
using Logits = typename Type::Wide[Type::kTiles][4];

// Rows and columns of S_k for one block of T_k's rows e: 16 kGroups positions, and a block of positions.
template <class Type, int kGroups>
struct LogitOperands {
  Piece low[kGroups], high[kGroups], column[Type::kTiles];

  // `rows` and `columns` point at positions of T_k [padded_positions][position_pitch], at the block of e.
  STRF_DEVICE void load(const typename Type::Storage* rows, const typename Type::Storage* columns, int pitch,
                        int lane) {
    columns += in_block_order<Type>(0, lane / 4) * pitch + lane % 4 * Type::kPiece;
#pragma unroll
    for (int u = 0; u < Type::kTiles; ++u, columns += 2 * pitch) column[u] = load_global(columns);
    rows += lane / 4 * pitch + lane % 4 * Type::kPiece;
#pragma unroll
    for (int m = 0; m < kGroups; ++m) {
      low[m] = load_global(rows);
      high[m] = load_global(rows += 8 * pitch);
      rows += 8 * pitch;
    }
  }

  // s += these rows by the columns of `other`.
  STRF_DEVICE void add_product(const LogitOperands& other, bool exact, Logits<Type> (&s)[kGroups]) const {
    typename Type::Rows left[kGroups];
#pragma unroll
    for (int m = 0; m < kGroups; ++m) left[m] = Type::rows(low[m], high[m], exact);
#pragma unroll
    for (int u = 0; u < Type::kTiles; ++u) {
      const typename Type::Columns right = Type::columns(other.column[u], exact);
#pragma unroll
      for (int m = 0; m < kGroups; ++m) Type::multiply(s[m][u], left[m], right, exact);
    }
  }
};

// s[m] += the 16 positions from `rows` + 16 m on, times the block of positions from `columns` on. The first block of e
// may be in `operands` already. A split T is big + small: big big + big small + small big, with kAtOnce from one load
// of each, for which there must be registers. The warp, together.
template <bool kAtOnce, class Type, int kGroups>
STRF_DEVICE void add_logits(const Shape& shape, bool split, const typename Type::Storage* rows,
                            const typename Type::Storage* columns, LogitOperands<Type, kGroups>& operands, bool loaded,
                            Logits<Type> (&s)[kGroups], int lane) {
  const int pitch = shape.position_pitch;
#pragma unroll 1
  for (int e = 0; e < shape.row_pitch; e += Type::kBlock) {
    if (e > 0 || !loaded) operands.load(rows + e, columns + e, pitch, lane);
    operands.add_product(operands, shape.exact, s);
    if constexpr (sizeof(typename Type::Storage) == 2) {
      if (!split) continue;
      if constexpr (kAtOnce) {
        LogitOperands<Type, kGroups> small;
        small.load(rows + e + shape.row_pitch, columns + e + shape.row_pitch, pitch, lane);
        operands.add_product(small, shape.exact, s);
        small.add_product(operands, shape.exact, s);
      } else {
#pragma unroll 1
        for (int part = 0; part < 2; ++part) {
          operands.load(rows + e + part * shape.row_pitch, columns + e + (1 - part) * shape.row_pitch, pitch, lane);
          operands.add_product(operands, shape.exact, s);
        }
      }
    }
  }
}

// Turns products into log2(e) * logits, less their bound where they have one, and gives columns from `valid` on, which
// do not exist, minus infinity. `valid` counts from the block's first column. Rounded here once and for all, so that
// the largest less itself is 0 everywhere.
template <class Type, int kGroups>
STRF_DEVICE void scale_logits(const Shape& shape, int valid, Logits<Type> (&s)[kGroups]) {
  using Wide = typename Type::Wide;
  const Wide scale = static_cast<Wide>(shape.scale), bound = static_cast<Wide>(shape.bound);
  const int t = lane_index() % 4;
#pragma unroll
  for (int v = 0; v < Type::kPiece; ++v) {
    const Wide shift = t * Type::kPiece + v < valid ? -bound : -Wide(INFINITY);
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Wide& logit = s[m][v / 2][2 * half + v % 2];
        logit = fused_multiply_add(logit, scale, shift);
      }
  }
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
