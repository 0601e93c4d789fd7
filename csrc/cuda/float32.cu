// All kernels for float32.
#include "operator_impl.cuh"

namespace strf {

template const char* forward<Float32>(const strf_problem&, const Limits&, const void*, const void*, void*, void*, void*,
                                      void*, void*);
template const char* backward<Float32>(const strf_problem&, const Limits&, const void*, const void*, const void*,
                                       const void*, const void*, void*, void*, void*, void*);

}  // namespace strf
