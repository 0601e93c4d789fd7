// Which devices the kernels run on, and making one of them the current one.
#include "device.h"

#include <cstdarg>
#include <cstdio>

namespace strf {
namespace {

constexpr int kOldestMajor = 8;  // of the compute capability: asynchronous copies and bfloat16 products

__global__ void double_values(float* values, int64_t count) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) values[i] *= 2.0f;
}

// A sentence that stays until this thread asks for the next one.
__attribute__((format(printf, 1, 2))) const char* say(const char* pattern, ...) {
  static thread_local char text[384];
  va_list values;
  va_start(values, pattern);
  std::vsnprintf(text, sizeof text, pattern, values);
  va_end(values);
  return text;
}

// The driver's functions for the current context; nullptr where there is no driver.
struct Driver {
  CUresult (*get_current)(CUcontext*) = nullptr;
  CUresult (*set_current)(CUcontext) = nullptr;
  cudaError_t error;

  Driver() : error(find("cuCtxGetCurrent", get_current)) {
    if (error == cudaSuccess) error = find("cuCtxSetCurrent", set_current);
  }

  template <class Function>
  static cudaError_t find(const char* name, Function& function) {
    void* found = nullptr;
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault);
#else
    const cudaError_t error = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault);
#endif
    function = reinterpret_cast<Function>(found);
    return error == cudaSuccess && !found ? cudaErrorInsufficientDriver : error;
  }
};

const Driver& driver() {
  static const Driver found;
  return found;
}

const char* describe(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    int version = 0;
    cudaDriverGetVersion(&version);
    if (version == 0) return "there is no CUDA driver on this machine";
    return say(
        "the CUDA driver is made for CUDA %d.%d, but the kernels were built with CUDA %d.%d; update the driver, or "
        "build the library with an older nvcc",
        version / 1000, version % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  return say("CUDA says: %s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
}

// `what` follows the device's name and its compute capability.
const char* describe_device(int32_t device, int major, int minor, const char* what) {
  cudaDeviceProp properties;
  if (const char* error = describe(cudaGetDeviceProperties(&properties, device))) return error;
  return say("%s has compute capability %d.%d, %s", properties.name, major, minor, what);
}

}  // namespace

const char* in_words(const char* what_cuda_says) {
  if (!what_cuda_says) return nullptr;
  cudaGetLastError();
  return say("CUDA says: %s", what_cuda_says);
}

CurrentDevice::CurrentDevice(int32_t device) : device_(device), error_(describe(driver().error)) {
  if (error_) return;
  driver().get_current(&before_);
  cudaThreadExchangeStreamCaptureMode(&mode_);
  error_ = describe(cudaSetDevice(device));
}

CurrentDevice::~CurrentDevice() {
  if (driver().error != cudaSuccess) return;
  cudaThreadExchangeStreamCaptureMode(&mode_);
  driver().set_current(before_);
}

Limits CurrentDevice::limits() const {
  int shared_bytes = 0, multiprocessors = 0;
  cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device_);
  return {shared_bytes, multiprocessors};
}

}  // namespace strf

extern "C" const char* strf_cuda_supports(int32_t device) {
  using namespace strf;
  const CurrentDevice current(device);
  if (current.error()) return current.error();
  int major = 0, minor = 0;
  cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (error != cudaSuccess) return describe(error);
  if (major < kOldestMajor) return describe_device(device, major, minor, "but the kernels need 8.0 or newer");
  cudaFuncAttributes attributes;
  error = cudaFuncGetAttributes(&attributes, double_values);
  switch (error) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
      cudaGetLastError();
      return describe_device(device, major, minor,
                             "for which the operator library holds no code; build it again with a newer nvcc");
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
      cudaGetLastError();
      return describe_device(device, major, minor,
                             "for which the operator library's code must be translated, and this driver cannot do that; "
                             "update the driver, or build the library with an nvcc that knows the device");
    default:
      return describe(error);
  }
}

extern "C" const char* strf_cuda_probe(int32_t device, void* stream, float* values, int64_t count) {
  using namespace strf;
  if (count < 1) return nullptr;
  const CurrentDevice current(device);
  if (current.error()) return current.error();
  constexpr int64_t threads = 256, most_blocks = 4096;
  const int64_t blocks = (count + threads - 1) / threads;
  double_values<<<blocks < most_blocks ? blocks : most_blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(values,
                                                                                                            count);
  return describe(cudaGetLastError());
}
