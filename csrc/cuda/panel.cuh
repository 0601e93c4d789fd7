// Panels: how an operand that many warps share passes through shared memory.
//
// A panel is 64 outer indices (rows of the left matrix, columns of the right one) by one block of k, 4 KB:
//
//   k contiguous in memory       [64][block of k]     rows of 64 bytes
//   outer contiguous in memory   [block of k][64]     rows of 128, 256 or 512 bytes
//
// The pieces of a row are swapped, so that lanes that read a column of them meet different banks.
#ifndef STRF_PANEL_CUH
#define STRF_PANEL_CUH

#include "types.cuh"

namespace strf {

constexpr int kPanel = 64;
constexpr int kPanelBytes = kPanel * kBlockBytes;

// A matrix [outer][k] in global memory of which one index is contiguous.
template <class Type>
struct Matrix {
  const typename Type::Storage* base;
  int64_t stride;     // of the other index, in elements
  bool k_contiguous;  // or else outer is
  int width;          // bytes that a copy may take: 16, 8, 4 or 2, as base and stride are aligned
};

// Copies the first `valid` elements of a piece and makes the others zero.
template <class Type>
STRF_DEVICE void copy_piece(uint8_t* to, const typename Type::Storage* from, int valid, int width) {
  constexpr int kSize = sizeof(typename Type::Storage);
  const int bytes = valid * kSize;
  if (width == 16) {
    copy_async<16>(to, from, bytes);
    return;
  }
  const uint8_t* source = reinterpret_cast<const uint8_t*>(from);
  if (width == 8) {
#pragma unroll 1
    for (int at = 0; at < kPieceBytes; at += 8)
      copy_async<8>(to + at, source + at, bytes - at < 0 ? 0 : bytes - at < 8 ? bytes - at : 8);
  } else if (width == 4) {
#pragma unroll 1
    for (int at = 0; at < kPieceBytes; at += 4)
      copy_async<4>(to + at, source + at, bytes - at < 0 ? 0 : bytes - at < 4 ? bytes - at : 4);
  } else if constexpr (kSize == 2) {
#pragma unroll 1
    for (int i = 0; i < Type::kPiece; ++i) reinterpret_cast<uint16_t*>(to)[i] = i < valid ? from[i] : uint16_t(0);
  }
}

// By which a piece's number in row k, or outer, is exchanged by XOR.
template <class Type>
STRF_DEVICE int swizzle_of_k(int k) {
  if constexpr (sizeof(typename Type::Storage) == 2) return k & 7;
  if constexpr (sizeof(typename Type::Storage) == 4) return (k >> 2 & 3) << 1;
  return 0;
}
STRF_DEVICE int swizzle_of_outer(int outer) { return outer >> 1 & 3; }

STRF_DEVICE int smaller(int a, int b) { return a < b ? a : b; }

STRF_DEVICE Piece load_shared(const void* from) { return *static_cast<const Piece*>(from); }

// In shared memory.
STRF_DEVICE int offset_of(const uint8_t* panel) { return static_cast<int>(panel - shared_memory()); }

// A panel as operand. Half types come in the tensor cores' order (element 8 r + 2 t, + 1 of a block in word r), others
// in pieces. `first` is a multiple of 8, or of 16 for rows; panels begin at multiples of 4 KB in shared memory. The
// warp, together.
//
// Where a swapped piece lies is the place of the first tile's, with the tile's number exchanged by one XOR: cheap to do
// for every tile, while the places of all tiles would take a register each.
template <class Type, bool kContiguous, bool kHalf = sizeof(typename Type::Storage) == 2>
struct PanelOperand;

template <class Type>
struct PanelOperand<Type, true, true> {
  static STRF_DEVICE typename Type::Rows rows(const uint8_t* panel, int first, bool) {
    const int lane = lane_index(), row = first + lane % 16, chunk = lane / 16;
    const uint8_t* from = panel + row * kBlockBytes;
    const int swizzle = swizzle_of_outer(row);
    return {{load_matrices(from + (chunk ^ swizzle) * kPieceBytes),
             load_matrices(from + (chunk + 2 ^ swizzle) * kPieceBytes)}};
  }
  static STRF_DEVICE typename Type::Columns columns(const uint8_t* panel, int first, bool) {
    const int lane = lane_index(), row = first + lane % 8;
    return load_matrices(panel + row * kBlockBytes + (lane / 8 ^ swizzle_of_outer(row)) * kPieceBytes);
  }
};

template <class Type>
struct PanelOperand<Type, false, true> {
  static constexpr int kRowBytes = 2 * kPanel;

