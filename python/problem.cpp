// See problem.h.
#include "problem.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

namespace strf_python {
namespace {

using torch::headeronly::MemoryFormat;

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

bool is_beside(const Tensor& tensor, const Tensor& x) {
  return tensor.is_cpu() == x.is_cpu() && tensor.is_cuda() == x.is_cuda() &&
         tensor.get_device_index() == x.get_device_index();
}

std::string place_of(const Tensor& x) {
  return x.is_cpu() ? "the CPU" : "device cuda:" + std::to_string(x.get_device_index());
}

void require_as_x(const char* name, const Tensor& tensor, const Tensor& x) {
  require(tensor.scalar_type() == x.scalar_type(), name, " is ", name_of(tensor.scalar_type()), ", but x is ",
          name_of(x.scalar_type()), "; convert one of them");
  require(is_beside(tensor, x), name, " must be on ", place_of(x), ", as x is");
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

// `order` names the dimensions from the fastest.
Tensor allocate(const Tensor& x, const Sizes& sizes, ScalarType type, std::initializer_list<int> order) {
  std::array<int64_t, 5> strides;
  int64_t stride = 1;
  for (const int dim : order) {
    strides[dim] = stride;
    stride *= std::max<int64_t>(sizes[dim], 1);
  }
  AtenTensorHandle handle = nullptr;
  const auto status = aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)),
      x.is_cpu() ? aoti_torch_device_type_cpu() : aoti_torch_device_type_cuda(), x.get_device_index(), &handle);
  require(status == AOTI_TORCH_SUCCESS, "out of memory: cannot allocate a tensor of the sizes ", Listed(sizes));
  return Tensor(handle);
}

// A copy of a valid tensor fails for want of memory only, which the stable interface does not pass on.
template <class Copy>
Tensor copied(const Tensor& tensor, Copy copy) {
  try {
    return copy();
  } catch (const std::exception&) {
    require(false, "out of memory: cannot copy a tensor of the sizes ", Listed(tensor));
    throw;
  }
}

Sizes sizes_of_statistics(const strf_problem& problem) {
  return {problem.batch, problem.paths, problem.height * problem.width};
}

}  // namespace

void refuse_differentiation(std::initializer_list<const Tensor*> inputs) {
  if (!aoti_torch_grad_mode_is_enabled()) return;
  // An alias of a tensor that requires a gradient has a history, if and only if one would be recorded here.
  for (const Tensor* input : inputs) {
    std::array<StableIValue, 1> stack{torch::stable::detail::from(*input)};
    TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::alias", "", stack.data(), TORCH_ABI_VERSION));
    TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::is_leaf", "", stack.data(), TORCH_ABI_VERSION));
    require(torch::stable::detail::to<bool>(stack[0]),
            "torch.ops.strf_cuda operators have no gradient of their own: call strf_cuda.factorized_attention, or use "
            "torch.no_grad() where none is needed");
  }
}

strf_problem problem_of(const Tensor& x, const Tensor& weight, const Sizes& windows, const Sizes& kinds,
                        double temperature, bool tf32, bool cosine) {
  require(x.dim() == 5, "x has ", x.dim(), " dimensions, but it must have 5: [batch, channels, frames, height, width]");
  strf_problem problem{};
  problem.type = type_of(x);
  require_as_x("weight", weight, x);
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
  problem.tf32 = tf32 && problem.type == STRF_FLOAT32;
  problem.similarity = cosine ? STRF_COSINE : STRF_DOT;
  const char* wrong = strf_check(&problem);
  require(wrong == nullptr, wrong);
  return problem;
}

void check_backward(const strf_problem& problem, const Tensor& x, const Tensor& grad, const Tensor& maximum,
                    const Tensor& normalizer) {
  require_as_x("grad", grad, x);
  require(has_sizes(grad, x.sizes()), "grad is ", Listed(grad), ", but it must be as x is: ", Listed(x));
  const Sizes sizes = sizes_of_statistics(problem);
  const ScalarType type = wide_type(problem);
  for (const auto& [name, statistic] : {std::pair("maximum", &maximum), std::pair("normalizer", &normalizer)})
    require(has_sizes(*statistic, sizes) && statistic->scalar_type() == type && is_beside(*statistic, x), name, " is ",
            Listed(*statistic), " of ", name_of(statistic->scalar_type()), ", but it must be ", Listed(sizes), " of ",
            name_of(type), " on ", place_of(x), ", as the forward operator returned it");
}

ScalarType wide_type(const strf_problem& problem) {
  return problem.type == STRF_FLOAT64 ? ScalarType::Double : ScalarType::Float;
}

Tensor converted(const Tensor& tensor, ScalarType type) {
  return tensor.scalar_type() == type ? tensor : copied(tensor, [&] { return torch::stable::to(tensor, type); });
}

Tensor readable_as_x(const Tensor& tensor, const strf_problem& problem, ScalarType type) {
  const bool last = problem.layout == STRF_CHANNELS_LAST;
  const bool fits = last ? is_channels_last(tensor) : tensor.is_contiguous();
  const auto format = last ? MemoryFormat::ChannelsLast3d : MemoryFormat::Contiguous;
  return converted(fits ? tensor : copied(tensor, [&] { return torch::stable::contiguous(tensor, format); }), type);
}

Tensor readable(const Tensor& tensor, ScalarType type) {
  return converted(
      tensor.is_contiguous() ? tensor : copied(tensor, [&] { return torch::stable::contiguous(tensor); }), type);
}

Tensor allocate(const Tensor& x, const Sizes& sizes, ScalarType type) {
  switch (sizes.size()) {
    case 1: return allocate(x, sizes, type, {0});
    case 3: return allocate(x, sizes, type, {2, 1, 0});
    default: return allocate(x, sizes, type, {4, 3, 2, 1, 0});
  }
}

Tensor allocate_as_x(const Tensor& x, const strf_problem& problem, ScalarType type) {
  const Sizes sizes{problem.batch, problem.channels, problem.frames, problem.height, problem.width};
  if (problem.layout == STRF_CHANNELS_LAST) return allocate(x, sizes, type, {1, 4, 3, 2, 0});
  return allocate(x, sizes, type);
}

Tensor allocate_statistics(const Tensor& x, const strf_problem& problem) {
  return allocate(x, sizes_of_statistics(problem), wide_type(problem));
}

Tensor allocate_as_weight(const Tensor& x, const strf_problem& problem, ScalarType type) {
  return allocate(x, {problem.paths, problem.reduced, problem.channels}, type);
}

}  // namespace strf_python
