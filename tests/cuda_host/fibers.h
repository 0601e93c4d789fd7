// Fibers: threads of execution in one system thread, each with a stack of its own, that change only where they say so.
#ifndef STRF_HOST_FIBERS_H
#define STRF_HOST_FIBERS_H

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace strf::host {

struct Fiber {
  void (*body)() = nullptr;
  const void* bottom = nullptr;  // the lowest address of its stack
  size_t bytes = 0;
  void* fake_stack = nullptr;  // what AddressSanitizer keeps for it while it does not run
#if defined(__x86_64__)
  void* stopped_at = nullptr;  // its stack pointer while it does not run
#else
  ucontext_t context;
#endif
};

// Maps a stack with an inaccessible page below it. It is never given back: fibers are made once and used again.
void give_stack(Fiber& fiber, int index);

// The next switch to the fiber calls body, which must never return.
void start(Fiber& fiber, void (*body)());

// Must be called before `start` if the functions that the body called have not all returned.
void abandon(Fiber& fiber);

// `from` is the fiber that calls this; the system thread on its own stack calls it with a Fiber of its own.
void switch_fiber(Fiber& from, Fiber& to);

}  // namespace strf::host

#endif
