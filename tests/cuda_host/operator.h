// The operator's functions for one element type, as operator.cpp compiles them. Types are in translation units of their
// own, so that several processors compile at once, and a module may be linked with some of them only.
#ifndef STRF_HOST_OPERATOR_H
#define STRF_HOST_OPERATOR_H

#include <map>

#include "operator.cuh"

namespace strf::host {

struct Functions {
  decltype(&workspace_bytes) workspace;
  decltype(&forward<struct AnyType>) forward;
  decltype(&backward<struct AnyType>) backward;
};

inline std::map<strf_type, Functions>& functions() {
  static std::map<strf_type, Functions> of_type;
  return of_type;
}

}  // namespace strf::host

#endif
