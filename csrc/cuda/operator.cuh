// The operator as a sequence of kernel launches.
#ifndef STRF_OPERATOR_CUH
#define STRF_OPERATOR_CUH

#include "../strf.h"

namespace strf {

// What of a device decides how the work is cut.
struct Limits {
  int64_t shared_bytes;  // that a block may ask for
  int32_t multiprocessors;
};

// nullptr, or why the kernels do not take a problem that has passed strf_check: indices within a sample have 32 bits.
const char* too_large(const strf_problem& problem);

// Bytes of workspace for a problem that is not too large.
int64_t workspace_bytes(const strf_problem& problem, const Limits& limits, bool backward);

// Type: BFloat16, Float16, Float32 or Float64 of types.cuh. nullptr, or what CUDA says.
template <class Type>
const char* forward(const strf_problem& problem, const Limits& limits, const void* x, const void* weight, void* y,
                    void* maximum, void* normalizer, void* workspace, void* stream);

template <class Type>
const char* backward(const strf_problem& problem, const Limits& limits, const void* grad_y, const void* x,
                     const void* weight, const void* maximum, const void* normalizer, void* grad_x, void* grad_weight,
                     void* workspace, void* stream);

}  // namespace strf

#endif
