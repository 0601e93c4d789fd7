// What can be said of a problem before it is computed, for all element types.
#include <cstdio>

#include "plan.cuh"

namespace strf {

const char* too_large(const strf_problem& problem) {
  constexpr double kLimit = 2147483648.0;
  static thread_local char sentence[160];
  const double positions = double(problem.height) * double(problem.width) + kPanel;
  const double sample = double(problem.channels) * double(problem.frames) * positions;
  // Padded, and twice where an average is kept as a sum of two.
  const double pooled = 2 * (double(problem.reduced) * double(problem.frames) + kBlockBytes) * positions;
  const double weights = double(problem.paths) * double(problem.reduced) * double(problem.channels);
  const char* what = sample >= kLimit    ? "a sample of x"
                     : pooled >= kLimit  ? "a path of a sample, reduced channels * frames * positions,"
                     : weights >= kLimit ? "weight"
                                         : nullptr;
  if (!what) return nullptr;
  std::snprintf(sentence, sizeof sentence,
                "%s is too large for the CUDA kernels, which count within a sample in 32 bits", what);
  return sentence;
}

int64_t workspace_bytes(const strf_problem& problem, const Limits& limits, bool backward) {
  return plan_of(problem, limits, backward).size;
}

}  // namespace strf
