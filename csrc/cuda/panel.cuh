// Panels: how an operand that many warps share passes through shared memory.
//
// A panel is 64 outer indices (rows of the left matrix, columns of the right one) by one block of k, 4 KB:
//
//   k contiguous in memory       [64][block of k]     rows of 64 bytes; 8 lanes read 128 bytes in one go
//   outer contiguous in memory   [block of k][64]     rows of 128, 256 or 512 bytes, their pieces swapped by swizzle()
//                                                     so that lanes that read a column meet different banks
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

template <class Type>
STRF_DEVICE int swizzle(int k) {
  if constexpr (sizeof(typename Type::Storage) == 2) return (k & 1) | (k >> 3 & 3) << 1;
  if constexpr (sizeof(typename Type::Storage) == 4) return (k >> 2 & 3) << 1;
  return 0;
}

STRF_DEVICE int smaller(int a, int b) { return a < b ? a : b; }

STRF_DEVICE Piece load_shared(const void* from) { return *static_cast<const Piece*>(from); }

// The lane's piece of the tile of 8 outer indices that begins at `first`: of index first + lane / 4. The panel begins
// at a multiple of its rows' length in shared memory. The warp, together.
//
// Where a swizzled piece lies is the place of the first tile's, with the tile's number exchanged by one XOR: cheap to
// do for every tile, while the places of all tiles would take a register each.
template <class Type>
STRF_DEVICE Piece tile_piece(const uint8_t* panel, bool k_contiguous, int first) {
  using Storage = typename Type::Storage;
  constexpr int kRowBytes = kPanel * sizeof(Storage);
  const int lane = lane_index(), group = lane / 4, t = lane % 4;
  if (k_contiguous) return load_shared(panel + (first + group) * kBlockBytes + t * kPieceBytes);
  const int begin = static_cast<int>(panel - shared_memory());
  if constexpr (sizeof(Storage) == 2) {
    // Lane 8 m + r addresses the row that becomes elements r % 2 of word m in the pieces of lanes with t = r / 2.
    const int matrix = lane / 8, row = lane % 8;
    const int k = (row >> 1) * Type::kPiece + 2 * matrix + (row & 1);
    const int place = begin + k * kRowBytes + swizzle<Type>(k) * kPieceBytes;
    return load_transposed(shared_memory() + (place ^ first * static_cast<int>(sizeof(Storage))));
  } else {
    typename Type::Wide values[Type::kPiece];
#pragma unroll
    for (int i = 0; i < Type::kPiece; ++i) {
      const int k = t * Type::kPiece + i;
      const int place = begin + k * kRowBytes + (group / Type::kPiece ^ swizzle<Type>(k)) * kPieceBytes;
      values[i] = reinterpret_cast<const Storage*>(
          shared_memory() + (place ^ first * static_cast<int>(sizeof(Storage))))[group % Type::kPiece];
    }
    return Type::pack(values);
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
