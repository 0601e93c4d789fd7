// Small kernels by which the tests prove what running on the host shows. `fault` leaves out or spoils one thing.
#ifndef STRF_HOST_TOYS_CUH
#define STRF_HOST_TOYS_CUH

#include <hardware.cuh>

namespace strf {

enum Fault {
  kIntact,
  kNoSyncThreads,
  kNoSyncWarp,
  kNoWait,
  kNoCommit,
  kTooFewWaited,
  kEarlyCopy,
  kReadBeyond,
  kWriteBeyond,
  kSharedBeyond,
  kUnaligned,
  kUnalignedCopy,
  kFractionOfCopy,
  kCopyBeyond,
  kMismatch,
  kEndsEarly,
  kSkipsWarp,
  kSwappedWords,
};

// to[i] = from[count - 1 - i] by way of shared memory, in rounds of one block's size that use the same memory.
struct Reverse {
  static constexpr int kThreads = 96, kBlocks = 1;
  struct Params {
    const float* from;
    float* to;
    int64_t count;  // of each block; a multiple of 4 kThreads
    int fault;
  };

  static STRF_DEVICE void run(const Params& p) {
    const int thread = thread_index();
    const float* from = p.from + block_index() * p.count;
    float* to = p.to + block_index() * p.count;
    float* buffer = reinterpret_cast<float*>(shared_memory());
    constexpr int kRound = 4 * kThreads;
    if (p.fault == kEndsEarly && thread == 40) return;
    for (int64_t first = 0; first < p.count; first += kRound) {
      copy_async<16>(buffer + 4 * thread, from + first + 4 * thread, 16);
      if (p.fault != kNoCommit) copy_commit();
      if (p.fault != kNoWait) copy_wait<0>();
      if (p.fault != kNoSyncThreads) sync_threads();
      for (int i = thread; i < kRound; i += kThreads) to[p.count - 1 - first - i] = buffer[i];
      if (p.fault != kEarlyCopy) sync_threads();
    }
  }
};

// As Reverse, with the copies of the next round under way while this one is read: two buffers.
struct ReverseInStages {
  static constexpr int kThreads = 96, kBlocks = 1;
  using Params = Reverse::Params;

  static STRF_DEVICE void run(const Params& p) {
    const int thread = thread_index();
    float* buffer = reinterpret_cast<float*>(shared_memory());
    constexpr int kRound = 4 * kThreads;
    const auto fetch = [&](int64_t first) {
      float* stage = buffer + first / kRound % 2 * kRound;
      if (first < p.count) copy_async<16>(stage + 4 * thread, p.from + first + 4 * thread, 16);
      copy_commit();
    };
    fetch(0);
    for (int64_t first = 0; first < p.count; first += kRound) {
      if (p.fault != kEarlyCopy) sync_threads();
      fetch(first + kRound);
      if (p.fault == kTooFewWaited)
        copy_wait<2>();
      else
        copy_wait<1>();
      if (p.fault != kNoSyncThreads) sync_threads();
      const float* stage = buffer + first / kRound % 2 * kRound;
      for (int i = thread; i < kRound; i += kThreads) p.to[p.count - 1 - first - i] = stage[i];
    }
    copy_wait<0>();
  }
};

// to[i] = the sum of from over the warp of i, by way of shared memory and by exchanging between lanes.
struct WarpSums {
  static constexpr int kThreads = 64, kBlocks = 1;
  struct Params {
    const float* from;
    float* through_memory;
    double* by_exchange;
    int fault;
  };

  static STRF_DEVICE void run(const Params& p) {
    const int thread = thread_index(), lane = thread % 32;
    float* values = reinterpret_cast<float*>(shared_memory()) + thread - lane;
    values[lane] = p.from[thread];
    if (p.fault != kNoSyncWarp) sync_warp();
    float sum = 0;
    for (int i = 0; i < 32; ++i) sum += values[i];
    p.through_memory[thread] = sum;
    if (p.fault == kSkipsWarp && thread == 33) sync_threads();
    double total = p.from[thread];
    if (p.fault == kMismatch && thread == 37) sync_warp();
    for (int mask = 1; mask < 32; mask *= 2) total += shuffle_xor(total, mask);
    p.by_exchange[thread] = total;
  }
};

// At most one access beyond an array, or at an address that does not fit. The last copy ends with the array, of an odd
// number of floats, and only half of it is there.
struct Reach {
  static constexpr int kThreads = 32, kBlocks = 1;
  struct Params {
    const float* from;
    float* to;
    int64_t count;  // of `from`, `to` and the shared memory; odd
    int fault;
  };

