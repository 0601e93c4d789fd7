// The four element types, and the one step that all matrix products here are made of.
//
// A product contracts over k in blocks of 64 bytes. Each of the 4 lanes that share a row of the tensor cores' operands
// holds one piece of 16 bytes of it: lane % 4 = t holds elements t * kPiece to (t + 1) * kPiece - 1. The tensor cores
// would have it otherwise, t holding every fourth pair of elements; but the order in which a sum is taken is free as
// long as both operands have the same. So operands come by plain 16-byte loads, from global memory as well. (Half types
// in shared memory have ldmatrix, which brings them in the tensor cores' own order: panel.cuh.)
//
// A result of 16 rows by a block of columns lies in kTiles tiles of 8 columns. Where the columns are contracted next,
// they are put in block order: column 2 t + s of tile u is element t * kPiece + 2 u + s of the block, and so a lane's
// results are a piece as they stand.
//
// Of a block of k, a type's Rows are 16 rows of the left operand, and its Columns 8 columns of the right one.
#ifndef STRF_TYPES_CUH
#define STRF_TYPES_CUH

#include <hardware.cuh>

namespace strf {

constexpr int kBlockBytes = 64;
constexpr int kPieceBytes = 16;
constexpr int kWarp = 32;

STRF_DEVICE int lane_index() { return thread_index() % kWarp; }
STRF_DEVICE int warp_index() { return thread_index() / kWarp; }

// What follows from the size of an element.
template <class Storage_, class Wide_>
struct Sizes {
  using Storage = Storage_;  // as it lies in memory
  using Wide = Wide_;        // what sums and the soft-max are in
  static constexpr int kPiece = kPieceBytes / sizeof(Storage);
  static constexpr int kBlock = kBlockBytes / sizeof(Storage);
  static constexpr int kTiles = kBlock / 8;
};

// The element of a block that column `group` of tile `tile` is, in block order.
template <class Type>
STRF_DEVICE int in_block_order(int tile, int group) {
  return (group >> 1) * Type::kPiece + 2 * tile + (group & 1);
}

// BFloat16 and Float16 differ in conversions and in the instruction.
template <class Half>
struct HalfType : Sizes<uint16_t, float> {
  struct Rows {
    Piece step[2];  // of 16 elements of k: words of rows 0 to 7, of rows 8 to 15, and both again
  };
  using Columns = Piece;

  static STRF_DEVICE float load(const uint16_t* from) { return Half::widen(*from); }
  static STRF_DEVICE void store(uint16_t* to, float value) { *to = static_cast<uint16_t>(Half::narrow(value, 0.0f)); }
  // Two values by one conversion. Neighbours in memory begin at an even element.
  static STRF_DEVICE void store(uint16_t* to, uint16_t* other, float value, float next) {
    const uint32_t both = Half::narrow(value, next);
    *to = static_cast<uint16_t>(both);
    *other = static_cast<uint16_t>(both >> 16);
  }
  static STRF_DEVICE void store_neighbours(uint16_t* to, float value, float next) {
    *reinterpret_cast<uint32_t*>(to) = Half::narrow(value, next);
  }

  static STRF_DEVICE void unpack(const Piece& piece, float (&values)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = Half::widen(static_cast<uint16_t>(piece.word[i]));
      values[2 * i + 1] = Half::widen(static_cast<uint16_t>(piece.word[i] >> 16));
    }
  }
  static STRF_DEVICE Piece pack(const float (&values)[8]) {
    Piece piece;
#pragma unroll
    for (int i = 0; i < 4; ++i) piece.word[i] = Half::narrow(values[2 * i], values[2 * i + 1]);
    return piece;
  }

  // What the rounding of values to an operand leaves out.
  static STRF_DEVICE Piece rest_of(const float (&values)[8]) {
    float rest[8];
    unpack(pack(values), rest);
#pragma unroll
    for (int i = 0; i < 8; ++i) rest[i] = values[i] - rest[i];
    return pack(rest);
  }

  static STRF_DEVICE Rows rows(const Piece& low, const Piece& high, bool) {
    return {{{{low.word[0], high.word[0], low.word[1], high.word[1]}},
             {{low.word[2], high.word[2], low.word[3], high.word[3]}}}};
  }
  static STRF_DEVICE Columns columns(const Piece& piece, bool) { return piece; }

  // acc += 16 rows times 8 columns over one block of k.
  static STRF_DEVICE void multiply(float (&acc)[4], const Rows& rows, const Columns& columns, bool) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t (&a)[4] = rows.step[i].word;
      Half::mma(acc, a[0], a[1], a[2], a[3], columns.word[2 * i], columns.word[2 * i + 1]);
    }
  }
};

struct BFloat16 : HalfType<BFloat16> {
  static STRF_DEVICE float widen(uint16_t bits) { return from_bfloat16(bits); }
  static STRF_DEVICE uint32_t narrow(float low, float high) { return pack_bfloat16(low, high); }
  static STRF_DEVICE void mma(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                              uint32_t b1) {
    mma_bfloat16(acc, a0, a1, a2, a3, b0, b1);
  }
};

struct Float16 : HalfType<Float16> {
  static STRF_DEVICE float widen(uint16_t bits) { return from_float16(bits); }
  static STRF_DEVICE uint32_t narrow(float low, float high) { return pack_float16(low, high); }
  static STRF_DEVICE void mma(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                              uint32_t b1) {
    mma_float16(acc, a0, a1, a2, a3, b0, b1);
  }
};

