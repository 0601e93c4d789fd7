#include "block.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "fibers.h"
#include "tensor_cores.h"

namespace strf::host {

Settings settings;
Place place;

namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kLanes;
constexpr int kPoison = 0xff;  // makes NaN of every floating-point type

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {
    for (int i = 0; i < 4; ++i) next();
  }
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  int64_t below(int64_t end) { return static_cast<int64_t>((next() >> 11) % static_cast<uint64_t>(end)); }
  template <class T>
  void shuffle(T* values, int64_t count) {
    for (int64_t i = count - 1; i > 0; --i) std::swap(values[i], values[below(i + 1)]);
  }

 private:
  uint64_t state_;
};

struct Copy {
  uint8_t* to;
  const uint8_t* from;
  int bytes, valid;
  int64_t group;
};

struct Thread {
  Fiber fiber;
  Operation at = Operation::kNone;  // what it waits for, or kEnd
  std::vector<Copy> copies;         // under way, in the order in which they were asked for
  int64_t groups = 0;               // that it has committed
};

struct alignas(64) Warp {
  uint32_t ready = 0;    // a bit for each lane that could go on
  uint32_t arrived = 0;  // a bit for each lane that waits at `operation`
  Operation operation = Operation::kNone;
  int turn = 0;  // the lane that goes first, then the following ones or the preceding ones
  bool backwards = false;
  int rank = 0;
  Matrices matrices;
  // A lane that is ahead fills one of the two while others still read the other; further ahead it cannot be.
  int slot = 0;
  uint64_t shuffled[2][kLanes];
  uint16_t rows[2][kLanes][8];
};

struct Block {
  Kernel kernel;
  const void* params;
  int64_t shared_bytes;
  Fiber outside;
  Random random{0};
  Thread threads[kMaxThreads];
  Warp warps[kMaxWarps];
  uint32_t ready_warps = 0;  // a bit for each rank
  int order[kMaxWarps];      // the warp of each rank
  int at_barrier = 0, ended = 0;
  std::string error;
};

Block block;

const char* name(Operation operation) {
  switch (operation) {
    case Operation::kNone: return "nothing";
    case Operation::kEnd: return "its end";
    case Operation::kSyncThreads: return "sync_threads";
    case Operation::kSyncWarp: return "sync_warp";
    case Operation::kShuffle: return "shuffle_xor";
    case Operation::kLoadMatrices: return "load_matrices";
    case Operation::kLoadTransposed: return "load_transposed";
    case Operation::kBFloat16Product: return "mma_bfloat16";
    case Operation::kFloat16Product: return "mma_float16";
    case Operation::kTf32Product: return "mma_tf32";
    case Operation::kFloat64Product: return "mma_float64";
  }
  return "?";
}

// "thread 0 to 31 at sync_threads, thread 32 at its end"
std::string who_is_where() {
  std::ostringstream text;
  for (int first = 0, end; first < block.kernel.threads; first = end) {
    const Operation at = block.threads[first].at;
    for (end = first; end < block.kernel.threads && block.threads[end].at == at;) ++end;
    text << (first ? ", " : "") << "thread " << first;
    if (end - first > 1) text << " to " << end - 1;
    text << " at " << name(at);
  }
  return text.str();
}

// ---- Who goes on ----------------------------------------------------------------------------------------------------

void make_ready(Warp& warp, uint32_t lanes) {
  const uint64_t drawn = block.random.next();
  warp.turn = static_cast<int>(drawn >> 32 & (kLanes - 1));
  warp.backwards = drawn >> 40 & 1;
  warp.ready |= lanes;
  block.ready_warps |= 1u << warp.rank;
}

void make_all_ready() {
  const int warps = block.kernel.threads / kLanes;
  block.random.shuffle(block.order, warps);
  for (int rank = 0; rank < warps; ++rank) {
    Warp& warp = block.warps[block.order[rank]];
    warp.rank = rank;
    make_ready(warp, ~0u);
  }
}

// The index of the thread that goes on, which is then no longer ready; -1 if there is none.
int draw_thread() {
  if (!block.ready_warps) return -1;
  const int rank = __builtin_ctz(block.ready_warps), index = block.order[rank];
  Warp& warp = block.warps[index];
  const uint32_t turned = warp.ready >> warp.turn | warp.ready << ((kLanes - warp.turn) % kLanes);
  const int lane = (warp.turn + (warp.backwards ? kLanes - 1 - __builtin_clz(turned) : __builtin_ctz(turned))) % kLanes;
  warp.ready &= ~(1u << lane);
  if (!warp.ready) block.ready_warps &= ~(1u << rank);
  return index * kLanes + lane;
}

