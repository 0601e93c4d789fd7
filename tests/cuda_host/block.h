// One block of a kernel's threads on the host: who runs next, barriers, the warp's common operations, asynchronous
// copies, and what is wrong with any of them.
//
// A thread is a fiber and runs until it must wait. Which one goes on then is drawn from the seed: the warps in an order
// that is drawn anew at every barrier of the block, so that the first runs as far ahead of the others as the barriers
// let it; the lanes of a warp in an order drawn at every common operation of the warp.
#ifndef STRF_HOST_BLOCK_H
#define STRF_HOST_BLOCK_H

#include <cstdint>
#include <string>
#include <string_view>

namespace strf::host {

constexpr int kLanes = 32;

// Where a call stands, as the default of its last argument.
struct Line {
  const char* file;
  int number;
  Line(const char* file = __builtin_FILE(), int number = __builtin_LINE()) : file(file), number(number) {}
};

struct Settings {
  uint64_t seed = 0;
  int64_t shared_limit = 0;  // dynamic shared memory that a block may ask for
  std::string file_left_out;  // in this file and line threads do not wait, to see what comes of it
  int line_left_out = 0;
};
extern Settings settings;

inline bool is_left_out(const Line& line) {
  return line.number == settings.line_left_out &&
         std::string_view(line.file).substr(std::string_view(line.file).rfind('/') + 1) == settings.file_left_out;
}

struct Kernel {
  const char* mangled_name;
  void (*run)(const void* params);
  int threads;
};

// Runs the blocks one after the other, in an order drawn from the seed. nullptr, or a sentence on what went wrong; it
// is valid until the next call.
const char* run_blocks(const Kernel& kernel, const void* params, int64_t blocks, int64_t shared_bytes);

// ---- For the thread that runs ---------------------------------------------------------------------------------------

struct Place {
  int thread = 0;
  int64_t block = 0;
  uint8_t* shared = nullptr;
};
extern Place place;

// Ends the launch with this sentence.
[[noreturn]] void fail(const std::string& sentence);

// What threads wait for each other at.
enum class Operation : uint8_t {
  kNone,
  kEnd,
  kSyncThreads,
  kSyncWarp,
  kShuffle,
  kLoadMatrices,
  kLoadTransposed,
  kBFloat16Product,
  kFloat16Product,
  kTf32Product,
  kFloat64Product,
};

void sync_threads();
void sync_warp();
uint64_t shuffle_xor(uint64_t bits, int mask);
void load_matrices(const void* row, uint32_t (&words)[4]);
void load_transposed(const void* row, uint32_t (&words)[4]);

// acc += a b, fragments as in hardware.cuh; `operation` is one of the products of floats.
void multiply(Operation operation, float (&acc)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void multiply(double& acc0, double& acc1, double a, double b);

void copy_async(void* to, const void* from, int bytes, int valid);
void copy_commit();
void copy_wait(int pending);

// Fails unless `address` is aligned to 16 bytes and outside the shared memory.
void check_global(const void* address);

}  // namespace strf::host

#endif
