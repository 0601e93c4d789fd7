// The device that a call works on, and what goes wrong there in words.
#ifndef STRF_DEVICE_H
#define STRF_DEVICE_H

#include <cuda.h>
#include <cuda_runtime.h>

#include "operator.cuh"

namespace strf {

// A sentence that stays until this thread asks for the next one; nullptr for nullptr. The runtime's last error is
// forgotten, so that no later launch takes it for its own.
const char* in_words(const char* what_cuda_says);

// Makes a device the current one as long as it lives.
//
// The statically linked runtime has a current device of its own, but the driver's current context is shared with the
// process's other runtime. So the context is what is put back: putting back a device would create a context on device 0
// in every process that works on another one. What CUDA must load at a first call is allowed while a graph is captured.
class CurrentDevice {
 public:
  explicit CurrentDevice(int32_t device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

  const char* error() const { return error_; }  // nullptr, or a sentence; then nothing may be asked of the device
  Limits limits() const;

 private:
  int32_t device_;
  CUcontext before_ = nullptr;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
  const char* error_;
};

}  // namespace strf

#endif
