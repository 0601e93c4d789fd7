// The pools G_k on one channel [frames, height, width] of R, stride 1, same size, and their backward.
//
// Padding takes no part: a maximum passes over it, an average divides by the number of real elements. The loops go
// over shifted rows, so that the compiler vectorises along the width.
#ifndef STRF_CPU_POOL_H
#define STRF_CPU_POOL_H

#include "../strf.h"
#include "level.h"

namespace {

struct Plane {
  int64_t frames, height, width;

  int64_t size() const { return frames * height * width; }
};

// A window over frames only does not care where a row ends: one long row a frame.
inline Plane as_long_rows(Plane plane, const strf_pool& pool) {
  return pool.height == 1 && pool.width == 1 ? Plane{plane.frames, 1, plane.height * plane.width} : plane;
}

inline bool is_identity(const strf_pool& pool) { return pool.frames == 1 && pool.height == 1 && pool.width == 1; }

// Calls visit(neighbour's row offset, dw, first w, last w) for all parts of the window around row (t, h) that lie
// inside the plane, in (t, h, w) order.
template <class Visit>
inline void for_window(Plane plane, const strf_pool& pool, int64_t t, int64_t h, Visit visit) {
  const int64_t rt = pool.frames / 2, rh = pool.height / 2, rw = smallest(pool.width / 2, plane.width - 1);
  for (int64_t u = largest(0, t - rt); u <= smallest(plane.frames - 1, t + rt); ++u)
    for (int64_t v = largest(0, h - rh); v <= smallest(plane.height - 1, h + rh); ++v)
      for (int64_t dw = -rw; dw <= rw; ++dw)
        visit((u * plane.height + v) * plane.width, dw, largest(0, -dw), smallest(plane.width, plane.width - dw));
}

// How many of the positions around `at` lie inside, for one axis of the window.
inline int64_t inside(int64_t at, int64_t length, int64_t size) {
  return smallest(length - 1, at + size / 2) - largest(0, at - size / 2) + 1;
}

template <class T>
void divide_by_count(Plane plane, const strf_pool& pool, const T* from, T* to) {
  for (int64_t t = 0, i = 0; t < plane.frames; ++t)
    for (int64_t h = 0; h < plane.height; ++h) {
      const int64_t rows = inside(t, plane.frames, pool.frames) * inside(h, plane.height, pool.height);
      for (int64_t w = 0; w < plane.width; ++w, ++i)
        to[i] = from[i] / static_cast<T>(rows * inside(w, plane.width, pool.width));
    }
}

template <class T>
void sum_windows(Plane plane, const strf_pool& pool, const T* from, T* to) {
  for (int64_t t = 0; t < plane.frames; ++t)
    for (int64_t h = 0; h < plane.height; ++h) {
      T* __restrict__ out = to + (t * plane.height + h) * plane.width;
      for (int64_t w = 0; w < plane.width; ++w) out[w] = T(0);
      for_window(plane, pool, t, h, [=](int64_t row, int64_t dw, int64_t first, int64_t last) {
        const T* in = from + row + dw;
        for (int64_t w = first; w < last; ++w) out[w] += in[w];
      });
    }
}

// pooled = G(reduced)
template <class T>
void pool_forward(Plane plane, const strf_pool& pool, const T* reduced, T* pooled) {
  plane = as_long_rows(plane, pool);
  if (pool.kind == STRF_POOL_AVERAGE) {
    sum_windows(plane, pool, reduced, pooled);
    divide_by_count(plane, pool, pooled, pooled);
    return;
  }
  for (int64_t t = 0; t < plane.frames; ++t)
    for (int64_t h = 0; h < plane.height; ++h) {
      const int64_t at = (t * plane.height + h) * plane.width;
      T* __restrict__ out = pooled + at;
      for (int64_t w = 0; w < plane.width; ++w) out[w] = reduced[at + w];
      for_window(plane, pool, t, h, [=](int64_t row, int64_t dw, int64_t first, int64_t last) {
        const T* in = reduced + row + dw;
        for (int64_t w = first; w < last; ++w) out[w] = in[w] <= out[w] ? out[w] : (out[w] != out[w] ? out[w] : in[w]);
      });
    }
}

// grad_reduced = the gradient of G at `reduced`, where pooled = G(reduced). grad_pooled is overwritten.
template <class T>
void pool_backward(Plane plane, const strf_pool& pool, const T* reduced, const T* pooled, T* grad_pooled,
                   T* grad_reduced) {
  plane = as_long_rows(plane, pool);
  if (pool.kind == STRF_POOL_AVERAGE) {
    divide_by_count(plane, pool, grad_pooled, grad_pooled);
    sum_windows(plane, pool, grad_pooled, grad_reduced);  // a window holds p exactly when p's window holds its centre
    return;
  }
  for (int64_t i = 0; i < plane.size(); ++i) grad_reduced[i] = T(0);
  for (int64_t t = 0; t < plane.frames; ++t)
    for (int64_t h = 0; h < plane.height; ++h) {
      const int64_t at = (t * plane.height + h) * plane.width;
      const T* maximum = pooled + at;
      T* __restrict__ left = grad_pooled + at;  // what has not found its maximum yet
      for_window(plane, pool, t, h, [=](int64_t row, int64_t dw, int64_t first, int64_t last) {
        const T* in = reduced + row + dw;
        T* __restrict__ out = grad_reduced + row + dw;
        for (int64_t w = first; w < last; ++w) {
          const bool found = !(in[w] < maximum[w]);  // equal, or a NaN: the first takes it all
          out[w] += found ? left[w] : T(0);
          left[w] = found ? T(0) : left[w];
        }
      });
    }
}

}  // namespace

#endif
