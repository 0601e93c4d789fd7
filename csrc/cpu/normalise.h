// Similarity cosine: T_k becomes U_k, and the way back.
//
// Both are [channels, count]: the elements of one frame and position are a column, and count = frames * N.
#ifndef STRF_CPU_NORMALISE_H
#define STRF_CPU_NORMALISE_H

#include <stdint.h>

namespace {

inline float root(float value) { return __builtin_sqrtf(value); }
inline double root(double value) { return __builtin_sqrt(value); }

// Every column t of `values` becomes u = t / length, with length = sqrt((|t|^2 + 1e-6) frames), which is kept. Divided,
// since t times a rounded 1 / length would not be exactly 1 or -1 where there is one channel, and the gradient, which is
// next to nothing there, would be rounding errors.
template <class T>
void normalise(int64_t channels, int64_t count, int64_t frames, T* __restrict values, T* __restrict length) {
  for (int64_t i = 0; i < count; ++i) length[i] = T(1e-6);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < count; ++i) length[i] += values[c * count + i] * values[c * count + i];
  for (int64_t i = 0; i < count; ++i) length[i] = root(length[i] * static_cast<T>(frames));
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < count; ++i) values[c * count + i] /= length[i];
}

// The gradient of u in `grad` becomes that of t: what lies along u is taken away. `along` holds `count` elements.
template <class T>
void normalise_backward(int64_t channels, int64_t count, int64_t frames, const T* __restrict units,
                        const T* __restrict length, T* __restrict grad, T* __restrict along) {
  for (int64_t i = 0; i < count; ++i) along[i] = T(0);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < count; ++i) along[i] += units[c * count + i] * grad[c * count + i];
  for (int64_t i = 0; i < count; ++i) along[i] *= static_cast<T>(frames);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = c * count + i;
      grad[at] = (grad[at] - units[at] * along[i]) / length[i];
    }
}

}  // namespace

#endif
