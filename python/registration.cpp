// Registers the operators torch.ops.strf_cuda.* with PyTorch, through its stable C interface only.
//
// Like STABLE_TORCH_LIBRARY, but every answer is looked at: that macro goes on with an invalid handle, and kills the
// process, when the namespace is taken. Here a second copy of the library stays without effect, and the first serves.
#include "registration.h"

#include <cstdint>
#include <initializer_list>
#include <string>

#include "build_facts.h"
#include "strf.h"

namespace strf_python {
namespace {

using Boxed = void (*)(StableIValue*, uint64_t, uint64_t);

// The facts of the build, and the instruction set in use, as one line of JSON.
std::string build() {
  std::string facts = STRF_BUILD_FACTS;
  facts.pop_back();
  return facts + ", \"cpu_level\": \"" + strf_cpu_level_name(strf_cpu_best_level()) + "\"}";
}

bool define(std::initializer_list<const char*> schemas) {
  TorchLibraryHandle library = nullptr;
  if (aoti_torch_library_init_def("strf_cuda", __FILE__, __LINE__, &library) != TORCH_SUCCESS) return false;
  for (const char* schema : schemas)
    if (aoti_torch_library_def(library, schema) != TORCH_SUCCESS) {
      aoti_torch_delete_library_object(library);
      return false;
    }
  return true;
}

void implement(const char* key, const char* name, Boxed kernel) {
  TorchLibraryHandle library = nullptr;
  if (aoti_torch_library_init_impl("strf_cuda", key, __FILE__, __LINE__, &library) == TORCH_SUCCESS)
    torch_library_impl(library, name, kernel, TORCH_ABI_VERSION);
}

// The handles are kept until the process ends: the library is never unloaded (-z nodelete).
[[maybe_unused]] const bool registered = [] {
  const bool defined = define({
      "forward(Tensor x, Tensor weight, int[] windows, int[] kinds, float temperature, bool tf32, bool "
      "cosine=False) -> (Tensor, Tensor, Tensor)",
      "backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer, int[] windows, int[] kinds, "
      "float temperature, bool tf32, bool cosine=False) -> (Tensor, Tensor)",
      "probe(Tensor values) -> Tensor",
      "build() -> str",
  });
  if (!defined) return false;
  implement("CPU", "forward", TORCH_BOX(&cpu_forward));
  implement("CPU", "backward", TORCH_BOX(&cpu_backward));
  implement("CompositeExplicitAutograd", "build", TORCH_BOX(&build));
#ifdef STRF_WITH_CUDA
  implement("CUDA", "forward", TORCH_BOX(&cuda_forward));
  implement("CUDA", "backward", TORCH_BOX(&cuda_backward));
  implement("CUDA", "probe", TORCH_BOX(&cuda_probe));
#endif
  return true;
}();

}  // namespace
}  // namespace strf_python
