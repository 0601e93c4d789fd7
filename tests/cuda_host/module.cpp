// The operator, run on the host, as a Python function of NumPy arrays.
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "block.h"
#include "operator.h"

namespace strf::host {
namespace {

constexpr std::pair<const char*, strf_type> kTypes[] = {
    {"float64", STRF_FLOAT64}, {"float32", STRF_FLOAT32}, {"bfloat16", STRF_BFLOAT16}, {"float16", STRF_FLOAT16}};

strf_type type_of(const std::string& name) {
  for (const auto& [known, type] : kTypes)
    if (name == known) return type;
  throw std::invalid_argument("unknown type " + name);
}

int64_t size_of(strf_type type) { return type == STRF_FLOAT64 ? 8 : type == STRF_FLOAT32 ? 4 : 2; }

strf_problem problem_of(const py::array& x, const py::array& weight, const std::vector<std::array<int, 3>>& windows,
                        const std::vector<std::string>& kinds, double temperature, const std::string& type,
                        bool channels_last, bool tf32, bool cosine) {
  if (x.ndim() != 5 || weight.ndim() != 3) throw std::invalid_argument("x must have 5 dimensions and weight 3");
  if (windows.size() != kinds.size() || static_cast<int64_t>(windows.size()) != weight.shape(0) ||
      windows.size() > STRF_MAX_PATHS)
    throw std::invalid_argument("windows, kinds and weight must be those of 1 to 4 paths");
  const int first = channels_last ? 1 : 2, channel = channels_last ? 4 : 1;
  strf_problem problem{};
  problem.batch = x.shape(0);
  problem.channels = x.shape(channel);
  problem.frames = x.shape(first);
  problem.height = x.shape(first + 1);
  problem.width = x.shape(first + 2);
  problem.reduced = weight.shape(1);
  problem.paths = static_cast<int32_t>(windows.size());
  for (size_t i = 0; i < windows.size(); ++i)
    problem.pools[i] = {windows[i][0], windows[i][1], windows[i][2],
                        kinds[i] == "max" ? STRF_POOL_MAX : STRF_POOL_AVERAGE};
  problem.temperature = temperature;
  problem.type = type_of(type);
  problem.layout = channels_last ? STRF_CHANNELS_LAST : STRF_CONTIGUOUS;
  problem.tf32 = tf32;
  problem.similarity = cosine ? STRF_COSINE : STRF_DOT;
  if (x.itemsize() != size_of(problem.type) || weight.itemsize() != size_of(problem.type))
    throw std::invalid_argument("arrays must be of the problem's type");
  return problem;
}

// x and grad lie in memory as the layout says: [B, C, T, H, W], or [B, T, H, W, C] with channels_last. Half types are
// given by their bits. `offsets` are the bytes from an aligned address to x, weight and grad; in the file and line that
// `left_out` names threads do not wait. Returns y, maximum and normalizer; with grad also grad_x and grad_weight.
py::dict run(const py::array& x, const py::array& weight, const std::vector<std::array<int, 3>>& windows,
             const std::vector<std::string>& kinds, double temperature, const std::string& type, bool channels_last,
             bool tf32, bool cosine, const std::optional<py::array>& grad, int64_t shared_bytes,
             int32_t multiprocessors, uint64_t seed, const std::array<int64_t, 3>& offsets,
             const std::pair<std::string, int>& left_out) {
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature, type, channels_last, tf32, cosine);
  if (const char* sentence = strf_check(&problem)) throw std::invalid_argument(sentence);
  const auto found = functions().find(problem.type);
  if (found == functions().end()) throw std::invalid_argument("this module was built without " + type);
  const Functions& of_type = found->second;
  const Limits limits{shared_bytes, multiprocessors};
  settings = {seed, shared_bytes, left_out.first, left_out.second};

  const int64_t positions = problem.height * problem.width;
  const py::dtype wide(problem.type == STRF_FLOAT64 ? "float64" : "float32");
  const std::vector<py::ssize_t> x_shape(x.shape(), x.shape() + 5), weight_shape(weight.shape(), weight.shape() + 3);
  const std::vector<py::ssize_t> statistics_shape{problem.batch, problem.paths, positions};
  const int64_t statistics_bytes = problem.batch * problem.paths * positions * wide.itemsize();

  const Memory given_x(x, offsets[0]), given_weight(weight, offsets[1]);
  const Memory y(given_x.bytes()), maximum(statistics_bytes), normalizer(statistics_bytes);
  {
    const Memory workspace(of_type.workspace(problem, limits, false));
    throw_if(of_type.forward(problem, limits, given_x.data(), given_weight.data(), y.data(), maximum.data(),
                             normalizer.data(), workspace.data(), nullptr));
  }
  py::dict results;
  results["y"] = y.array(x.dtype(), x_shape);
  results["maximum"] = maximum.array(wide, statistics_shape);
  results["normalizer"] = normalizer.array(wide, statistics_shape);
  if (grad) {
    if (grad->nbytes() != x.nbytes()) throw std::invalid_argument("grad must have the shape and type of x");
    const Memory given_grad(*grad, offsets[2]), grad_x(given_x.bytes()), grad_weight(given_weight.bytes());
    const Memory workspace(of_type.workspace(problem, limits, true));
    throw_if(of_type.backward(problem, limits, given_grad.data(), given_x.data(), given_weight.data(), maximum.data(),
                              normalizer.data(), grad_x.data(), grad_weight.data(), workspace.data(), nullptr));
    if (!given_grad.still_holds(*grad)) throw std::runtime_error("grad was written to");
    results["grad_x"] = grad_x.array(x.dtype(), x_shape);
    results["grad_weight"] = grad_weight.array(x.dtype(), weight_shape);
  }
  if (!given_x.still_holds(x) || !given_weight.still_holds(weight))
    throw std::runtime_error("x or weight was written to");
  return results;
}

}  // namespace
}  // namespace strf::host

PYBIND11_MODULE(cuda_host_operator, module) {
  using namespace pybind11::literals;
  module.def("run", &strf::host::run, "x"_a, "weight"_a, "windows"_a, "kinds"_a, "temperature"_a, "type"_a,
             "channels_last"_a, "tf32"_a, "cosine"_a, "grad"_a, "shared_bytes"_a, "multiprocessors"_a, "seed"_a,
             "offsets"_a, "left_out"_a);
}
