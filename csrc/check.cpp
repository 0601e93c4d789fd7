// Whether a problem can be computed, in words when it cannot.
#include <cstdio>
#include <initializer_list>

#include "strf.h"

extern "C" const char* strf_check(const strf_problem* problem) {
  static thread_local char sentence[160];
  const auto fail = [](const char* what, long long value, const char* must) {
    std::snprintf(sentence, sizeof sentence, "%s is %lld, but it must be %s", what, value, must);
    return sentence;
  };
  if (problem->paths < 1 || problem->paths > STRF_MAX_PATHS) return fail("paths", problem->paths, "1 to 4");
  if (problem->batch < 0) return fail("batch", problem->batch, "0 or more");
  for (const int64_t size : {problem->channels, problem->frames, problem->height, problem->width, problem->reduced})
    if (size < 1) return fail("a size of x or weight", size, "1 or more");
  for (int path = 0; path < problem->paths; ++path) {
    const strf_pool& pool = problem->pools[path];
    for (const int32_t size : {pool.frames, pool.height, pool.width})
      if (size < 1 || size % 2 == 0) return fail("a pool window's size", size, "odd and positive");
  }
  if (problem->similarity == STRF_COSINE && !(problem->temperature > 0))
    return "the temperature of similarity cosine must be above 0";
  return nullptr;
}