  static STRF_DEVICE typename Type::Rows rows(const uint8_t* panel, int first, bool) {
    const int lane = lane_index(), k = lane % 8 + lane / 16 * 8, half = lane / 8 % 2;
    const int place = offset_of(panel) + k * kRowBytes + (half ^ swizzle_of_k<Type>(k)) * kPieceBytes;
    const uint8_t* from = shared_memory() + (place ^ first * 2);
    return {{load_transposed(from), load_transposed(from + 16 * kRowBytes)}};
  }
  static STRF_DEVICE typename Type::Columns columns(const uint8_t* panel, int first, bool) {
    const int k = lane_index();
    const int place = offset_of(panel) + k * kRowBytes + swizzle_of_k<Type>(k) * kPieceBytes;
    return load_transposed(shared_memory() + (place ^ first * 2));
  }
};

template <class Type, bool kContiguous>
struct PanelOperand<Type, kContiguous, false> {
  using Storage = typename Type::Storage;
  static constexpr int kRowBytes = kPanel * sizeof(Storage);

  static STRF_DEVICE typename Type::Rows rows(const uint8_t* panel, int first, bool exact) {
    return Type::rows(piece(panel, first), piece(panel, first + 8), exact);
  }
  static STRF_DEVICE typename Type::Columns columns(const uint8_t* panel, int first, bool exact) {
    return Type::columns(piece(panel, first), exact);
  }

 private:
  static STRF_DEVICE Piece piece(const uint8_t* panel, int first) {
    const int lane = lane_index(), group = lane / 4, t = lane % 4;
    if constexpr (kContiguous)
      return load_shared(panel + (first + group) * kBlockBytes + (t ^ swizzle_of_outer(group)) * kPieceBytes);
    typename Type::Wide values[Type::kPiece];
#pragma unroll
    for (int i = 0; i < Type::kPiece; ++i) {
      const int k = t * Type::kPiece + i;
      const int place = offset_of(panel) + k * kRowBytes + (group / Type::kPiece ^ swizzle_of_k<Type>(k)) * kPieceBytes;
      const uint8_t* from = shared_memory() + (place ^ first * static_cast<int>(sizeof(Storage)));
      values[i] = reinterpret_cast<const Storage*>(from)[group % Type::kPiece];
    }
    return Type::pack(values);
  }
};

// The lane's part of a block of a row in global memory, in the order of panels.
template <class Type>
STRF_DEVICE Piece row_in_panel_order(const typename Type::Storage* block, int t) {
  if constexpr (sizeof(typename Type::Storage) == 2) {
    Piece piece;
#pragma unroll
    for (int i = 0; i < 4; ++i) piece.word[i] = *reinterpret_cast<const uint32_t*>(block + 8 * i + 2 * t);
    return piece;
  } else {
    return load_global(block + t * Type::kPiece);
  }
}

// Stores the first `valid` elements of a piece that is in shared memory.
template <class Type>
STRF_DEVICE void store_piece(typename Type::Storage* to, const typename Type::Storage* from, int valid, int width) {
  if (valid >= Type::kPiece && width == 16) {
    *reinterpret_cast<Piece*>(to) = load_shared(from);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < smaller(valid, Type::kPiece); ++i) to[i] = from[i];
}

}  // namespace strf

#endif
