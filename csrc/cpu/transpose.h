// Transposes in blocks of one vector's lanes, by interleaving vectors.
#ifndef STRF_CPU_TRANSPOSE_H
#define STRF_CPU_TRANSPOSE_H

#include <utility>

#include "level.h"

namespace {

// {a0, b0, a1, b1, ...} from the lower halves of a and b (half 0) or the upper ones (half 1).
template <class V, int... kLane>
inline V interleave(V a, V b, int half, std::integer_sequence<int, kLane...>) {
  constexpr int kCount = sizeof...(kLane);
#ifdef __clang__
  return half ? __builtin_shufflevector(a, b, (kCount / 2 + kLane / 2 + kLane % 2 * kCount)...)
              : __builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kCount)...);
#else
  typedef decltype(a < b) Index;
  return half ? __builtin_shuffle(a, b, Index{(kCount / 2 + kLane / 2 + kLane % 2 * kCount)...})
              : __builtin_shuffle(a, b, Index{(kLane / 2 + kLane % 2 * kCount)...});
#endif
}

// to[j][i] = from[i][j] for i, j < kLanes. Interleaving vector i with vector i + kLanes / 2, log2(kLanes) times over,
// moves every element from (i, j) to (j, i).
template <class T>
inline void transpose_block(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int kCount = kLanes<T>;
  constexpr std::make_integer_sequence<int, kCount> lanes{};
  Vec<T> rows[kCount], mixed[kCount];
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) rows[i] = load(from + i * from_stride);
#pragma GCC unroll 4
  for (int round = 1; round < kCount; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) mixed[i] = interleave(rows[i / 2], rows[i / 2 + kCount / 2], i % 2, lanes);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) rows[i] = mixed[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) store(to + i * to_stride, rows[i]);
}

// to[j][i] = from[i][j] for i < rows, j < columns.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int64_t kStep = kLanes<T>;
  for (int64_t i = 0; i < rows; i += kStep)
    for (int64_t j = 0; j < columns; j += kStep) {
      if (i + kStep <= rows && j + kStep <= columns) {
        transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
        continue;
      }
      for (int64_t u = i; u < smallest(rows, i + kStep); ++u)
        for (int64_t v = j; v < smallest(columns, j + kStep); ++v)
          to[v * to_stride + u] = from[u * from_stride + v];
    }
}

}  // namespace

#endif
