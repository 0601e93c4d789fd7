// Runs the CUDA kernels on many small problems, for compute-sanitizer: every array is an allocation of its own of exactly
// its size, and the workspace is as it was allocated, or with the argument "poisoned" full of NaN.
//
// Called with the name of one of the sanitizer's tools it makes the mistake that this tool must find.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../csrc/strf.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::printf("%s\n", what);
  std::exit(1);
}

void require_success(cudaError_t error) { require(error == cudaSuccess, cudaGetErrorString(error)); }

class Memory {
 public:
  explicit Memory(int64_t bytes) : bytes_(bytes) { require_success(cudaMalloc(&data_, bytes ? bytes : 1)); }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  void poison() { require_success(cudaMemset(data_, 0xff, bytes_)); }

 private:
  void* data_ = nullptr;
  int64_t bytes_;
};

template <class T>
class Array : public Memory {
 public:
  explicit Array(int64_t count) : Memory(count * sizeof(T)) {}

  // Random numbers of at most `scale`.
  Array(int64_t count, unsigned seed, double scale) : Array(count) {
    std::vector<T> values(count);
    for (T& value : values) {
      seed = seed * 1664525u + 1013904223u;
      value = static_cast<T>(static_cast<float>(scale * ((seed >> 8) / double(1 << 23) - 1)));
    }
    require_success(cudaMemcpy(data(), values.data(), bytes(), cudaMemcpyHostToDevice));
  }

  bool finite() const {
    std::vector<T> values(bytes() / sizeof(T));
    require_success(cudaMemcpy(values.data(), data(), bytes(), cudaMemcpyDeviceToHost));
    for (const T value : values)
      if (!std::isfinite(static_cast<double>(static_cast<float>(value)))) return false;
    return true;
  }
};

template <class T, class Wide>
bool runs(const strf_problem& problem, bool poisoned) {
  const int64_t positions = problem.height * problem.width;
  const int64_t size = problem.batch * problem.channels * problem.frames * positions;
  const int64_t weights = problem.paths * problem.reduced * problem.channels;
  const int64_t statistics = problem.batch * problem.paths * positions;
  const Array<T> x(size, 1, 1), weight(weights, 2, 1.0 / std::sqrt(double(problem.channels))), grad_y(size, 3, 1);
  const Array<T> y(size), grad_x(size), grad_weight(weights);
  const Array<Wide> maximum(statistics), normalizer(statistics);
  int64_t bytes[2];
  for (const int backward : {0, 1}) {
    const char* error = strf_cuda_workspace(&problem, 0, backward, &bytes[backward]);
    require(!error, error);
  }
  Memory forward(bytes[0]), backward(bytes[1]);
  if (poisoned) forward.poison(), backward.poison();
  const char* error = strf_cuda_forward(&problem, 0, nullptr, x.data(), weight.data(), y.data(), maximum.data(),
                                        normalizer.data(), forward.data());
  require(!error, error);
  error = strf_cuda_backward(&problem, 0, nullptr, grad_y.data(), x.data(), weight.data(), maximum.data(),
                             normalizer.data(), grad_x.data(), grad_weight.data(), backward.data());
  require(!error, error);
  require_success(cudaDeviceSynchronize());
  return y.finite() && grad_x.finite() && grad_weight.finite();
}

bool runs(const strf_problem& problem, bool poisoned) {
  switch (problem.type) {
    case STRF_FLOAT64: return runs<double, double>(problem, poisoned);
    case STRF_FLOAT32: return runs<float, float>(problem, poisoned);
    case STRF_BFLOAT16: return runs<__nv_bfloat16, float>(problem, poisoned);
    default: return runs<__half, float>(problem, poisoned);
  }
}

__global__ void write_behind_the_end(float* values, int count) { values[count + threadIdx.x] = 1; }

__global__ void read_what_another_thread_writes(float* values) {
  __shared__ float shared[64];
  shared[threadIdx.x] = values[threadIdx.x];
  values[threadIdx.x] = shared[63 - threadIdx.x];
}

__global__ void read(const float* from, float* to) { to[threadIdx.x] = from[threadIdx.x]; }

__global__ void some_of_them_wait(float* values) {
  if (threadIdx.x < 16) __syncthreads();
  values[threadIdx.x] = 1;
}

void make_the_mistake(const std::string& tool) {
  const Array<float> values(64, 1, 1), never_written(64);
  float* data = static_cast<float*>(values.data());
  if (tool == "memcheck") write_behind_the_end<<<1, 64>>>(data, 64);
  if (tool == "racecheck") read_what_another_thread_writes<<<1, 64>>>(data);
  if (tool == "initcheck") read<<<1, 64>>>(static_cast<const float*>(never_written.data()), data);
  if (tool == "synccheck") some_of_them_wait<<<1, 64>>>(data);
  cudaDeviceSynchronize();
}

}  // namespace

int main(int count, char** words) {
  const std::string word = count > 1 ? words[1] : "";
  const bool poisoned = word == "poisoned";
  if (!word.empty() && !poisoned) {
    make_the_mistake(word);
    return 0;
  }
  const int64_t sizes[][6] = {// batch, channels, frames, height, width, reduced
                              {1, 1, 1, 1, 1, 1},    {2, 8, 3, 4, 3, 1},    {3, 5, 1, 1, 2, 2},   {1, 40, 2, 14, 7, 8},
                              {2, 33, 2, 13, 10, 3}, {1, 64, 4, 16, 8, 4},  {1, 24, 2, 32, 16, 2}, {1, 16, 1, 24, 25, 5},
                              {1, 130, 1, 3, 3, 33}};
  const strf_pool pools[STRF_MAX_PATHS] = {
      {1, 1, 1, STRF_POOL_MAX}, {3, 1, 1, STRF_POOL_MAX}, {1, 3, 5, STRF_POOL_AVERAGE}, {3, 3, 3, STRF_POOL_MAX}};
  const struct {
    strf_type type;
    int32_t tf32;
  } kinds[] = {{STRF_FLOAT64, 0}, {STRF_FLOAT32, 0}, {STRF_FLOAT32, 1}, {STRF_BFLOAT16, 0}, {STRF_FLOAT16, 0}};
  int done = 0;
  for (const auto& size : sizes)
    for (const strf_layout layout : {STRF_CONTIGUOUS, STRF_CHANNELS_LAST})
      for (const auto& kind : kinds)
        for (const int32_t paths : {1, 4}) {
          // Every type in either layout, and every size, by both.
          const strf_similarity similarity = (done / 2 + done / 20) % 2 ? STRF_COSINE : STRF_DOT;
          strf_problem problem{size[0], size[1], size[2],   size[3], size[4],   size[5],   paths,
                               {},      0.5,     kind.type, layout,  kind.tf32, similarity};
          std::memcpy(problem.pools, pools + 4 - paths, paths * sizeof pools[0]);
          require(!strf_check(&problem), "refused");
          if (!runs(problem, poisoned)) {
            std::printf("not finite: %lld channels, %lld x %lld, type %d, layout %d, %d paths\n",
                        static_cast<long long>(size[1]), static_cast<long long>(size[3]),
                        static_cast<long long>(size[4]), kind.type, layout, paths);
            return 1;
          }
          ++done;
        }
  std::printf("%d problems\n", done);
}
