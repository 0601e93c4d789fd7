// Compiles every kernel for one element type: STRF_HOST_TYPE of types.cuh, STRF_HOST_CODE of strf.h.
#include "operator.h"

#include "operator_impl.cuh"

namespace strf::host {
namespace {

[[maybe_unused]] const bool registered = functions()
                                             .insert({STRF_HOST_CODE,
                                                      {workspace_bytes, forward<STRF_HOST_TYPE>,
                                                       backward<STRF_HOST_TYPE>}})
                                             .second;

}  // namespace
}  // namespace strf::host
