// torch.ops.strf_cuda.forward and backward on CPU tensors: checks, brings the tensors to what csrc/cpu takes, and runs
// it on PyTorch's threads.
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <utility>

#include "registration.h"
#include "strf.h"

namespace strf_python {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using Sizes = std::vector<int64_t>;

// [1, 2, 3]
struct Listed {
  const int64_t* values;
  size_t count;
  explicit Listed(const Tensor& tensor) : values(tensor.sizes().data()), count(tensor.sizes().size()) {}
  explicit Listed(const Sizes& sizes) : values(sizes.data()), count(sizes.size()) {}
};

std::ostream& operator<<(std::ostream& out, const Listed& list) {
  out << '[';
  for (size_t i = 0; i < list.count; ++i) out << (i ? ", " : "") << list.values[i];
  return out << ']';
}

bool has_sizes(const Tensor& tensor, torch::headeronly::IntHeaderOnlyArrayRef sizes) {
  const auto actual = tensor.sizes();
  return actual.size() == sizes.size() && std::equal(sizes.begin(), sizes.end(), actual.begin());
}

const char* name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Double: return "float64";
    case ScalarType::Float: return "float32";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Half: return "float16";
    default: return "another type";
  }
}

strf_type type_of(const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return STRF_FLOAT64;
    case ScalarType::Float: return STRF_FLOAT32;
    case ScalarType::BFloat16: return STRF_BFLOAT16;
    case ScalarType::Half: return STRF_FLOAT16;
    default: require(false, "x must be float64, float32, bfloat16 or float16"); return STRF_FLOAT32;
  }
}

void require_same_type(const char* name, const Tensor& tensor, const Tensor& x) {
  require(tensor.scalar_type() == x.scalar_type(), name, " is ", name_of(tensor.scalar_type()), ", but x is ",
          name_of(x.scalar_type()), "; convert one of them");
  require(tensor.is_cpu(), name, " must be on the CPU, as x is");
}

// PyTorch records nothing for these operators; the gradients come from the autograd function around them. An alias of a
// tensor that requires a gradient has a history, if and only if one would be recorded here.
void refuse_differentiation(std::initializer_list<const Tensor*> inputs) {
  if (!aoti_torch_grad_mode_is_enabled()) return;
  for (const Tensor* input : inputs) {
    std::array<StableIValue, 1> stack{torch::stable::detail::from(*input)};
    TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::alias", "", stack.data(), TORCH_ABI_VERSION));
    TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::is_leaf", "", stack.data(), TORCH_ABI_VERSION));
    require(torch::stable::detail::to<bool>(stack[0]),
            "torch.ops.strf_cuda operators have no gradient of their own: call strf_cuda.factorized_attention, or use "
            "torch.no_grad() where none is needed");
  }
}

bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  int64_t expected = 1;
  for (const int dim : {1, 4, 3, 2, 0}) {
    if (x.size(dim) == 1) continue;
    if (x.stride(dim) != expected) return false;
    expected *= x.size(dim);
  }
  return true;
}

// Checks the arguments of a call; the sizes are those of x as it is given.
strf_problem problem_of(const Tensor& x, const Tensor& weight, const Sizes& windows, const Sizes& kinds,
                        double temperature) {
  require(x.dim() == 5, "x has ", x.dim(), " dimensions, but it must have 5: [batch, channels, frames, height, width]");
  strf_problem problem{};
  problem.type = type_of(x);
  require_same_type("weight", weight, x);
  require(weight.dim() == 3 && weight.size(2) == x.size(1), "weight is ", Listed(weight),
          ", but it must be [paths, reduced channels, ", x.size(1), "] to match the channels of x");
  require(weight.size(0) <= STRF_MAX_PATHS, "weight has ", weight.size(0), " paths, but it must have 1 to 4");
  const int64_t paths = weight.size(0);
  require(int64_t(kinds.size()) == paths && int64_t(windows.size()) == 3 * paths, "weight has ", paths,
          " paths, so windows must hold ", 3 * paths, " numbers and kinds ", paths, ", but they are ", Listed(windows),
          " and ", Listed(kinds));
  problem.batch = x.size(0);
  problem.channels = x.size(1);
  problem.frames = x.size(2);
  problem.height = x.size(3);
  problem.width = x.size(4);
  problem.reduced = weight.size(1);
  problem.paths = static_cast<int32_t>(paths);
  for (int64_t path = 0; path < paths; ++path) {
    const int64_t* window = windows.data() + 3 * path;
    for (int i = 0; i < 3; ++i)
      require(window[i] > 0 && window[i] % 2 == 1 && window[i] <= std::numeric_limits<int32_t>::max(), "windows are ",
              Listed(windows), ", but each must be odd, positive and below 2^31");
    require(kinds[path] == STRF_POOL_MAX || kinds[path] == STRF_POOL_AVERAGE, "kinds are ", Listed(kinds),
            ", but each must be 0 (max) or 1 (average)");
    problem.pools[path] = {static_cast<int32_t>(window[0]), static_cast<int32_t>(window[1]),
                           static_cast<int32_t>(window[2]), static_cast<strf_pool_kind>(kinds[path])};
  }
  problem.temperature = temperature;
  problem.layout = is_channels_last(x) ? STRF_CHANNELS_LAST : STRF_CONTIGUOUS;
  const char* wrong = strf_check(&problem);
  require(wrong == nullptr, wrong);
  return problem;
}

