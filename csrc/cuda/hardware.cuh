// Every GPU instruction that the kernels use, by name, so that they read as C++ and also run where there is no GPU: on
// the host the same kernels are compiled against tests/cuda_host/hardware.cuh, which has the same functions.
//
// "Together": all threads of the block, or all 32 of the warp, must call it. lane = thread_index() % 32.
#ifndef STRF_HARDWARE_CUH
#define STRF_HARDWARE_CUH

#include <cuda_runtime.h>

#include <cstdint>

#define STRF_DEVICE __device__ __forceinline__
#define STRF_SHARED __host__ __device__ __forceinline__  // by the host as well

namespace strf {

// 16 bytes, the widest access there is.
struct alignas(16) Piece {
  uint32_t word[4];
};

// ---- Where a thread stands ------------------------------------------------------------------------------------------

STRF_DEVICE int thread_index() { return threadIdx.x; }
STRF_DEVICE int64_t block_index() { return blockIdx.x; }

// The block's dynamic shared memory, aligned to 128 bytes. It begins with garbage.
STRF_DEVICE uint8_t* shared_memory() {
  extern __shared__ __align__(128) uint8_t memory[];
  return memory;
}

// The value itself, of which the compiler knows nothing: what follows from it is computed where it stands, instead of
// once before a loop and then kept in registers all the time.
STRF_DEVICE int opaque(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

// ---- Waiting for each other -----------------------------------------------------------------------------------------

STRF_DEVICE void sync_threads() { __syncthreads(); }  // the block, together
STRF_DEVICE void sync_warp() { __syncwarp(); }        // the warp, together

// The value of lane ^ mask; the warp, together.
STRF_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
STRF_DEVICE double shuffle_xor(double value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// ---- Asynchronous copies from global to shared memory ---------------------------------------------------------------

STRF_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies kBytes (4, 8 or 16, to which both ends are aligned), of which all after the first `valid` become zero. It has
// happened for this thread after copy_wait, and for the others after a barrier behind that.
template <int kBytes>
STRF_DEVICE void copy_async(void* to, const void* from, int valid) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from), "n"(kBytes),
                 "r"(valid)
                 : "memory");
}

// Closes the group of this thread's copies since the last commit.
STRF_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's newest groups are under way.
template <int kPending>
STRF_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- Loads ----------------------------------------------------------------------------------------------------------

// 16 bytes from global memory that nobody writes while the kernel runs; aligned.
STRF_DEVICE Piece load_global(const void* from) {
  const uint4 value = __ldg(static_cast<const uint4*>(from));
  return {{value.x, value.y, value.z, value.w}};
}

// Four 8x8 matrices of 2-byte elements. Lane 8 m + r gives the address (16-byte aligned, in shared memory) of row r of
// matrix m; word m of the result holds elements [2 (lane % 4)] and [2 (lane % 4) + 1] of row lane / 4 of matrix m, the
// first in the low half. The warp, together.
STRF_DEVICE Piece load_matrices(const void* row) {
  Piece piece;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(piece.word[0]), "=r"(piece.word[1]), "=r"(piece.word[2]), "=r"(piece.word[3])
               : "r"(shared_address(row))
               : "memory");
  return piece;
}

// The same of the transposed matrices: elements of column lane / 4.
STRF_DEVICE Piece load_transposed(const void* row) {
  Piece piece;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(piece.word[0]), "=r"(piece.word[1]), "=r"(piece.word[2]), "=r"(piece.word[3])
               : "r"(shared_address(row))
               : "memory");
  return piece;
}

// ---- Tensor cores: acc += a b, the warp together --------------------------------------------------------------------
// With group = lane / 4 and t = lane % 4, acc[0] and acc[1] are elements [group][2 t] and [2 t + 1] of the 16x8 result,
// acc[2] and acc[3] the same of row group + 8.

// a 16x16, b 16x8; a word holds two elements. a: [group][2 t, +1], [group + 8][2 t, +1], [group][2 t + 8, +9],
// [group + 8][2 t + 8, +9]; b: [2 t, +1][group], [2 t + 8, +9][group].
STRF_DEVICE void mma_bfloat16(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                              uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

STRF_DEVICE void mma_float16(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// a 16x8, b 8x8; a word holds a float of which the lowest 13 bits do not count. a: [group][t], [group + 8][t],
// [group][t + 4], [group + 8][t + 4]; b: [t][group], [t + 4][group].
STRF_DEVICE void mma_tf32(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                          uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// An 8x8 result: acc[0] and acc[1] alone, as above. a 8x4: [group][t]; b 4x8: [t][group].
STRF_DEVICE void mma_float64(double& acc0, double& acc1, double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(acc0), "+d"(acc1)
               : "d"(a), "d"(b));
}

// ---- Numbers --------------------------------------------------------------------------------------------------------

// 2^x, to about two units of the last place; below the normal numbers 0.
STRF_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
STRF_DEVICE double exp2_fast(double x) { return exp2(x); }

// The nearest TF32 number, ties away from zero; the lowest 13 bits are 0. NaN and infinity stay.
STRF_DEVICE uint32_t to_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

// Two floats rounded to nearest even, `low` in the low half of the word.
STRF_DEVICE uint32_t pack_bfloat16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
STRF_DEVICE uint32_t pack_float16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

// The number whose 16 bits these are.
STRF_DEVICE float from_bfloat16(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }
STRF_DEVICE float from_float16(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

STRF_DEVICE uint32_t bits_of(float x) { return __float_as_uint(x); }
STRF_DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
STRF_DEVICE double double_of(uint32_t low, uint32_t high) {
  return __hiloint2double(static_cast<int>(high), static_cast<int>(low));
}

STRF_DEVICE uint32_t low_word(double x) { return static_cast<uint32_t>(__double2loint(x)); }
STRF_DEVICE uint32_t high_word(double x) { return static_cast<uint32_t>(__double2hiint(x)); }

STRF_DEVICE float fused_multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
STRF_DEVICE double fused_multiply_add(double a, double b, double c) { return __fma_rn(a, b, c); }

STRF_DEVICE float square_root(float x) { return __fsqrt_rn(x); }
STRF_DEVICE double square_root(double x) { return __dsqrt_rn(x); }

// The larger one; a NaN gives way to a number.
STRF_DEVICE float larger(float a, float b) { return fmaxf(a, b); }
STRF_DEVICE double larger(double a, double b) { return fmax(a, b); }

// ---- Launching ------------------------------------------------------------------------------------------------------
// A kernel is a struct with
//   struct Params                                   plain data, passed by value
//   static constexpr int kThreads, kBlocks          threads a block; blocks a multiprocessor that registers must allow
//   static STRF_DEVICE void run(const Params&)      what each thread does

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kBlocks)
    entry(const __grid_constant__ typename Kernel::Params params) {
  Kernel::run(params);
}

// Runs `blocks` blocks on the stream, each with so much dynamic shared memory. Returns nullptr or what CUDA says.
template <class Kernel>
const char* launch(const typename Kernel::Params& params, int64_t blocks, int64_t shared_bytes, void* stream) {
  if (blocks < 1) return nullptr;
  if (blocks > 0x7fffffff) return "the batch is too large for one kernel launch; split it";
  constexpr int64_t kWithoutAsking = 48 * 1024;
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kWithoutAsking)
    error = cudaFuncSetAttribute(entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  if (error == cudaSuccess) {
    entry<Kernel>
        <<<static_cast<unsigned>(blocks), Kernel::kThreads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(params);
    error = cudaGetLastError();
  }
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace strf

#endif
