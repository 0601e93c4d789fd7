// Prints the launches that the operator makes for problems on devices, one a line: kernel, strip and panels held (or
// 0), threads, blocks a multiprocessor, blocks, bytes of shared memory. Equal ones are printed once; an empty line ends
// a problem's launches.
//
// Problems come from the standard input, one a line: direction, type, layout, tf32, batch, channels, frames, height,
// width, reduced, paths, window, kind of pool, similarity, shared bytes and multiprocessors of the device.
//
// This is the code that csrc/cuda runs before it launches, compiled for the host; only the launch itself is another.
#define launch launch_on_the_host
#include <hardware.cuh>
#undef launch

#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <regex>
#include <set>
#include <string>

namespace strf {

template <class Type, bool kWhole>
struct Multiply;

// A launch's strip and panels held, which Multiply alone has.
template <class Kernel>
struct Strips {
  static int width(const typename Kernel::Params&) { return 0; }
  static int held(const typename Kernel::Params&) { return 0; }
};
template <class Type, bool kWhole>
struct Strips<Multiply<Type, kWhole>> {
  template <class Params>
  static int width(const Params& params) {
    return params.mask.width;
  }
  template <class Params>
  static int held(const Params& params) {
    return params.held;
  }
};

template <class Kernel>
std::string name_of() {
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(typeid(Kernel).name(), nullptr, nullptr, nullptr), std::free);
  return std::regex_replace(std::string(name.get()), std::regex("strf::| "), "");
}

std::set<std::string> printed;  // of this problem

template <class Kernel>
const char* launch(const typename Kernel::Params& params, int64_t blocks, int64_t shared_bytes, void*) {
  static const std::string name = name_of<Kernel>();
  std::string line = name;
  for (const int64_t figure : {int64_t(Strips<Kernel>::width(params)), int64_t(Strips<Kernel>::held(params)),
                               int64_t(Kernel::kThreads), int64_t(Kernel::kBlocks), blocks, shared_bytes})
    line += " " + std::to_string(figure);
  if (printed.insert(line).second) std::puts(line.c_str());
  return nullptr;
}

}  // namespace strf

#include "operator_impl.cuh"

namespace strf {
namespace {

template <class Type>
void run(const strf_problem& problem, const Limits& limits, bool backward) {
  uint8_t* array = nullptr;  // aligned as well as can be, and never read
  if (backward)
    strf::backward<Type>(problem, limits, array, array, array, array, array, array, array, array, nullptr);
  else
    strf::forward<Type>(problem, limits, array, array, array, array, array, array, nullptr);
}

}  // namespace
}  // namespace strf

int main() {
  int backward, type, layout, tf32, paths, window, kind, similarity, multiprocessors;
  long long batch, channels, frames, height, width, reduced, shared_bytes;
  while (std::scanf("%d %d %d %d %lld %lld %lld %lld %lld %lld %d %d %d %d %lld %d", &backward, &type, &layout, &tf32,
                    &batch, &channels, &frames, &height, &width, &reduced, &paths, &window, &kind, &similarity,
                    &shared_bytes, &multiprocessors) == 16) {
    strf_problem problem{};
    problem.batch = batch;
    problem.channels = channels;
    problem.frames = frames;
    problem.height = height;
    problem.width = width;
    problem.reduced = reduced;
    problem.paths = paths;
    for (int path = 0; path < paths; ++path)
      problem.pools[path] = {window, window, window, static_cast<strf_pool_kind>(kind)};
    problem.temperature = 4;
    problem.type = static_cast<strf_type>(type);
    problem.layout = static_cast<strf_layout>(layout);
    problem.tf32 = tf32;
    problem.similarity = static_cast<strf_similarity>(similarity);
    if (const char* sentence = strf_check(&problem)) {
      std::fprintf(stderr, "%s\n", sentence);
      return 1;
    }
    strf::printed.clear();
    const strf::Limits limits{shared_bytes, multiprocessors};
    switch (problem.type) {
      case STRF_FLOAT64: strf::run<strf::Float64>(problem, limits, backward); break;
      case STRF_FLOAT32: strf::run<strf::Float32>(problem, limits, backward); break;
      case STRF_BFLOAT16: strf::run<strf::BFloat16>(problem, limits, backward); break;
      case STRF_FLOAT16: strf::run<strf::Float16>(problem, limits, backward); break;
    }
    std::puts("");
  }
}