ScalarType computed_type(const strf_problem& problem) {
  return problem.type == STRF_FLOAT64 ? ScalarType::Double : ScalarType::Float;
}

Tensor converted(const Tensor& tensor, ScalarType type) {
  return tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
}

// x or grad in the problem's layout and type, without a copy where that is possible.
Tensor readable(const Tensor& tensor, const strf_problem& problem) {
  const bool last = problem.layout == STRF_CHANNELS_LAST;
  const bool fits = last ? is_channels_last(tensor) : tensor.is_contiguous();
  const auto format = last ? MemoryFormat::ChannelsLast3d : MemoryFormat::Contiguous;
  return converted(fits ? tensor : torch::stable::contiguous(tensor, format), computed_type(problem));
}

// The same for the other tensors, which are always contiguous.
Tensor readable(const Tensor& tensor, ScalarType type) {
  return converted(tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor), type);
}

// Uninitialised, on the CPU; PyTorch aligns it to 64 bytes. `order` names the dimensions from the fastest.
Tensor allocate(const Sizes& sizes, ScalarType type, std::initializer_list<int> order) {
  std::array<int64_t, 5> strides;
  int64_t stride = 1;
  for (const int dim : order) {
    strides[dim] = stride;
    stride *= std::max<int64_t>(sizes[dim], 1);
  }
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)), aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

Tensor allocate_as_x(const strf_problem& problem) {
  const Sizes sizes{problem.batch, problem.channels, problem.frames, problem.height, problem.width};
  if (problem.layout == STRF_CHANNELS_LAST) return allocate(sizes, computed_type(problem), {1, 4, 3, 2, 0});
  return allocate(sizes, computed_type(problem), {4, 3, 2, 1, 0});
}

Sizes sizes_of_statistics(const strf_problem& problem) {
  return {problem.batch, problem.paths, problem.height * problem.width};
}

strf_cpu_level level() {
  static const strf_cpu_level best = strf_cpu_best_level();
  return best;
}

strf_threads threads() {
  const auto run = [](int64_t count, strf_task task, void* context) {
    TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, 1, task, context));
  };
  return {static_cast<int32_t>(torch::stable::get_num_threads()), run};
}

Tensor allocate_workspace(const strf_problem& problem, const strf_threads& threads, bool backward) {
  return allocate({strf_cpu_workspace(&problem, threads.threads, backward)}, ScalarType::Byte, {0});
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> cpu_forward(Tensor x, Tensor weight, Sizes windows, Sizes kinds,
                                               double temperature) {
  refuse_differentiation({&x, &weight});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature);
  const ScalarType type = x.scalar_type(), computed = computed_type(problem);
  const Tensor y = allocate_as_x(problem);
  const Tensor maximum = allocate(sizes_of_statistics(problem), computed, {2, 1, 0});
  const Tensor normalizer = allocate(sizes_of_statistics(problem), computed, {2, 1, 0});
  if (problem.batch > 0) {
    const Tensor x_read = readable(x, problem), weight_read = readable(weight, computed);
    const strf_threads pool = threads();
    const Tensor workspace = allocate_workspace(problem, pool, false);
    strf_cpu_forward(&problem, level(), &pool, x_read.const_data_ptr(), weight_read.const_data_ptr(),
                     y.mutable_data_ptr(), maximum.mutable_data_ptr(), normalizer.mutable_data_ptr(),
                     workspace.mutable_data_ptr());
  }
  return {converted(y, type), maximum, normalizer};
}

std::tuple<Tensor, Tensor> cpu_backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer,
                                        Sizes windows, Sizes kinds, double temperature) {
  refuse_differentiation({&grad, &x, &weight, &maximum, &normalizer});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature);
  const ScalarType type = x.scalar_type(), computed = computed_type(problem);
  require_same_type("grad", grad, x);
  require(has_sizes(grad, x.sizes()), "grad is ", Listed(grad), ", but it must be as x is: ", Listed(x));
  for (const auto& [name, statistic] : {std::pair("maximum", &maximum), std::pair("normalizer", &normalizer)}) {
    const Sizes sizes = sizes_of_statistics(problem);
    require(has_sizes(*statistic, sizes) && statistic->scalar_type() == computed && statistic->is_cpu(), name, " is ",
            Listed(*statistic), " of ", name_of(statistic->scalar_type()), ", but it must be ", Listed(sizes), " of ",
            name_of(computed), " on the CPU, as the forward operator returned it");
  }
  const Tensor grad_x = allocate_as_x(problem);
  const Tensor grad_weight = allocate({problem.paths, problem.reduced, problem.channels}, computed, {2, 1, 0});
  if (problem.batch > 0) {
    const Tensor grad_read = readable(grad, problem), x_read = readable(x, problem);
    const Tensor weight_read = readable(weight, computed);
    const Tensor maximum_read = readable(maximum, computed), normalizer_read = readable(normalizer, computed);
    const strf_threads pool = threads();
    const Tensor workspace = allocate_workspace(problem, pool, true);
    strf_cpu_backward(&problem, level(), &pool, grad_read.const_data_ptr(), x_read.const_data_ptr(),
                      weight_read.const_data_ptr(), maximum_read.const_data_ptr(), normalizer_read.const_data_ptr(),
                      grad_x.mutable_data_ptr(), grad_weight.mutable_data_ptr(), workspace.mutable_data_ptr());
  } else {
    TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(grad_weight.get()));
  }
  return {converted(grad_x, type), converted(grad_weight, type)};
}

}  // namespace strf_python
