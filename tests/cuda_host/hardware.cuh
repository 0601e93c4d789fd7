// csrc/cuda/hardware.cuh for the host, section by section: the same functions, made of ordinary C++ and of fibers for
// the threads (block.h). Kernels compiled with this folder before csrc/cuda in the include path run on the CPU.
#ifndef STRF_HARDWARE_CUH
#define STRF_HARDWARE_CUH

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <typeinfo>

#include "block.h"

#define STRF_DEVICE inline
#define STRF_SHARED inline

namespace strf {

struct alignas(16) Piece {
  uint32_t word[4];
};

template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// ---- Where a thread stands ------------------------------------------------------------------------------------------

STRF_DEVICE int thread_index() { return host::place.thread; }
STRF_DEVICE int64_t block_index() { return host::place.block; }
STRF_DEVICE uint8_t* shared_memory() { return host::place.shared; }

STRF_DEVICE int opaque(int value) { return value; }

// ---- Waiting for each other -----------------------------------------------------------------------------------------

STRF_DEVICE void sync_threads(host::Line line = {}) {
  if (!host::is_left_out(line)) host::sync_threads();
}
STRF_DEVICE void sync_warp(host::Line line = {}) {
  if (!host::is_left_out(line)) host::sync_warp();
}

STRF_DEVICE float shuffle_xor(float value, int mask) {
  return same_bits<float>(static_cast<uint32_t>(host::shuffle_xor(same_bits<uint32_t>(value), mask)));
}
STRF_DEVICE double shuffle_xor(double value, int mask) {
  return same_bits<double>(host::shuffle_xor(same_bits<uint64_t>(value), mask));
}

// ---- Asynchronous copies from global to shared memory ---------------------------------------------------------------

template <int kBytes>
STRF_DEVICE void copy_async(void* to, const void* from, int valid) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
  host::copy_async(to, from, kBytes, valid);
}
STRF_DEVICE void copy_commit() { host::copy_commit(); }
template <int kPending>
STRF_DEVICE void copy_wait(host::Line line = {}) {
  if (!host::is_left_out(line)) host::copy_wait(kPending);
}

// ---- Loads ----------------------------------------------------------------------------------------------------------

STRF_DEVICE Piece load_global(const void* from) {
  host::check_global(from);
  return *static_cast<const Piece*>(from);
}

STRF_DEVICE Piece load_matrices(const void* row) {
  Piece piece;
  host::load_matrices(row, piece.word);
  return piece;
}

STRF_DEVICE Piece load_transposed(const void* row) {
  Piece piece;
  host::load_transposed(row, piece.word);
  return piece;
}

// ---- Tensor cores: acc += a b, the warp together --------------------------------------------------------------------

STRF_DEVICE void mma_bfloat16(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                              uint32_t b1) {
  host::multiply(host::Operation::kBFloat16Product, acc, {a0, a1, a2, a3}, b0, b1);
}
STRF_DEVICE void mma_float16(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                             uint32_t b1) {
  host::multiply(host::Operation::kFloat16Product, acc, {a0, a1, a2, a3}, b0, b1);
}
STRF_DEVICE void mma_tf32(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                          uint32_t b1) {
  host::multiply(host::Operation::kTf32Product, acc, {a0, a1, a2, a3}, b0, b1);
}
STRF_DEVICE void mma_float64(double& acc0, double& acc1, double a, double b) { host::multiply(acc0, acc1, a, b); }

// ---- Numbers --------------------------------------------------------------------------------------------------------

STRF_DEVICE uint32_t bits_of(float x) { return same_bits<uint32_t>(x); }
STRF_DEVICE float float_of(uint32_t bits) { return same_bits<float>(bits); }
STRF_DEVICE double double_of(uint32_t low, uint32_t high) {
  return same_bits<double>(static_cast<uint64_t>(high) << 32 | low);
}
STRF_DEVICE uint32_t low_word(double x) { return static_cast<uint32_t>(same_bits<uint64_t>(x)); }
STRF_DEVICE uint32_t high_word(double x) { return static_cast<uint32_t>(same_bits<uint64_t>(x) >> 32); }

// As inexact as the instruction may be: except for whole x, one unit more or less than the nearest float.
STRF_DEVICE float exp2_fast(float x) {
  const float y = std::exp2(x);
  if (y < 0x1p-126f) return 0.0f;
  if (!(std::fabs(x) < 128.0f) || x == std::nearbyint(x)) return y;
  const uint32_t drawn = bits_of(x) * 0x9e3779b9u >> 31;
  return float_of(bits_of(y) + 2 * drawn - 1);
}
STRF_DEVICE double exp2_fast(double x) { return std::exp2(x); }

STRF_DEVICE uint32_t to_tf32(float x) {
  return std::isfinite(x) ? (bits_of(x) + 0x1000u) & 0xffffe000u : bits_of(x);
}

STRF_DEVICE uint32_t round_to_bfloat16(float x) {
  if (std::isnan(x)) return 0x7fffu;
  const uint32_t bits = bits_of(x);
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
STRF_DEVICE uint32_t pack_bfloat16(float low, float high) {
  return round_to_bfloat16(low) | round_to_bfloat16(high) << 16;
}
STRF_DEVICE uint32_t round_to_float16(float x) {
  return std::isnan(x) ? 0x7fffu : same_bits<uint16_t>(static_cast<_Float16>(x));
}
STRF_DEVICE uint32_t pack_float16(float low, float high) {
  return round_to_float16(low) | round_to_float16(high) << 16;
}

STRF_DEVICE float from_bfloat16(uint16_t bits) { return float_of(static_cast<uint32_t>(bits) << 16); }
STRF_DEVICE float from_float16(uint16_t bits) { return static_cast<float>(same_bits<_Float16>(bits)); }

STRF_DEVICE float fused_multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
STRF_DEVICE double fused_multiply_add(double a, double b, double c) { return std::fma(a, b, c); }

STRF_DEVICE float square_root(float x) { return std::sqrt(x); }
STRF_DEVICE double square_root(double x) { return std::sqrt(x); }

STRF_DEVICE float larger(float a, float b) { return std::fmax(a, b); }
STRF_DEVICE double larger(double a, double b) { return std::fmax(a, b); }

// ---- Launching ------------------------------------------------------------------------------------------------------

template <class Kernel>
const char* launch(const typename Kernel::Params& params, int64_t blocks, int64_t shared_bytes, void*) {
  using Params = typename Kernel::Params;
  static_assert(Kernel::kThreads % host::kLanes == 0 && Kernel::kThreads >= host::kLanes && Kernel::kThreads <= 1024 &&
                    Kernel::kBlocks >= 1,
                "a block has 1 to 32 whole warps");
  static_assert(std::is_trivially_copyable_v<Params> && sizeof(Params) <= 4096,
                "a kernel's parameters are at most 4 KB of plain data");
  if (blocks < 1) return nullptr;
  if (blocks > 0x7fffffff) return "the batch is too large for one kernel launch; split it";
  const auto run = [](const void* params) { Kernel::run(*static_cast<const Params*>(params)); };
  return host::run_blocks({typeid(Kernel).name(), run, Kernel::kThreads}, &params, blocks, shared_bytes);
}

}  // namespace strf

#endif
