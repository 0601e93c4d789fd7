// torch.ops.strf_cuda.* on CUDA tensors: puts csrc/cuda on PyTorch's current stream, in memory of PyTorch's allocator.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include "problem.h"

// Only torch built for CUDA has it, and the library must load beside any torch.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index,
                                                                                   void** ret_stream);

namespace strf_python {
namespace {

using torch::stable::accelerator::DeviceGuard;

void* current_stream(int32_t device) {
  require(aoti_torch_get_current_cuda_stream != nullptr, "this PyTorch was built without CUDA");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return stream;
}

void require_success(const char* error) { require(error == nullptr, error); }

// Freed when the call returns, while the kernels may still run: what gets this memory next waits for them, since the
// allocator gives it to the same stream only.
Tensor allocate_workspace(const Tensor& x, const strf_problem& problem, bool backward) {
  int64_t bytes = 0;
  require_success(strf_cuda_workspace(&problem, x.get_device_index(), backward, &bytes));
  return allocate(x, {bytes}, ScalarType::Byte);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> cuda_forward(Tensor x, Tensor weight, Sizes windows, Sizes kinds, double temperature,
                                                bool tf32, bool cosine) {
  refuse_differentiation({&x, &weight});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature, tf32, cosine);
  const int32_t device = x.get_device_index();
  const ScalarType type = x.scalar_type();
  const DeviceGuard guard(device);
  const Tensor y = allocate_as_x(x, problem, type);
  const Tensor maximum = allocate_statistics(x, problem), normalizer = allocate_statistics(x, problem);
  if (problem.batch > 0) {
    const Tensor x_read = readable_as_x(x, problem, type), weight_read = readable(weight, type);
    const Tensor workspace = allocate_workspace(x, problem, false);
    require_success(strf_cuda_forward(&problem, device, current_stream(device), x_read.const_data_ptr(),
                                      weight_read.const_data_ptr(), y.mutable_data_ptr(), maximum.mutable_data_ptr(),
                                      normalizer.mutable_data_ptr(), workspace.mutable_data_ptr()));
  }
  return {y, maximum, normalizer};
}

std::tuple<Tensor, Tensor> cuda_backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer,
                                         Sizes windows, Sizes kinds, double temperature, bool tf32, bool cosine) {
  refuse_differentiation({&grad, &x, &weight, &maximum, &normalizer});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature, tf32, cosine);
  check_backward(problem, x, grad, maximum, normalizer);
  const int32_t device = x.get_device_index();
  const ScalarType type = x.scalar_type(), wide = wide_type(problem);
  const DeviceGuard guard(device);
  const Tensor grad_x = allocate_as_x(x, problem, type);
  const Tensor grad_weight = allocate_as_weight(x, problem, type);
  if (problem.batch > 0) {
    const Tensor grad_read = readable_as_x(grad, problem, type), x_read = readable_as_x(x, problem, type);
    const Tensor weight_read = readable(weight, type);
    const Tensor maximum_read = readable(maximum, wide), normalizer_read = readable(normalizer, wide);
    const Tensor workspace = allocate_workspace(x, problem, true);
    require_success(strf_cuda_backward(&problem, device, current_stream(device), grad_read.const_data_ptr(),
                                       x_read.const_data_ptr(), weight_read.const_data_ptr(),
                                       maximum_read.const_data_ptr(), normalizer_read.const_data_ptr(),
                                       grad_x.mutable_data_ptr(), grad_weight.mutable_data_ptr(),
                                       workspace.mutable_data_ptr()));
  } else {
    TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(grad_weight.get()));
  }
  return {grad_x, grad_weight};
}

Tensor cuda_probe(Tensor values) {
  require(values.scalar_type() == ScalarType::Float, "probe takes float32 values");
  const int32_t device = values.get_device_index();
  const DeviceGuard guard(device);
  const Tensor doubled = torch::stable::clone(torch::stable::contiguous(values));
  require_success(strf_cuda_probe(device, current_stream(device), doubled.mutable_data_ptr<float>(), doubled.numel()));
  return doubled;
}

}  // namespace strf_python
