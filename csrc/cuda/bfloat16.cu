// All kernels for bfloat16.
#include "operator_impl.cuh"

namespace strf {

template const char* forward<BFloat16>(const strf_problem&, const Limits&, const void*, const void*, void*, void*,
                                       void*, void*, void*);
template const char* backward<BFloat16>(const strf_problem&, const Limits&, const void*, const void*, const void*,
                                        const void*, const void*, void*, void*, void*, void*);

}  // namespace strf
