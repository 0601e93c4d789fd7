// What the operators on the CPU and on CUDA share: checks of their arguments, and tensors that csrc reads and writes.
#ifndef STRF_PYTHON_PROBLEM_H
#define STRF_PYTHON_PROBLEM_H

#include <initializer_list>
#include <vector>

#include "registration.h"
#include "strf.h"

namespace strf_python {

using torch::headeronly::ScalarType;
using Sizes = std::vector<int64_t>;

// PyTorch records nothing for these operators; the gradients come from the autograd function around them. So a call that
// would need one is refused.
void refuse_differentiation(std::initializer_list<const Tensor*> inputs);

// Checks the arguments of a forward call; the sizes are those of x as it is given. tf32 counts for float32 alone.
strf_problem problem_of(const Tensor& x, const Tensor& weight, const Sizes& windows, const Sizes& kinds,
                        double temperature, bool tf32, bool cosine);

// Checks what a backward call has beside them.
void check_backward(const strf_problem& problem, const Tensor& x, const Tensor& grad, const Tensor& maximum,
                    const Tensor& normalizer);

// The type of the soft-max and its statistics: float64 for float64, otherwise float32.
ScalarType wide_type(const strf_problem& problem);

// x or grad in the problem's layout and the given type, without a copy where that is possible.
Tensor readable_as_x(const Tensor& tensor, const strf_problem& problem, ScalarType type);

// The same for the other tensors, which are always contiguous.
Tensor readable(const Tensor& tensor, ScalarType type);

// Uninitialised tensors on x's device, where PyTorch aligns them to 64 bytes on the CPU and to 512 on CUDA.
Tensor allocate(const Tensor& x, const Sizes& sizes, ScalarType type);                     // contiguous
Tensor allocate_as_x(const Tensor& x, const strf_problem& problem, ScalarType type);       // in the problem's layout
Tensor allocate_statistics(const Tensor& x, const strf_problem& problem);                  // maximum or normalizer
Tensor allocate_as_weight(const Tensor& x, const strf_problem& problem, ScalarType type);  // [paths, reduced, channels]

// `tensor` itself where it is of that type.
Tensor converted(const Tensor& tensor, ScalarType type);

}  // namespace strf_python

#endif
