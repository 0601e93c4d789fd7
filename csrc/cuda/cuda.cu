// The CUDA part of strf.h: finds the device's limits and calls the operator for the problem's type.
#include "device.h"
#include "operator.cuh"

namespace strf {

struct BFloat16;
struct Float16;
struct Float32;
struct Float64;

}  // namespace strf

extern "C" {

const char* strf_cuda_workspace(const strf_problem* problem, int32_t device, int backward, int64_t* bytes) {
  if (const char* sentence = strf::too_large(*problem)) return sentence;
  const strf::CurrentDevice current(device);
  if (!current.error()) *bytes = strf::workspace_bytes(*problem, current.limits(), backward != 0);
  return current.error();
}

const char* strf_cuda_forward(const strf_problem* problem, int32_t device, void* stream, const void* x,
                              const void* weight, void* y, void* maximum, void* normalizer, void* workspace) {
  const strf::CurrentDevice current(device);
  if (current.error()) return current.error();
  const auto run = [&](auto forward) {
    return strf::in_words(
        forward(*problem, current.limits(), x, weight, y, maximum, normalizer, workspace, stream));
  };
  switch (problem->type) {
    case STRF_FLOAT64: return run(strf::forward<strf::Float64>);
    case STRF_FLOAT32: return run(strf::forward<strf::Float32>);
    case STRF_BFLOAT16: return run(strf::forward<strf::BFloat16>);
    default: return run(strf::forward<strf::Float16>);
  }
}

const char* strf_cuda_backward(const strf_problem* problem, int32_t device, void* stream, const void* grad_y,
                               const void* x, const void* weight, const void* maximum, const void* normalizer,
                               void* grad_x, void* grad_weight, void* workspace) {
  const strf::CurrentDevice current(device);
  if (current.error()) return current.error();
  const auto run = [&](auto backward) {
    return strf::in_words(backward(*problem, current.limits(), grad_y, x, weight, maximum, normalizer, grad_x,
                                   grad_weight, workspace, stream));
  };
  switch (problem->type) {
    case STRF_FLOAT64: return run(strf::backward<strf::Float64>);
    case STRF_FLOAT32: return run(strf::backward<strf::Float32>);
    case STRF_BFLOAT16: return run(strf::backward<strf::BFloat16>);
    default: return run(strf::backward<strf::Float16>);
  }
}

}  // extern "C"