// Ends the launch. Nothing comes back here: the fibers are abandoned as they are.
[[noreturn]] void stop(const std::string& sentence) {
  int status;
  const std::unique_ptr<char, void (*)(void*)> kernel(
      abi::__cxa_demangle(block.kernel.mangled_name, nullptr, nullptr, &status), std::free);
  std::ostringstream text;
  text << (kernel ? kernel.get() : block.kernel.mangled_name) << ", block " << place.block << ": " << sentence;
  block.error = text.str();
  switch_fiber(block.threads[place.thread].fiber, block.outside);
  std::abort();
}

// Lets another thread run, or this one if it is its turn; returns when it is.
void give_way() {
  const int before = place.thread, next = draw_thread();
  if (next < 0) stop("no thread can go on: " + who_is_where());
  if (next == before) return;
  place.thread = next;
  switch_fiber(block.threads[before].fiber, block.threads[next].fiber);
}

void thread_body() {
  block.kernel.run(block.params);
  Thread& self = block.threads[place.thread];
  if (!self.copies.empty())
    fail("ends without having waited for " + std::to_string(self.copies.size()) + " of its asynchronous copies");
  self.at = Operation::kEnd;
  if (++block.ended == block.kernel.threads) switch_fiber(self.fiber, block.outside);
  give_way();
}

// ---- What lanes do together -----------------------------------------------------------------------------------------

// A lane brings its share with put(warp, lane), the last to arrive does compute(warp), and each then has its own.
template <class Put, class Compute>
Warp& together(Operation operation, Put put, Compute compute) {
  Warp& warp = block.warps[place.thread / kLanes];
  const int lane = place.thread % kLanes;
  if (!warp.arrived) warp.operation = operation;
  if (warp.operation != operation)
    fail(std::string("is at ") + name(operation) + " while thread " +
         std::to_string(place.thread - lane + __builtin_ctz(warp.arrived)) + " of its warp is at " +
         name(warp.operation));
  put(warp, lane);
  block.threads[place.thread].at = operation;
  warp.arrived |= 1u << lane;
  if (warp.arrived == ~0u) {
    compute(warp);
    warp.arrived = 0;
    warp.slot ^= 1;
    make_ready(warp, ~0u);
  }
  give_way();
  block.threads[place.thread].at = Operation::kNone;
  return warp;
}

constexpr auto nothing = [](Warp&) {};

bool is_shared(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address), begin = reinterpret_cast<uintptr_t>(place.shared);
  return at >= begin && at < begin + static_cast<uintptr_t>(block.shared_bytes);
}

bool is_aligned(const void* address, int bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

}  // namespace

void fail(const std::string& sentence) { stop("thread " + std::to_string(place.thread) + " " + sentence); }

void sync_threads() {
  block.threads[place.thread].at = Operation::kSyncThreads;
  if (++block.at_barrier == block.kernel.threads) {
    block.at_barrier = 0;
    make_all_ready();
  }
  give_way();
  block.threads[place.thread].at = Operation::kNone;
}

void sync_warp() {
  together(Operation::kSyncWarp, [](Warp&, int) {}, nothing);
}

uint64_t shuffle_xor(uint64_t bits, int mask) {
  const int slot = block.warps[place.thread / kLanes].slot;
  const Warp& warp =
      together(Operation::kShuffle, [&](Warp& warp, int lane) { warp.shuffled[slot][lane] = bits; }, nothing);
  return warp.shuffled[slot][(place.thread ^ mask) % kLanes];
}

// The rows that the warp's lanes give. Each is read when its lane arrives. The GPU may do so too, and then finds there
// only what a barrier has made visible to that lane.
using Row = uint16_t[8];

const Row* rows_of_warp(Operation operation, const void* row) {
  if (!is_shared(row) || !is_aligned(row, 16))
    fail(std::string("gives ") + name(operation) + " a row that is not aligned shared memory");
  const int slot = block.warps[place.thread / kLanes].slot;
  const Warp& warp =
      together(operation, [&](Warp& warp, int lane) { std::memcpy(warp.rows[slot][lane], row, 16); }, nothing);
  return warp.rows[slot];
}

void load_matrices(const void* row, uint32_t (&words)[4]) {
  const Row* rows = rows_of_warp(Operation::kLoadMatrices, row);
  const int lane = place.thread % kLanes, pair = 2 * (lane % 4);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const Row& of_lane = rows[8 * matrix + lane / 4];
    words[matrix] = of_lane[pair] | static_cast<uint32_t>(of_lane[pair + 1]) << 16;
  }
}

void load_transposed(const void* row, uint32_t (&words)[4]) {
  const Row* all_rows = rows_of_warp(Operation::kLoadTransposed, row);
  const int lane = place.thread % kLanes, column = lane / 4, pair = 2 * (lane % 4);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const Row* rows = all_rows + 8 * matrix;
    words[matrix] = rows[pair][column] | static_cast<uint32_t>(rows[pair + 1][column]) << 16;
  }
}

