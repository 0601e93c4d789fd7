// R_k = W_k x and T_k = pool_k(R_k), for all paths of a sample, and the way back to x and the weights.
//
// R and T are [paths * reduced, frames, N]: path k's rows are its T_k [E, N].
#ifndef STRF_CPU_REDUCE_H
#define STRF_CPU_REDUCE_H

#include "clip.h"
#include "pool.h"

namespace {

inline float rounded_to_bfloat16(float value) {
  if (value != value) return value;
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  __builtin_memcpy(&value, &bits, sizeof bits);
  return value;
}

inline float rounded_to_float16(float value) {
  const float size = value < 0 ? -value : value;
  if (size >= 65520.0f) return value < 0 ? -__builtin_inff() : __builtin_inff();
  if (!(size >= 6.103515625e-5f)) {  // subnormal in float16, or NaN: multiples of 2^-24 by adding 1.5 * 2^-1
    const float shifted = value + 0.75f;
    return shifted - 0.75f;
  }
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0xfff + ((bits >> 13) & 1)) & 0xffffe000u;
  __builtin_memcpy(&value, &bits, sizeof bits);
  return value;
}

template <class T>
void round_to_type(strf_type type, int64_t count, T* values) {
  if (type == STRF_BFLOAT16)
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(rounded_to_bfloat16(static_cast<float>(values[i])));
  if (type == STRF_FLOAT16)
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(rounded_to_float16(static_cast<float>(values[i])));
}

// Frame t of R for one sample; tile holds N * paths * reduced elements.
template <class T>
void reduce_frame(Clip<T> x, const strf_plan& plan, const T* weight, int64_t t, T* reduced, T* tile, T* scratch) {
  const int64_t n = plan.positions, channels = x.problem.channels, row = x.problem.frames * n;
  const Matrix<T> weights{weight, channels, 1};
  T* out = reduced + t * n;
  if (!x.channels_last()) {
    multiply(plan.all_reduced, n, channels, weights, x.frame(t), plain(out, row), false, scratch);
  } else {
    multiply(n, plan.all_reduced, channels, transposed(x.frame(t)), transposed(weights),
             plain(tile, plan.all_reduced), false, scratch);
    transpose(n, plan.all_reduced, tile, plan.all_reduced, out, row);
  }
  for (int64_t r = 0; r < plan.all_reduced; ++r) round_to_type(x.problem.type, n, out + r * row);
}

// grad_x of frame t += W^T dR, and the frame's share of dW: [channels, all_reduced] for contiguous x, transposed
// for channels-last.
template <class T>
void reduce_frame_backward(Clip<T> x, const strf_plan& plan, const T* weight, int64_t t, const T* grad_reduced,
                           T* grad_x, T* grad_weight, bool add_to_weight, T* scratch) {
  const int64_t n = plan.positions, channels = x.problem.channels, reduced = plan.all_reduced;
  const int64_t row = x.problem.frames * n;
  const Matrix<T> weights{weight, channels, 1}, gradient{grad_reduced + t * n, row, 1};
  if (!x.channels_last()) {
    multiply(channels, n, reduced, transposed(weights), gradient, plain(grad_x + t * n, row), true, scratch);
    multiply(channels, reduced, n, x.frame(t), transposed(gradient), plain(grad_weight, reduced), add_to_weight,
             scratch);
  } else {
    multiply(n, channels, reduced, transposed(gradient), weights, plain(grad_x + t * n * channels, channels), true,
             scratch);
    multiply(reduced, channels, n, gradient, transposed(x.frame(t)), plain(grad_weight, channels), add_to_weight,
             scratch);
  }
}

}  // namespace

#endif