  static STRF_DEVICE void run(const Params& p) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    if (thread_index() == 0) {
      p.to[0] = p.from[p.fault == kReadBeyond ? p.count : 0];
      if (p.fault == kWriteBeyond) p.to[p.count] = 0;
      if (p.fault == kSharedBeyond) shared[p.count] = 0;
      p.to[1] = shared[p.count - 1];
      p.to[2] = float_of(load_global(p.from + (p.fault == kUnaligned ? 2 : 0)).word[1]);
      copy_async<8>(shared + (p.fault == kUnalignedCopy ? 1 : 0), p.from, 8);
      copy_async<8>(shared + 2, p.from + p.count - 1, p.fault == kCopyBeyond ? 8 : p.fault == kFractionOfCopy ? 9 : 4);
      copy_commit();
      copy_wait<0>();
      p.to[3] = shared[2];
      p.to[4] = shared[3];
    }
  }
};

enum Kind { kBFloat16, kFloat16, kTf32, kFloat64 };

// acc += a b by one tensor core instruction. The matrices hold the instruction's own numbers, row by row.
struct Product {
  static constexpr int kThreads = 32, kBlocks = 1;
  struct Params {
    const void *a, *b;
    void* acc;
    Kind kind;
    int fault;
  };

  static STRF_DEVICE uint32_t pair(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }

  static STRF_DEVICE void run(const Params& p) {
    const int group = thread_index() / 4, t = thread_index() % 4;
    if (p.kind == kFloat64) {
      double* acc = static_cast<double*>(p.acc) + group * 8 + 2 * t;
      mma_float64(acc[0], acc[1], static_cast<const double*>(p.a)[group * 4 + t],
                  static_cast<const double*>(p.b)[t * 8 + group]);
      return;
    }
    uint32_t a0, a1, a2, a3, b0, b1;
    if (p.kind == kTf32) {
      const auto a = [&](int row, int k) { return static_cast<const uint32_t*>(p.a)[row * 8 + k]; };
      const auto b = [&](int k, int column) { return static_cast<const uint32_t*>(p.b)[k * 8 + column]; };
      a0 = a(group, t), a1 = a(group + 8, t), a2 = a(group, t + 4), a3 = a(group + 8, t + 4);
      b0 = b(t, group), b1 = b(t + 4, group);
    } else {
      const auto a = [&](int row, int k) {
        const auto* from = static_cast<const uint16_t*>(p.a) + row * 16 + k;
        return pair(from[0], from[1]);
      };
      const auto b = [&](int k, int column) {
        const auto* from = static_cast<const uint16_t*>(p.b) + k * 8 + column;
        return pair(from[0], from[8]);
      };
      a0 = a(group, 2 * t), a1 = a(group + 8, 2 * t), a2 = a(group, 2 * t + 8), a3 = a(group + 8, 2 * t + 8);
      b0 = b(2 * t, group), b1 = b(2 * t + 8, group);
    }
    float* to = static_cast<float*>(p.acc) + group * 8 + 2 * t;
    float acc[4] = {to[0], to[1], to[64], to[65]};
    const uint32_t second = p.fault == kSwappedWords ? a2 : a1, third = p.fault == kSwappedWords ? a1 : a2;
    if (p.kind == kTf32)
      mma_tf32(acc, a0, second, third, a3, b0, b1);
    else if (p.kind == kBFloat16)
      mma_bfloat16(acc, a0, second, third, a3, b0, b1);
    else
      mma_float16(acc, a0, second, third, a3, b0, b1);
    to[0] = acc[0], to[1] = acc[1], to[64] = acc[2], to[65] = acc[3];
  }
};

// to[m] = from[m] or its transpose, four matrices [8][8] of 2-byte elements.
struct Matrices {
  static constexpr int kThreads = 32, kBlocks = 1;
  struct Params {
    const uint16_t* from;
    uint16_t* to;
    bool transposed;
    int fault;
  };

  static STRF_DEVICE void run(const Params& p) {
    const int lane = thread_index();
    auto* rows = reinterpret_cast<uint16_t*>(shared_memory());
    *reinterpret_cast<Piece*>(rows + 8 * ((lane + 5) % 32)) = load_global(p.from + 8 * ((lane + 5) % 32));
    if (p.fault != kNoSyncWarp) sync_warp();
    const Piece piece = p.transposed ? load_transposed(rows + 8 * lane) : load_matrices(rows + 8 * lane);
    for (int m = 0; m < 4; ++m)
      for (int half = 0; half < 2; ++half)
        p.to[m * 64 + lane / 4 * 8 + 2 * (lane % 4) + half] = static_cast<uint16_t>(piece.word[m] >> 16 * half);
  }
};

// So many of each, by every thread: for the time that one takes.
struct Repeat {
  static constexpr int kThreads = 256, kBlocks = 1;
  struct Params {
    int64_t products, loads, barriers;
  };

  static STRF_DEVICE void run(const Params& p) {
    float acc[4] = {};
    for (int64_t i = 0; i < p.products; ++i) mma_bfloat16(acc, 0, 0, 0, 0, 0, 0);
    for (int64_t i = 0; i < p.loads; ++i) load_transposed(shared_memory() + 16 * (thread_index() % 32));
    for (int64_t i = 0; i < p.barriers; ++i) sync_threads();
  }
};

}  // namespace strf

#endif
