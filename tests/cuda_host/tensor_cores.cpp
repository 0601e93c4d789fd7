#include "tensor_cores.h"

#include <cmath>
#include <cstring>

// Everything here is within bounds by construction, and called millions of times.
#define STRF_NOT_SANITIZED __attribute__((no_sanitize("address", "undefined")))

namespace strf::host {
namespace {

STRF_NOT_SANITIZED inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct BFloat16 {
  STRF_NOT_SANITIZED static float low(uint32_t word) { return float_of(word << 16); }
  STRF_NOT_SANITIZED static float high(uint32_t word) { return float_of(word & 0xffff0000u); }
};

struct Float16 {
  STRF_NOT_SANITIZED static float widen(uint16_t bits) {
    _Float16 value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
  }
  STRF_NOT_SANITIZED static float low(uint32_t word) { return widen(static_cast<uint16_t>(word)); }
  STRF_NOT_SANITIZED static float high(uint32_t word) { return widen(static_cast<uint16_t>(word >> 16)); }
};

STRF_NOT_SANITIZED inline void put_acc(Matrices& matrices, int lane, const float (&acc)[4]) {
  const int group = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 2; ++i) matrices.acc[group + 8 * half][2 * t + i] = acc[2 * half + i];
}

template <class Half>
STRF_NOT_SANITIZED inline void put_half(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4],
                                        uint32_t b0, uint32_t b1) {
  const int group = lane / 4, t = lane % 4;
  put_acc(matrices, lane, acc);
  for (int i = 0; i < 4; ++i) {
    const int row = group + 8 * (i % 2), k = 2 * t + 8 * (i / 2);
    matrices.a[row][k] = Half::low(a[i]);
    matrices.a[row][k + 1] = Half::high(a[i]);
  }
  matrices.b[2 * t][group] = Half::low(b0);
  matrices.b[2 * t + 1][group] = Half::high(b0);
  matrices.b[2 * t + 8][group] = Half::low(b1);
  matrices.b[2 * t + 9][group] = Half::high(b1);
}

// The tensor cores do not look at the lowest 13 bits.
STRF_NOT_SANITIZED inline float tf32_of(uint32_t bits) { return float_of(bits & 0xffffe000u); }

}  // namespace

STRF_NOT_SANITIZED void put_bfloat16(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4],
                                     uint32_t b0, uint32_t b1) {
  put_half<BFloat16>(matrices, lane, acc, a, b0, b1);
}

STRF_NOT_SANITIZED void put_float16(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4],
                                    uint32_t b0, uint32_t b1) {
  put_half<Float16>(matrices, lane, acc, a, b0, b1);
}

STRF_NOT_SANITIZED void put_tf32(Matrices& matrices, int lane, const float (&acc)[4], const uint32_t (&a)[4],
                                 uint32_t b0, uint32_t b1) {
  const int group = lane / 4, t = lane % 4;
  put_acc(matrices, lane, acc);
  for (int i = 0; i < 4; ++i) matrices.a[group + 8 * (i % 2)][t + 4 * (i / 2)] = tf32_of(a[i]);
  matrices.b[t][group] = tf32_of(b0);
  matrices.b[t + 4][group] = tf32_of(b1);
}

STRF_NOT_SANITIZED void put_float64(Matrices& matrices, int lane, double acc0, double acc1, double a, double b) {
  const int group = lane / 4, t = lane % 4;
  matrices.acc[group][2 * t] = acc0;
  matrices.acc[group][2 * t + 1] = acc1;
  matrices.a[group][t] = a;
  matrices.b[t][group] = b;
}

STRF_NOT_SANITIZED void multiply_floats(Matrices& matrices, int depth) {
  typedef double Row __attribute__((vector_size(Matrices::kColumns * sizeof(double))));
  typedef uint64_t Bits __attribute__((vector_size(Matrices::kColumns * sizeof(uint64_t))));
  const uint64_t kFloatBits = ~((uint64_t(1) << 29) - 1);  // a double has 29 bits more than a float
  const auto* b = reinterpret_cast<const Row*>(matrices.b);
  auto* acc = reinterpret_cast<Row*>(matrices.acc);
  for (int row = 0; row < Matrices::kRows; ++row) {
    Row sum = acc[row];
    for (int k = 0; k < depth; ++k) sum += matrices.a[row][k] * b[k];
    acc[row] = reinterpret_cast<Row>(reinterpret_cast<Bits>(sum) & kFloatBits);
  }
}

STRF_NOT_SANITIZED void multiply_float64(Matrices& matrices) {
  for (int row = 0; row < 8; ++row)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < 4; ++k)
        matrices.acc[row][column] = std::fma(matrices.a[row][k], matrices.b[k][column], matrices.acc[row][column]);
}

STRF_NOT_SANITIZED void take(const Matrices& matrices, int lane, float (&acc)[4]) {
  const int group = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 2; ++i) acc[2 * half + i] = static_cast<float>(matrices.acc[group + 8 * half][2 * t + i]);
}

STRF_NOT_SANITIZED void take_float64(const Matrices& matrices, int lane, double& acc0, double& acc1) {
  acc0 = matrices.acc[lane / 4][2 * (lane % 4)];
  acc1 = matrices.acc[lane / 4][2 * (lane % 4) + 1];
}

}  // namespace strf::host
