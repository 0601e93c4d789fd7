#include "fibers.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define STRF_NOT_SANITIZED __attribute__((no_sanitize("address", "undefined")))

namespace strf::host {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kPage = 4096;
constexpr size_t kOfBody = 4096;  // what the body's own variables and its last switch may take of the stack

Fiber *left = nullptr, *arriving = nullptr;  // of the switch under way

STRF_NOT_SANITIZED void leave(Fiber& from, Fiber& to) {
  left = &from;
  arriving = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.bytes);
#endif
}

// The sanitizer tells where the stack lies that was left: of the system thread's own we learn it here.
STRF_NOT_SANITIZED void arrive() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(arriving->fake_stack, &left->bottom, &left->bytes);
#endif
}

// A function that returns takes the sanitizer's marks around its variables off the stack. The body never does.
void forget_marks([[maybe_unused]] const Fiber& fiber, [[maybe_unused]] size_t bytes_at_top) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(static_cast<const uint8_t*>(fiber.bottom) + fiber.bytes - bytes_at_top, bytes_at_top);
#endif
}

void first_function() {
  arrive();
  arriving->body();
  std::abort();
}

}  // namespace

void give_stack(Fiber& fiber, int index) {
  void* mapping = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kPage, PROT_NONE) != 0) {
    std::perror("a fiber's stack");
    std::abort();
  }
  fiber.bottom = static_cast<uint8_t*>(mapping) + kPage;
  // The tops of the stacks are in use all the time; at equal distances they would share a few sets of the caches.
  fiber.bytes = kStackBytes - static_cast<size_t>(index % 31) * 320;
}

void abandon(Fiber& fiber) { forget_marks(fiber, fiber.bytes); }

#if defined(__x86_64__)

// Pushes what a called function must preserve, stores the stack pointer at *rdi, takes rsi for it and returns there;
// by a jump instead of `ret`, whose target the processor would guess wrong every time.
asm(R"(
.text
.p2align 4
.type strf_host_switch, @function
strf_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size strf_host_switch, .-strf_host_switch
)");
extern "C" void strf_host_switch(void** stopped_at, void* go_on_at);

void start(Fiber& fiber, void (*body)()) {
  constexpr int kPreserved = 6;
  forget_marks(fiber, kOfBody);
  fiber.body = body;
  auto* top = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(fiber.bottom) + fiber.bytes);
  uint64_t* stack_pointer = top - kPreserved - 2;
  for (int i = 0; i < kPreserved; ++i) stack_pointer[i] = 0;
  stack_pointer[kPreserved] = reinterpret_cast<uint64_t>(&first_function);
  stack_pointer[kPreserved + 1] = 0;  // where a debugger finds the end of the calls
  fiber.stopped_at = stack_pointer;
}

STRF_NOT_SANITIZED void switch_fiber(Fiber& from, Fiber& to) {
  leave(from, to);
  strf_host_switch(&from.stopped_at, to.stopped_at);
  arrive();
}

#else

// swapcontext makes a system call at every switch to save the signal mask: many times slower, and the same.
void start(Fiber& fiber, void (*body)()) {
  forget_marks(fiber, kOfBody);
  fiber.body = body;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = const_cast<void*>(fiber.bottom);
  fiber.context.uc_stack.ss_size = fiber.bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, first_function, 0);
}

void switch_fiber(Fiber& from, Fiber& to) {
  leave(from, to);
  swapcontext(&from.context, &to.context);
  arrive();
}

#endif

}  // namespace strf::host
