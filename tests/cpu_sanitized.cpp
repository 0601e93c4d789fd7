// Runs the CPU kernels on many small problems, for a build with sanitizers: every array has exactly its size on the
// heap, the workspace is full of NaN, and the parts of the work run in threads of their own.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "../csrc/strf.h"

namespace {

void run_in_threads(int64_t count, strf_task task, void* context) {
  std::vector<std::thread> threads;
  for (int64_t part = 0; part < count; ++part) threads.emplace_back(task, part, part + 1, context);
  for (std::thread& thread : threads) thread.join();
}

template <class T>
std::unique_ptr<T[]> values(int64_t count, unsigned seed) {
  std::unique_ptr<T[]> array(new T[count]);
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    array[i] = static_cast<T>(seed >> 8) / static_cast<T>(1 << 23) - 1;
  }
  return array;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> poisoned(int64_t bytes) {
  std::unique_ptr<void, Free> memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  std::memset(memory.get(), 0xff, bytes);
  return memory;
}

template <class T>
bool finite(const T* array, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(array[i])) return false;
  return true;
}

template <class T>
bool runs(const strf_problem& problem, int32_t parts) {
  const int64_t positions = problem.height * problem.width;
  const int64_t size = problem.batch * problem.channels * problem.frames * positions;
  const int64_t weights = problem.paths * problem.reduced * problem.channels;
  const int64_t statistics = problem.batch * problem.paths * positions;
  const auto x = values<T>(size, 1), weight = values<T>(weights, 2), grad_y = values<T>(size, 3);
  std::unique_ptr<T[]> y(new T[size]), maximum(new T[statistics]), normalizer(new T[statistics]);
  std::unique_ptr<T[]> grad_x(new T[size]), grad_weight(new T[weights]);
  const strf_threads threads{parts, run_in_threads};
  const strf_cpu_level level = strf_cpu_best_level();
  const auto forward = poisoned(strf_cpu_workspace(&problem, parts, 0));
  strf_cpu_forward(&problem, level, &threads, x.get(), weight.get(), y.get(), maximum.get(), normalizer.get(),
                   forward.get());
  const auto backward = poisoned(strf_cpu_workspace(&problem, parts, 1));
  strf_cpu_backward(&problem, level, &threads, grad_y.get(), x.get(), weight.get(), maximum.get(), normalizer.get(),
                    grad_x.get(), grad_weight.get(), backward.get());
  return finite(y.get(), size) && finite(grad_x.get(), size) && finite(grad_weight.get(), weights);
}

}  // namespace

int main() {
  const int64_t sizes[][6] = {// batch, channels, frames, height, width, reduced
                              {1, 1, 1, 1, 1, 1},  {2, 8, 3, 4, 3, 1}, {3, 5, 1, 1, 1, 2},  {1, 40, 2, 14, 7, 8},
                              {2, 33, 2, 13, 10, 3}, {1, 16, 4, 16, 8, 4}, {1, 3, 2, 32, 40, 1}, {1, 600, 1, 3, 3, 33}};
  const strf_pool pools[STRF_MAX_PATHS] = {{1, 1, 1, STRF_POOL_MAX},
                                           {3, 1, 1, STRF_POOL_MAX},
                                           {1, 3, 5, STRF_POOL_AVERAGE},
                                           {3, 3, 3, STRF_POOL_MAX}};
  int done = 0;
  for (const auto& size : sizes)
    for (const strf_layout layout : {STRF_CONTIGUOUS, STRF_CHANNELS_LAST})
      for (const strf_type type : {STRF_FLOAT64, STRF_FLOAT32, STRF_BFLOAT16, STRF_FLOAT16})
        for (const int32_t parts : {1, 3}) {
          strf_problem problem{size[0], size[1], size[2], size[3], size[4], size[5], STRF_MAX_PATHS, {},
                               0.5,     type,    layout,  0,       STRF_DOT};
          std::memcpy(problem.pools, pools, sizeof pools);
          if (__builtin_parity(done)) {  // each similarity meets every size, layout, type and number of parts
            problem.similarity = STRF_COSINE;
            problem.temperature = type == STRF_FLOAT16 ? 65 : 16;  // the maximum is searched, or bounded
          }
          if (const char* sentence = strf_check(&problem)) {
            std::printf("refused: %s\n", sentence);
            return 1;
          }
          if (!(type == STRF_FLOAT64 ? runs<double>(problem, parts) : runs<float>(problem, parts))) {
            std::printf("not finite: %lld channels, %lld x %lld, type %d, layout %d, %d parts\n",
                        static_cast<long long>(size[1]), static_cast<long long>(size[3]),
                        static_cast<long long>(size[4]), type, layout, parts);
            return 1;
          }
          ++done;
        }
  std::printf("%d problems\n", done);
}