// By the tensor cores in TF32, or `exact`: as good as float32's own arithmetic. Then a float is a sum of three
// bfloat16, 24 bits together, and of the nine products those six count that are not below a float's last digit. They
// cost as much as three products in TF32, which would leave two digits out. Sums of one block are added to the
// accumulator by ordinary additions, since the tensor cores cut their own sums off instead of rounding them.
struct Float32 : Sizes<float, float> {
  struct Columns {
    uint32_t word[6];  // exact: two of each of the three terms, the largest first; otherwise four of TF32
  };
  struct Rows {
    Columns low, high;
  };

  static STRF_DEVICE float load(const float* from) { return *from; }
  static STRF_DEVICE void store(float* to, float value) { *to = value; }
  static STRF_DEVICE void store(float* to, float* other, float value, float next) {
    *to = value;
    *other = next;
  }
  static STRF_DEVICE void store_neighbours(float* to, float value, float next) { store(to, to + 1, value, next); }

  static STRF_DEVICE void unpack(const Piece& piece, float (&values)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = float_of(piece.word[i]);
  }
  static STRF_DEVICE Piece pack(const float (&values)[4]) {
    Piece piece;
#pragma unroll
    for (int i = 0; i < 4; ++i) piece.word[i] = bits_of(values[i]);
    return piece;
  }

  static STRF_DEVICE Piece rest_of(const float (&values)[4]) {
    float rest[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) rest[i] = values[i] - float_of(to_tf32(values[i]));
    return pack(rest);
  }

  static STRF_DEVICE Rows rows(const Piece& low, const Piece& high, bool exact) {
    return {columns(low, exact), columns(high, exact)};
  }
  static STRF_DEVICE Columns columns(const Piece& piece, bool exact) {
    Columns operand;
    float rest[4];
    unpack(piece, rest);
    if (!exact) {
#pragma unroll
      for (int i = 0; i < 4; ++i) operand.word[i] = to_tf32(rest[i]);
      return operand;
    }
#pragma unroll
    for (int term = 0; term < 3; ++term)
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        const uint32_t both = operand.word[2 * term + pair] = pack_bfloat16(rest[2 * pair], rest[2 * pair + 1]);
        rest[2 * pair] = what_is_left(rest[2 * pair], both);
        rest[2 * pair + 1] = what_is_left(rest[2 * pair + 1], both >> 16);
      }
    return operand;
  }

  static STRF_DEVICE void multiply(float (&acc)[4], const Rows& rows, const Columns& columns, bool exact) {
    const uint32_t (&low)[6] = rows.low.word, (&high)[6] = rows.high.word, (&column)[6] = columns.word;
    float sum[4] = {};
    if (exact) {
      constexpr int kTerms[6][2] = {{2, 0}, {0, 2}, {1, 1}, {1, 0}, {0, 1}, {0, 0}};  // the smallest first
#pragma unroll
      for (int i = 0; i < 6; ++i) {
        const int a = 2 * kTerms[i][0], b = 2 * kTerms[i][1];
        mma_bfloat16(sum, low[a], high[a], low[a + 1], high[a + 1], column[b], column[b + 1]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; i += 2) mma_tf32(sum, low[i], high[i], low[i + 1], high[i + 1], column[i], column[i + 1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) acc[i] += sum[i];
  }

 private:
  static STRF_DEVICE float what_is_left(float value, uint32_t rounded) {
    const float rest = value - from_bfloat16(static_cast<uint16_t>(rounded));
    return rest == rest ? rest : 0.0f;  // infinity has a rest of NaN
  }
};

struct Float64 : Sizes<double, double> {
  struct Rows {
    Piece low, high;
  };
  using Columns = Piece;

  static STRF_DEVICE double load(const double* from) { return *from; }
  static STRF_DEVICE void store(double* to, double value) { *to = value; }
  static STRF_DEVICE void store(double* to, double* other, double value, double next) {
    *to = value;
    *other = next;
  }
  static STRF_DEVICE void store_neighbours(double* to, double value, double next) { store(to, to + 1, value, next); }

  static STRF_DEVICE void unpack(const Piece& piece, double (&values)[2]) {
    values[0] = double_of(piece.word[0], piece.word[1]);
    values[1] = double_of(piece.word[2], piece.word[3]);
  }
  static STRF_DEVICE Piece pack(const double (&values)[2]) {
    Piece piece;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      piece.word[2 * i] = low_word(values[i]);
      piece.word[2 * i + 1] = high_word(values[i]);
    }
    return piece;
  }

  static STRF_DEVICE Rows rows(const Piece& low, const Piece& high, bool) { return {low, high}; }
  static STRF_DEVICE Columns columns(const Piece& piece, bool) { return piece; }

  static STRF_DEVICE void multiply(double (&acc)[4], const Rows& rows, const Columns& columns, bool) {
    double a[2], b[2], c[2];
    unpack(rows.low, a);
    unpack(rows.high, b);
    unpack(columns, c);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      mma_float64(acc[0], acc[1], a[i], c[i]);
      mma_float64(acc[2], acc[3], b[i], c[i]);
    }
  }
};

}  // namespace strf

#endif
