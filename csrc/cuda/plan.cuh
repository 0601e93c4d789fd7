// What a problem needs of the device: its sizes, its workspace, and how many parts the work is cut into.
#ifndef STRF_PLAN_CUH
#define STRF_PLAN_CUH

#include "columns.cuh"
#include "operator.cuh"
#include "pool.cuh"
#include "product.cuh"

namespace strf {

// dM in both orders is written and read at once, so it should stay in the second-level cache.
constexpr int64_t kGradMaskBytes = 64 << 20;

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

inline int element_bytes(strf_type type) { return type == STRF_FLOAT64 ? 8 : type == STRF_FLOAT32 ? 4 : 2; }

// What products of T_k are multiplied by: positions of T_k have length 1, and the mean over frames is taken here.
inline double logit_factor(const strf_problem& problem) {
  return problem.similarity == STRF_COSINE ? problem.temperature / problem.frames : problem.temperature;
}

inline Shape shape_of(const strf_problem& problem) {
  constexpr double kLog2E = 1.4426950408889634074;
  const int block = kBlockBytes / element_bytes(problem.type);
  Shape shape{};
  shape.channels = static_cast<int>(problem.channels);
  shape.frames = static_cast<int>(problem.frames);
  shape.height = static_cast<int>(problem.height);
  shape.width = static_cast<int>(problem.width);
  shape.reduced = static_cast<int>(problem.reduced);
  shape.paths = problem.paths;
  shape.positions = shape.height * shape.width;
  shape.padded_positions = static_cast<int>(round_up(shape.positions, kPanel));
  shape.rows = shape.reduced * shape.frames;
  shape.row_pitch = static_cast<int>(round_up(shape.rows, block));
  shape.wide_rows = static_cast<int>(round_up(shape.rows, 32));
  shape.all_reduced = shape.paths * shape.reduced;
  shape.all_pitch = static_cast<int>(round_up(shape.all_reduced, block));
  shape.cosine = problem.similarity == STRF_COSINE;
  shape.position_pitch = shape.row_pitch;
  for (int path = 0; path < shape.paths; ++path) {
    const strf_pool& pool = problem.pools[path];
    const bool averages = pool.kind == STRF_POOL_AVERAGE && (pool.frames > 1 || pool.height > 1 || pool.width > 1);
    shape.split[path] = (averages || shape.cosine) && element_bytes(problem.type) == 2;
    if (shape.split[path]) shape.position_pitch = 2 * shape.row_pitch;
  }
  shape.channels_last = problem.layout == STRF_CHANNELS_LAST;
  shape.exact = !problem.tf32;
  shape.scale = logit_factor(problem) * kLog2E;
  // A single position's mask is 1 exactly, as its logit less itself is 0.
  shape.bounded = strf_is_bounded(&problem) && shape.positions > 1;
  shape.bound = shape.bounded ? problem.temperature * kLog2E : 0;
  return shape;
}

// Where the workspace's arrays begin, in bytes.
struct Plan {
  Shape shape;
  Pool pools[STRF_MAX_PATHS];
  int64_t group;  // samples whose dM is held at a time
  int64_t parts;  // of dW
  int64_t reduced, pooled;
  int64_t transposed, largest, statistics, grad_mask, grad_mask_transposed, gradient, grad_reduced, weight_parts;
  int64_t size;
};

inline Plan plan_of(const strf_problem& problem, const Limits& limits, bool backward) {
  Plan plan{};
  const Shape shape = plan.shape = shape_of(problem);
  const auto reach = [](int window, int64_t length) {
    return static_cast<int>(window / 2 < length ? window / 2 : length);
  };
  for (int path = 0; path < shape.paths; ++path) {
    const strf_pool& pool = problem.pools[path];
    Pool& cut = plan.pools[path];
    cut = {reach(pool.frames, shape.frames), reach(pool.height, shape.height), reach(pool.width, shape.width), false};
    // The average of one element needs no note of where it was found.
    cut.average = pool.kind == STRF_POOL_AVERAGE || cut.frames + cut.height + cut.width == 0;
  }
  const int64_t element = element_bytes(problem.type), wide = problem.type == STRF_FLOAT64 ? 8 : 4;
  const auto take = [&plan](int64_t bytes) {
    const int64_t at = plan.size;
    plan.size += round_up(bytes, 256);
    return at;
  };
  const int64_t batch = problem.batch, maps = batch * shape.paths;
  plan.reduced = take(batch * shape.frames * shape.reduced_size() * element);
  plan.pooled = take(maps * shape.pooled_size() * element);
  if (!backward) return plan;
  const int64_t mask_bytes = int64_t(shape.positions) * shape.padded_positions * element;
  const int64_t affordable = kGradMaskBytes / (2 * mask_bytes);
  plan.group = affordable < 1 ? 1 : affordable < batch ? affordable : batch;
  const int64_t tiles = Product<Float32, 64>::tiles(shape.all_reduced, shape.channels), segments = batch * shape.frames;
  const int64_t wanted = (2 * limits.multiprocessors + tiles - 1) / tiles;
  plan.parts = wanted < segments ? wanted : segments;
  plan.transposed = take(maps * shape.transposed_size() * element);
  plan.largest = take(maps * shape.gradient_size() * sizeof(int32_t));
  plan.statistics = take(maps * kStatistics * shape.padded_positions * wide);
  plan.grad_mask = take(plan.group * mask_bytes);
  plan.grad_mask_transposed = take(plan.group * mask_bytes);
  plan.gradient = take(maps * shape.gradient_size() * wide);
  plan.grad_reduced = take(batch * shape.frames * shape.reduced_size() * element);
  plan.weight_parts = take(plan.parts * shape.all_reduced * shape.channels * wide);
  return plan;
}

// The widest access, at most 16 bytes, that suits an array of rows of `row` elements.
inline int access_width(const void* base, int64_t row, int64_t element) {
  int width = 16;
  while (reinterpret_cast<uintptr_t>(base) % width || row * element % width) width /= 2;
  return width;
}

}  // namespace strf

#endif
