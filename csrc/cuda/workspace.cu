// The size of the workspace, for all element types.
#include "plan.cuh"

namespace strf {

int64_t workspace_bytes(const strf_problem& problem, const Limits& limits, bool backward) {
  return plan_of(problem, limits, backward).size;
}

}  // namespace strf
