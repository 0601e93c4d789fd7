// The pools G_k on one channel of R, stride 1, same size, and their backward.
//
// The channel is copied into a margin that cannot win a maximum and adds nothing to a sum, so that every row can be
// handled in whole vectors; what they hold beyond the row's end is overwritten by the next row or dropped. An average
// divides by the number of real elements.
#ifndef STRF_CPU_POOL_H
#define STRF_CPU_POOL_H

#include "level.h"
#include "window.h"

namespace {

// Calls visit(offset of the neighbour in the padded channel), in (t, h, w) order.
template <class Visit>
inline void for_neighbours(const Window& window, const Visit& visit) {
  for (int64_t t = -window.frame_reach; t <= window.frame_reach; ++t)
    for (int64_t h = -window.height_reach; h <= window.height_reach; ++h)
      for (int64_t w = -window.width_reach; w <= window.width_reach; ++w)
        visit((t * window.padded_height() + h) * window.padded_width() + w);
}

// Calls visit(index in the channel, index in the padded channel) for every vector of every row.
template <class T, class Visit>
inline void for_vectors(const Window& window, const Visit& visit) {
  for (int64_t t = 0; t < window.frames; ++t)
    for (int64_t h = 0; h < window.height; ++h)
      for (int64_t w = 0; w < window.width; w += kLanes<T>)
        visit((t * window.height + h) * window.width + w, window.padded_row(t, h) + w);
}

template <class T>
void pad(const Window& window, const T* from, T margin, T* to) {
  for (int64_t i = 0; i < window.padded_size() + kLanes<T>; ++i) to[i] = margin;
  for (int64_t t = 0; t < window.frames; ++t)
    for (int64_t h = 0; h < window.height; ++h) {
      T* row = to + window.padded_row(t, h);
      for (int64_t w = 0; w < window.width; ++w) row[w] = from[(t * window.height + h) * window.width + w];
    }
}

template <class T>
void copy(int64_t count, const T* from, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

// How many of the positions around `at` lie inside, for one axis of the window.
inline int64_t inside(int64_t at, int64_t length, int64_t reach) {
  return smallest(length - 1, at + reach) - largest(0, at - reach) + 1;
}

template <class T>
void divide_by_count(const Window& window, const T* from, T* to) {
  for (int64_t t = 0, i = 0; t < window.frames; ++t)
    for (int64_t h = 0; h < window.height; ++h) {
      const int64_t rows = inside(t, window.frames, window.frame_reach) * inside(h, window.height, window.height_reach);
      for (int64_t w = 0; w < window.width; ++w, ++i)
        to[i] = from[i] / static_cast<T>(rows * inside(w, window.width, window.width_reach));
    }
}

// sums [size + kLanes]: over each window of `padded`.
template <class T>
void sum_windows(const Window& window, const T* padded, T* sums) {
  for_vectors<T>(window, [&](int64_t at, int64_t padded_at) {
    Vec<T> sum{};
    for_neighbours(window, [&](int64_t offset) { sum += load(padded + padded_at + offset); });
    store(sums + at, sum);
  });
}

// pooled = G(reduced); scratch holds pool_scratch(window, kLanes, false) elements.
template <class T>
void pool_forward(const Window& window, strf_pool_kind kind, const T* reduced, T* pooled, T* scratch) {
  T *padded = scratch, *out = padded + window.padded_size() + kLanes<T>;
  if (kind == STRF_POOL_AVERAGE) {
    pad(window, reduced, T(0), padded);
    sum_windows(window, padded, out);
    divide_by_count(window, out, pooled);
    return;
  }
  const T lowest = -static_cast<T>(__builtin_inff());
  pad(window, reduced, lowest, padded);
  for_vectors<T>(window, [&](int64_t at, int64_t padded_at) {
    Vec<T> maximum = broadcast(lowest);
    for_neighbours(window, [&](int64_t offset) {
      const Vec<T> value = load(padded + padded_at + offset);
      maximum = value <= maximum ? maximum : (maximum != maximum ? maximum : value);  // NaN wins
    });
    store(out + at, maximum);
  });
  copy(window.size(), out, pooled);
}

// grad_reduced = the gradient of G at `reduced`; it may be `reduced`. scratch: pool_scratch(window, kLanes, true).
template <class T>
void pool_backward(const Window& window, strf_pool_kind kind, const T* reduced, const T* grad_pooled, T* grad_reduced,
                   T* scratch) {
  const int64_t padded_size = window.padded_size() + kLanes<T>;
  T *padded = scratch, *winners = padded + padded_size, *grads = winners + padded_size, *out = grads + padded_size;
  if (kind == STRF_POOL_AVERAGE) {
    divide_by_count(window, grad_pooled, out);
    pad(window, out, T(0), padded);
    sum_windows(window, padded, out);  // a window holds p exactly when p's window holds its centre
    copy(window.size(), out, grad_reduced);
    return;
  }
  // The number, in (t, h, w) order, of the neighbour that is each window's maximum: the first of equals, or of NaNs.
  const T lowest = -static_cast<T>(__builtin_inff());
  pad(window, reduced, lowest, padded);
  for_vectors<T>(window, [&](int64_t at, int64_t padded_at) {
    Vec<T> maximum = broadcast(lowest), winner = broadcast(T(-1));
    T number = 0;
    for_neighbours(window, [&](int64_t offset) {
      const Vec<T> value = load(padded + padded_at + offset);
      const auto wins = value > maximum || (value != value && maximum == maximum);
      maximum = wins ? value : maximum;
      winner = wins ? broadcast(number) : winner;
      number += 1;
    });
    store(out + at, winner);
  });
  pad(window, out, T(-1), winners);
  pad(window, grad_pooled, T(0), grads);
  for_vectors<T>(window, [&](int64_t at, int64_t padded_at) {
    Vec<T> sum{};
    T number = 0;
    for_neighbours(window, [&](int64_t offset) {
      const Vec<T> won = load(winners + padded_at - offset), grad = load(grads + padded_at - offset);
      sum += won == number ? grad : Vec<T>{};
      number += 1;
    });
    store(out + at, sum);
  });
  copy(window.size(), out, grad_reduced);
}

}  // namespace

#endif