void multiply(Operation operation, float (&acc)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const auto put = operation == Operation::kBFloat16Product  ? put_bfloat16
                   : operation == Operation::kFloat16Product ? put_float16
                                                             : put_tf32;
  const int depth = operation == Operation::kTf32Product ? 8 : 16;
  const Warp& warp = together(
      operation, [&](Warp& warp, int lane) { put(warp.matrices, lane, acc, a, b0, b1); },
      [&](Warp& warp) { multiply_floats(warp.matrices, depth); });
  take(warp.matrices, place.thread % kLanes, acc);
}

void multiply(double& acc0, double& acc1, double a, double b) {
  const Warp& warp = together(
      Operation::kFloat64Product, [&](Warp& warp, int lane) { put_float64(warp.matrices, lane, acc0, acc1, a, b); },
      [](Warp& warp) { multiply_float64(warp.matrices); });
  take_float64(warp.matrices, place.thread % kLanes, acc0, acc1);
}

// ---- Copies ---------------------------------------------------------------------------------------------------------

// Until it has landed a copy's destination holds neither the old nor the new: a thread that still reads the old, or
// already the new, finds poison.
void copy_async(void* to, const void* from, int bytes, int valid) {
  if (valid < 0 || valid > bytes)
    fail("copies " + std::to_string(valid) + " of " + std::to_string(bytes) + " bytes asynchronously");
  if (!is_aligned(to, bytes) || !is_aligned(from, bytes))
    fail("copies " + std::to_string(bytes) + " bytes asynchronously to or from an address that is not aligned to them");
  if (!is_shared(to) || is_shared(from)) fail("copies asynchronously, and not from global to shared memory");
  std::memset(to, kPoison, bytes);
  Thread& self = block.threads[place.thread];
  self.copies.push_back({static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), bytes, valid, self.groups});
}

void copy_commit() { ++block.threads[place.thread].groups; }

void copy_wait(int pending) {
  Thread& self = block.threads[place.thread];
  auto copy = self.copies.begin();
  for (; copy != self.copies.end() && copy->group < self.groups - pending; ++copy) {
    std::memcpy(copy->to, copy->from, copy->valid);
    std::memset(copy->to + copy->valid, 0, copy->bytes - copy->valid);
  }
  self.copies.erase(self.copies.begin(), copy);
}

void check_global(const void* address) {
  if (!is_aligned(address, 16)) fail("gives load_global an address that is not aligned to 16 bytes");
  if (is_shared(address)) fail("gives load_global an address in shared memory");
}

// ---- Launching ------------------------------------------------------------------------------------------------------

const char* run_blocks(const Kernel& kernel, const void* params, int64_t blocks, int64_t shared_bytes) {
  block.kernel = kernel;
  block.params = params;
  block.shared_bytes = shared_bytes;
  block.random = Random(settings.seed++);
  block.error.clear();
  if (shared_bytes < 0 || shared_bytes > settings.shared_limit) {
    block.error = "a block asks for " + std::to_string(shared_bytes) + " bytes of shared memory, the device has " +
                  std::to_string(settings.shared_limit);
    return block.error.c_str();
  }
  void* shared = nullptr;
  if (posix_memalign(&shared, 128, shared_bytes) != 0) return "no memory";
  const std::unique_ptr<void, void (*)(void*)> owner(shared, std::free);
  place.shared = static_cast<uint8_t*>(shared);

  std::vector<int64_t> order(blocks);
  for (int64_t i = 0; i < blocks; ++i) order[i] = i;
  block.random.shuffle(order.data(), blocks);
  for (int rank = 0; rank < kMaxWarps; ++rank) block.order[rank] = rank;
  for (const int64_t index : order) {
    std::memset(shared, kPoison, shared_bytes);
    block.at_barrier = block.ended = 0;
    block.ready_warps = 0;
    for (int i = 0; i < kernel.threads; ++i) {
      Thread& thread = block.threads[i];
      if (!thread.fiber.bottom) give_stack(thread.fiber, i);
      start(thread.fiber, thread_body);
      thread.at = Operation::kNone;
      thread.copies.clear();
      thread.groups = 0;
    }
    for (int i = 0; i < kernel.threads / kLanes; ++i) {
      block.warps[i].arrived = 0;
      block.warps[i].ready = 0;
    }
    make_all_ready();
    place.block = index;
    place.thread = draw_thread();
    switch_fiber(block.outside, block.threads[place.thread].fiber);
    if (!block.error.empty()) {
      for (int i = 0; i < kernel.threads; ++i) abandon(block.threads[i].fiber);
      return block.error.c_str();
    }
  }
  return nullptr;
}

}  // namespace strf::host
