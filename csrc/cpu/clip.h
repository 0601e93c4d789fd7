// One sample of x in either layout, and its products with a strip of masks.
#ifndef STRF_CPU_CLIP_H
#define STRF_CPU_CLIP_H

#include "plan.h"
#include "product.h"

namespace {

// x of one sample; frame t is the matrix [channels, positions] wherever its elements lie.
template <class T>
struct Clip {
  const strf_problem& problem;
  const T* data;

  bool channels_last() const { return problem.layout == STRF_CHANNELS_LAST; }
  int64_t positions() const { return problem.height * problem.width; }
  Matrix<T> frame(int64_t t) const {
    if (channels_last()) return {data + t * positions() * problem.channels, 1, problem.channels};
    return {data + t * positions(), problem.frames * positions(), 1};
  }
};

inline int64_t clip_size(const strf_problem& problem) {
  return problem.channels * problem.frames * problem.height * problem.width;
}

template <class T>
Clip<T> clip_of(const strf_problem& problem, const void* x, int64_t sample) {
  return {problem, static_cast<const T*>(x) + sample * clip_size(problem)};
}

template <class T>
Matrix<T> transposed(Matrix<T> matrix) {
  return {matrix.data, matrix.column_stride, matrix.row_stride};
}

// Columns [first, first + count) of a sample's N x N matrices, held as panels [N][kPanel].
struct Strip {
  int64_t first, count;
};

inline Strip strip_of(const strf_plan& plan, int64_t index) {
  const int64_t first = index * plan.strip;
  return {first, smallest(plan.strip, plan.positions - first)};
}

// Columns of `strip` of y = X M, for M as panels: y_t[c, j] = sum_i x_t[c, i] M[i, j].
template <class T>
void multiply_by_masks(Clip<T> x, Strip strip, const T* masks, T* y, T* scratch) {
  const int64_t n = x.positions(), channels = x.problem.channels;
  if (!x.channels_last()) {  // all frames at once: the rows of X
    const int64_t rows = channels * x.problem.frames, block = block_rows<T>(n);
    for (int64_t d = 0; d < rows; d += block)
      for (int64_t j = 0; j < strip.count; j += kPanel<T>)
        multiply_panel(smallest(block, rows - d), smallest(kPanel<T>, strip.count - j), n,
                       Matrix<T>{x.data + d * n, n, 1}, masks + j * n, y + d * n + strip.first + j, n, false);
    return;
  }
  for (int64_t t = 0; t < x.problem.frames; ++t)
    for (int64_t c = 0; c < channels; c += kPanel<T>) {
      const int64_t width = smallest(kPanel<T>, channels - c);
      pack_panel(n, width, transposed(x.frame(t).at(c, 0)), scratch);
      for (int64_t j = 0; j < strip.count; j += kPanel<T>)
        multiply_panel(smallest(kPanel<T>, strip.count - j), width, n, Matrix<T>{masks + j * n, 1, kPanel<T>}, scratch,
                       y + (t * n + strip.first + j) * channels + c, channels, false);
    }
}

// Columns of `strip` of dM = X^T G as panels.
template <class T>
void gradient_of_masks(Clip<T> x, Clip<T> grad, Strip strip, T* grad_masks, T* scratch) {
  const int64_t n = x.positions(), channels = x.problem.channels;
  const Result<T> result = in_panels(grad_masks, n);
  if (!x.channels_last()) {
    const Matrix<T> rows{x.data, n, 1}, grad_rows{grad.data + strip.first, n, 1};
    return multiply(n, strip.count, channels * x.problem.frames, transposed(rows), grad_rows, result, false, scratch);
  }
  for (int64_t t = 0; t < x.problem.frames; ++t)
    multiply(n, strip.count, channels, transposed(x.frame(t)), grad.frame(t).at(0, strip.first), result, t > 0,
             scratch);
}

}  // namespace

#endif
