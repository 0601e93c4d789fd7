// Doubles numbers on the device: shows that the library's GPU code loads and runs there.
#include <cuda_runtime.h>

#include <cstdio>

#include "strf.h"

namespace {

__global__ void double_values(float* values, int64_t count) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) values[i] *= 2.0f;
}

const char* describe(cudaError_t error) {
  static thread_local char sentence[256];
  std::snprintf(sentence, sizeof sentence, "CUDA says: %s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
  return sentence;
}

// The statically linked runtime's current device, put back at the end.
class Device {
 public:
  explicit Device(int32_t device) : error_(cudaGetDevice(&before_)) {
    if (error_ == cudaSuccess) error_ = cudaSetDevice(device);
  }
  ~Device() {
    if (error_ == cudaSuccess) cudaSetDevice(before_);
  }
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  cudaError_t error_;
};

}  // namespace

extern "C" const char* strf_cuda_probe(int32_t device, void* stream, float* values, int64_t count) {
  if (count < 1) return nullptr;
  const Device current(device);
  if (current.error() != cudaSuccess) return describe(current.error());
  constexpr int64_t threads = 256, most_blocks = 4096;
  const int64_t blocks = (count + threads - 1) / threads;
  double_values<<<blocks < most_blocks ? blocks : most_blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(values,
                                                                                                            count);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : describe(error);
}
