// What the tensor cores compute: one warp's operands, and their product.
#ifndef STRF_HOST_TENSOR_CORES_H
#define STRF_HOST_TENSOR_CORES_H

#include <cstdint>

namespace strf::host {

// The matrices of one product, put together from the fragments of 32 lanes. Every number of the four types is a double
// too, and so are the products of two of them, except for those of doubles.
struct Matrices {
  static constexpr int kRows = 16, kDepth = 16, kColumns = 8;
  double a[kRows][kDepth];
  alignas(64) double b[kDepth][kColumns];
  alignas(64) double acc[kRows][kColumns];
};

// What lane `lane` brings; fragments as in hardware.cuh.
void put_bfloat16(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4], uint32_t b0,
                  uint32_t b1);
void put_float16(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4], uint32_t b0,
                 uint32_t b1);
void put_tf32(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void put_float64(Matrices& matrices, int lane, double acc0, double acc1, double a, double b);

// acc += a b. Each result of the float types is the sum of all products and of what was there, cut off to a float as
// tensor cores do: they never round up.
void multiply_floats(Matrices& matrices, int depth);
void multiply_float64(Matrices& matrices);

// What lane `lane` receives.
void take(const Matrices& matrices, int lane, float (&acc)[4]);
void take_float64(const Matrices& matrices, int lane, double& acc0, double& acc1);

}  // namespace strf::host

#endif
