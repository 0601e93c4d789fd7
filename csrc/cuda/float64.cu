// All kernels for float64.
#include "operator_impl.cuh"

namespace strf {

template const char* forward<Float64>(const strf_problem&, const Limits&, const void*, const void*, void*, void*, void*,
                                      void*, void*);
template const char* backward<Float64>(const strf_problem&, const Limits&, const void*, const void*, const void*,
                                       const void*, const void*, void*, void*, void*, void*);

}  // namespace strf
