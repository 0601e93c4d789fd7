// Sizes that follow from a problem, and where everything lies in the workspace; the same for every level.
#ifndef STRF_CPU_PLAN_H
#define STRF_CPU_PLAN_H

#include "../strf.h"

// How much of B a product packs at a time: rows, and panels of 128 bytes or less each (product.h).
constexpr int64_t kDepth = 512, kGroup = 4;

// Columns are handled in strips, which are whole cache lines of the widest panel (two 64-byte vectors).
struct strf_plan {
  int64_t positions;   // N
  int64_t rows;        // E of one path
  int64_t all_reduced; // channels of all R_k
  int64_t strip;       // columns of a strip, a multiple of `unit`
  int64_t strips;      // of a sample
  int64_t groups;      // of a sample's strips, that may run at the same time in the backward pass
  int64_t parts;       // threads that work, each with scratch

  // Offsets into the workspace, in elements.
  int64_t reduced;     // [batch, paths, E, N]: R, replaced by its gradient at the end of the backward pass
  int64_t pooled;      // [batch, paths, E, N]: T or U
  int64_t lengths;     // [batch, paths, frames, N], cosine: what T was divided by
  int64_t grad_left;   // [batch, paths, E, N]: U_k dS_k
  int64_t grad_right;  // [batch, groups, paths, N, E]: dS_k U_k^T, each group's share
  int64_t grad_weight; // [parts, all_reduced, channels], transposed for contiguous x: dW of a range of frames
  int64_t scratch;     // [parts, scratch_size]; the first pack_size of each are for packed operands
  int64_t scratch_size;
  int64_t pack_size;
  int64_t size;
};

strf_plan strf_make_plan(const strf_problem& problem, int32_t threads, bool backward);

// What kernels.cpp gives at each level.
struct strf_kernels {
  void (*forward)(const strf_problem&, const strf_plan&, const strf_threads&, const void* x, const void* weight,
                  void* y, void* maximum, void* normalizer, void* workspace);
  void (*backward)(const strf_problem&, const strf_plan&, const strf_threads&, const void* grad_y, const void* x,
                   const void* weight, const void* maximum, const void* normalizer, void* grad_x, void* grad_weight,
                   void* workspace);
  void (*exp2)(strf_type, int64_t count, const void* from, void* to);
};

extern const strf_kernels strf_kernels_baseline, strf_kernels_avx2, strf_kernels_avx512;

#endif
