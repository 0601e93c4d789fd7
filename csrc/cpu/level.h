// What differs between the instruction sets that kernels.cpp is compiled for: the vector and the register tile.
//
// kernels.cpp and the headers it includes are compiled once per level, each with its own compiler flags, into one
// library. Everything in them has internal linkage: an inline function of a standard header that the linker merged
// from the AVX-512 object into baseline code would stop an older processor.
#ifndef STRF_CPU_LEVEL_H
#define STRF_CPU_LEVEL_H

#include <stdint.h>

namespace {

#if STRF_CPU_LEVEL == 2
constexpr int64_t kVectorBytes = 64;
constexpr int kTileRows = 8;  // of 32 registers: 16 sums, 2 loaded vectors, 1 broadcast
#elif STRF_CPU_LEVEL == 1
constexpr int64_t kVectorBytes = 32;
constexpr int kTileRows = 6;  // of 16 registers: 12 sums, 2 loaded vectors, 1 broadcast
#else
constexpr int64_t kVectorBytes = 16;
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(T));

// Columns of a panel: a matrix [depth, columns] is held as panels [depth][kPanel], the last one padded with zeros.
template <class T>
constexpr int64_t kPanel = kTileVectors* kLanes<T>;

template <class T>
inline Vec<T> load(const T* from) {
  Vec<T> value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
inline void store(T* to, Vec<T> value) {
  __builtin_memcpy(to, &value, sizeof value);
}

template <class T>
inline Vec<T> broadcast(T value) {
  return value - Vec<T>{};
}

template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

inline int64_t smallest(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace

#endif
