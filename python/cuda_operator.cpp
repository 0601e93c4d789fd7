// torch.ops.strf_cuda.* on CUDA tensors: takes them apart for csrc/cuda.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include "registration.h"
#include "strf.h"

// Only torch built for CUDA has it, and the library must load beside any torch.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index,
                                                                                   void** ret_stream);

namespace strf_python {
namespace {

void* current_stream(int32_t device) {
  require(aoti_torch_get_current_cuda_stream != nullptr, "this PyTorch was built without CUDA");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return stream;
}

}  // namespace

Tensor cuda_probe(Tensor values) {
  require(values.scalar_type() == torch::headeronly::ScalarType::Float, "probe takes float32 values");
  const int32_t device = values.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  const Tensor doubled = torch::stable::clone(torch::stable::contiguous(values));
  const char* error =
      strf_cuda_probe(device, current_stream(device), doubled.mutable_data_ptr<float>(), doubled.numel());
  require(error == nullptr, error);
  return doubled;
}

}  // namespace strf_python
