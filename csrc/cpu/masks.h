// One panel [N, kPanel] of the logits: soft-max over its rows, the masks added up, and the backward of both.
//
// P = exp2(base * (s - maximum)) * normalizer, with s and base of kernels.cpp's Exponent. The maximum is one of the s, to
// the last bit, and subtracted before anything is rounded: 0 is left of it however large it is, and the sum of the
// powers is 1 or more. Columns that only pad a panel hold zeros.
#ifndef STRF_CPU_MASKS_H
#define STRF_CPU_MASKS_H

#include "exp2.h"
#include "level.h"

namespace {

// maximum[j] = the larger of it and s[i, j], for `rows` rows.
template <class T>
void raise_maximum(int64_t rows, const T* s, T* maximum) {
  Vec<T> top[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) top[v] = load(maximum + v * kLanes<T>);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) top[v] = larger(load(s + i * kPanel<T> + v * kLanes<T>), top[v]);
  for (int v = 0; v < kTileVectors; ++v) store(maximum + v * kLanes<T>, top[v]);
}

// s becomes exp2(base * (s - maximum)), for `rows` rows, and their sums are added to `sums`.
template <class T>
void exponentiate(int64_t rows, T base, T* s, const T* maximum, T* sums) {
  Vec<T> top[kTileVectors], sum[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) {
    top[v] = load(maximum + v * kLanes<T>);
    sum[v] = load(sums + v * kLanes<T>);
  }
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      T* at = s + i * kPanel<T> + v * kLanes<T>;
      const Vec<T> e = exp2_of<T>(base, load(at) - top[v]);
      sum[v] += e;
      store(at, e);
    }
  for (int v = 0; v < kTileVectors; ++v) store(sums + v * kLanes<T>, sum[v]);
}

// mask (+)= e * normalizer
template <class T>
void add_mask(int64_t rows, const T* e, const T* normalizer, T* mask, bool add) {
  Vec<T> z[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) z[v] = load(normalizer + v * kLanes<T>);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t at = i * kPanel<T> + v * kLanes<T>;
      store(mask + at, add ? load(mask + at) + load(e + at) * z[v] : load(e + at) * z[v]);
    }
}

// The statistics of one path, of all N positions and of the panel's columns.
template <class T>
struct Statistics {
  const T *row_maximum, *row_normalizer, *column_maximum, *column_normalizer;
};

// From s[a, b] both P[a, b] (which replaces s) and P[b, a] (added to `transposed`), since S is symmetric;
// delta[b] += sum_a P[a, b] (grad_mask[a, b] - centre[b]). With one maximum for all columns one exponential serves both.
template <bool kOneMaximum, class T>
void masks_both_ways(int64_t rows, T base, Statistics<T> of, T* s, const T* grad_mask, T* transposed, bool add,
                     const T* centre, T* delta) {
  Vec<T> top[kTileVectors], z[kTileVectors], middle[kTileVectors], sum[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) {
    top[v] = load(of.column_maximum + v * kLanes<T>);
    z[v] = load(of.column_normalizer + v * kLanes<T>);
    middle[v] = load(centre + v * kLanes<T>);
    sum[v] = load(delta + v * kLanes<T>);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const Vec<T> row_top = broadcast(of.row_maximum[i]), row_z = broadcast(of.row_normalizer[i]);
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t at = i * kPanel<T> + v * kLanes<T>;
      const Vec<T> logit = load(s + at);
      const Vec<T> e = exp2_of<T>(base, logit - top[v]), p = e * z[v];
      const Vec<T> q = (kOneMaximum ? e : exp2_of<T>(base, logit - row_top)) * row_z;
      store(s + at, p);
      store(transposed + at, add ? load(transposed + at) + q : q);
      sum[v] += p * (load(grad_mask + at) - middle[v]);
    }
  }
  for (int v = 0; v < kTileVectors; ++v) store(delta + v * kLanes<T>, sum[v]);
}

// p becomes the gradient of the logits, p * (grad_mask - delta).
template <class T>
void softmax_backward(int64_t rows, T* p, const T* grad_mask, const T* delta) {
  Vec<T> mean[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) mean[v] = load(delta + v * kLanes<T>);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t at = i * kPanel<T> + v * kLanes<T>;
      store(p + at, load(p + at) * (load(grad_mask + at) - mean[v]));
    }
}

}  // namespace

#endif
