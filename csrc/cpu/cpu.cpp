// The CPU's part of strf.h: the plan of the workspace, and the level that the processor can run.
#include <algorithm>

#include "plan.h"
#include "window.h"

namespace {

constexpr int64_t kStripBytes = 256 * 1024;  // a strip of masks stays in the second-level cache

int64_t element_size(const strf_problem& problem) { return problem.type == STRF_FLOAT64 ? 8 : 4; }

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

const strf_kernels& kernels(strf_cpu_level level) {
#ifdef __x86_64__
  if (level == STRF_CPU_AVX512) return strf_kernels_avx512;
  if (level == STRF_CPU_AVX2) return strf_kernels_avx2;
#endif
  (void)level;
  return strf_kernels_baseline;
}

}  // namespace

strf_plan strf_make_plan(const strf_problem& problem, int32_t threads, bool backward) {
  const int64_t unit = 128 / element_size(problem);
  const auto padded = [unit](int64_t elements) { return divide_up(elements, unit) * unit; };
  strf_plan plan{};
  plan.positions = problem.height * problem.width;
  plan.rows = problem.reduced * problem.frames;
  plan.all_reduced = problem.paths * problem.reduced;
  const int64_t affordable = kStripBytes / (plan.positions * 128);
  plan.strip = unit * std::clamp<int64_t>(affordable, 1, std::min<int64_t>(4, divide_up(plan.positions, unit)));
  plan.strips = divide_up(plan.positions, plan.strip);
  plan.parts = std::max(1, threads);
  // Some pieces of work for each thread, so that they end at about the same time; fewer where there are many threads,
  // since each group has its own share of dT.
  const int64_t pieces = std::max(2 * plan.parts, std::min<int64_t>(8 * plan.parts, 64));
  plan.groups = std::min(plan.strips, divide_up(pieces, std::max<int64_t>(1, problem.batch)));

  const int64_t all = problem.batch * problem.paths * plan.rows * plan.positions;
  const auto take = [&plan, padded](int64_t elements) {
    const int64_t at = plan.size;
    plan.size += padded(elements);
    return at;
  };
  plan.reduced = take(all);
  plan.pooled = take(all);
  if (problem.similarity == STRF_COSINE) plan.lengths = take(all / problem.reduced);
  if (backward) {
    plan.grad_left = take(all);
    plan.grad_right = take(plan.groups * all);
    plan.grad_weight = take(plan.parts * plan.all_reduced * problem.channels);
  }
  const int64_t strips = (backward ? 2 : 1) * plan.positions * plan.strip;
  const int64_t panels = (plan.positions + plan.rows + 8) * unit;
  plan.pack_size = std::max(kDepth * kGroup, plan.positions) * unit;
  const int64_t planes = plan.positions * plan.all_reduced;
  int64_t path = backward ? plan.positions * plan.rows : 0;
  for (int32_t k = 0; k < problem.paths; ++k)
    path = std::max(path, pool_scratch(window_of(problem, problem.pools[k]), unit, backward));
  plan.scratch_size = plan.pack_size + padded(std::max({strips + panels, planes, path}));
  plan.scratch = take(plan.parts * plan.scratch_size);
  return plan;
}

extern "C" {

strf_cpu_level strf_cpu_best_level(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
    return STRF_CPU_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return STRF_CPU_AVX2;
#endif
  return STRF_CPU_BASELINE;
}

const char* strf_cpu_level_name(strf_cpu_level level) {
  return level == STRF_CPU_AVX512 ? "AVX-512" : level == STRF_CPU_AVX2 ? "AVX2" : "baseline";
}

int64_t strf_cpu_workspace(const strf_problem* problem, int32_t threads, int backward) {
  return strf_make_plan(*problem, threads, backward != 0).size * element_size(*problem);
}

void strf_cpu_forward(const strf_problem* problem, strf_cpu_level level, const strf_threads* threads, const void* x,
                      const void* weight, void* y, void* maximum, void* normalizer, void* workspace) {
  const strf_plan plan = strf_make_plan(*problem, threads->threads, false);
  kernels(level).forward(*problem, plan, *threads, x, weight, y, maximum, normalizer, workspace);
}

void strf_cpu_backward(const strf_problem* problem, strf_cpu_level level, const strf_threads* threads,
                       const void* grad_y, const void* x, const void* weight, const void* maximum,
                       const void* normalizer, void* grad_x, void* grad_weight, void* workspace) {
  const strf_plan plan = strf_make_plan(*problem, threads->threads, true);
  kernels(level).backward(*problem, plan, *threads, grad_y, x, weight, maximum, normalizer, grad_x, grad_weight,
                          workspace);
}

void strf_cpu_exp2(strf_cpu_level level, strf_type type, int64_t count, const void* from, void* to) {
  kernels(level).exp2(type, count, from, to);
}

}  // extern "C"
