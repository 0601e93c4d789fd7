// The toy kernels of toys.cuh as Python functions of NumPy arrays.
#include "toys.cuh"

#include <string>
#include <utility>
#include <vector>

#include "arrays.h"

namespace strf {
namespace {

namespace py = pybind11;
using host::Memory;

constexpr int64_t kSharedLimit = 64 * 1024;

constexpr std::pair<const char*, Fault> kFaults[] = {
    {"nothing", kIntact},
    {"no sync_threads", kNoSyncThreads},
    {"no sync_warp", kNoSyncWarp},
    {"no copy_wait", kNoWait},
    {"no copy_commit", kNoCommit},
    {"copy_wait for too few", kTooFewWaited},
    {"copy before the others have read", kEarlyCopy},
    {"read beyond", kReadBeyond},
    {"write beyond", kWriteBeyond},
    {"write beyond shared memory", kSharedBeyond},
    {"unaligned load_global", kUnaligned},
    {"unaligned copy_async", kUnalignedCopy},
    {"more valid bytes than there are", kFractionOfCopy},
    {"copy beyond", kCopyBeyond},
    {"another operation", kMismatch},
    {"a thread ends early", kEndsEarly},
    {"a lane at another barrier", kSkipsWarp},
    {"swapped words", kSwappedWords},
};

constexpr std::pair<const char*, Kind> kKinds[] = {
    {"bfloat16", kBFloat16}, {"float16", kFloat16}, {"tf32", kTf32}, {"float64", kFloat64}};

template <class Table>
auto look_up(const Table& table, const std::string& name) {
  for (const auto& [known, value] : table)
    if (name == known) return value;
  throw std::invalid_argument("unknown: " + name);
}

Fault fault_of(const std::string& name) { return look_up(kFaults, name); }
Kind kind_of(const std::string& name) { return look_up(kKinds, name); }

template <class Kernel>
py::array reverse(const py::array& from, int64_t blocks, const std::string& fault, uint64_t seed,
                  int64_t shared_bytes) {
  host::settings = {seed, kSharedLimit, {}, 0};
  const Memory given(from), to(from.nbytes());
  host::throw_if(launch<Kernel>({static_cast<const float*>(given.data()), static_cast<float*>(to.data()),
                                 from.size() / blocks, fault_of(fault)},
                                blocks, shared_bytes, nullptr));
  return to.array(from.dtype(), {from.size()});
}

py::tuple warp_sums(const py::array& from, const std::string& fault, uint64_t seed) {
  host::settings = {seed, kSharedLimit, {}, 0};
  const Memory given(from), memory(from.nbytes()), exchange(2 * from.nbytes());
  host::throw_if(launch<WarpSums>({static_cast<const float*>(given.data()), static_cast<float*>(memory.data()),
                                   static_cast<double*>(exchange.data()), fault_of(fault)},
                                  1, 4 * WarpSums::kThreads, nullptr));
  return py::make_tuple(memory.array(from.dtype(), {from.size()}),
                        exchange.array(py::dtype("float64"), {from.size()}));
}

py::array reach(const py::array& from, const std::string& fault) {
  host::settings = {0, kSharedLimit, {}, 0};
  const Memory given(from), to(from.nbytes());
  host::throw_if(launch<Reach>(
      {static_cast<const float*>(given.data()), static_cast<float*>(to.data()), from.size(), fault_of(fault)}, 1,
      from.nbytes(), nullptr));
  return to.array(from.dtype(), {from.size()});
}

py::array product(const py::array& a, const py::array& b, const py::array& acc, const std::string& kind,
                  const std::string& fault) {
  host::settings = {0, kSharedLimit, {}, 0};
  const Memory given_a(a), given_b(b), sums(acc);
  host::throw_if(
      launch<Product>({given_a.data(), given_b.data(), sums.data(), kind_of(kind), fault_of(fault)}, 1, 0, nullptr));
  return sums.array(acc.dtype(), {acc.shape(0), acc.shape(1)});
}

py::array matrices(const py::array& from, bool transposed, const std::string& fault, uint64_t seed) {
  host::settings = {seed, kSharedLimit, {}, 0};
  const Memory given(from), to(from.nbytes());
  host::throw_if(launch<Matrices>(
      {static_cast<const uint16_t*>(given.data()), static_cast<uint16_t*>(to.data()), transposed, fault_of(fault)}, 1,
      from.nbytes(), nullptr));
  return to.array(from.dtype(), {4, 8, 8});
}

void repeat(int64_t products, int64_t loads, int64_t barriers) {
  host::settings = {0, kSharedLimit, {}, 0};
  host::throw_if(launch<Repeat>({products, loads, barriers}, 1, 512, nullptr));
}

// The functions on numbers, for each element of an array of floats; packed ones take the high half of the word.
py::dict numbers(const py::array& from) {
  const auto* x = static_cast<const float*>(from.data());
  const auto each = [&](const char* type, auto function) {
    using To = decltype(function(0.0f));
    py::array to(py::dtype(type), std::vector<py::ssize_t>{from.size()});
    for (int64_t i = 0; i < from.size(); ++i) static_cast<To*>(to.mutable_data())[i] = function(x[i]);
    return to;
  };
  py::dict results;
  results["exp2_fast"] = each("float32", [](float x) { return exp2_fast(x); });
  results["to_tf32"] = each("uint32", [](float x) { return to_tf32(x); });
  results["pack_bfloat16"] = each("uint32", [](float x) { return pack_bfloat16(1.0f, x); });
  results["pack_float16"] = each("uint32", [](float x) { return pack_float16(1.0f, x); });
  results["from_bfloat16"] = each("float32", [](float x) { return from_bfloat16(pack_bfloat16(x, 1.0f) & 0xffff); });
  results["from_float16"] = each("float32", [](float x) { return from_float16(pack_float16(x, 1.0f) & 0xffff); });
  return results;
}

}  // namespace
}  // namespace strf

PYBIND11_MODULE(cuda_host_toys, module) {
  using namespace strf;
  using namespace pybind11::literals;
  module.def("reverse", &reverse<Reverse>, "from"_a, "blocks"_a, "fault"_a, "seed"_a, "shared_bytes"_a);
  module.def("reverse_in_stages", &reverse<ReverseInStages>, "from"_a, "blocks"_a, "fault"_a, "seed"_a,
             "shared_bytes"_a);
  module.def("warp_sums", &warp_sums, "from"_a, "fault"_a, "seed"_a);
  module.def("reach", &reach, "from"_a, "fault"_a);
  module.def("product", &product, "a"_a, "b"_a, "acc"_a, "kind"_a, "fault"_a);
  module.def("matrices", &matrices, "from"_a, "transposed"_a, "fault"_a, "seed"_a);
  module.def("repeat", &repeat, "products"_a, "loads"_a, "barriers"_a);
  module.def("numbers", &numbers, "from"_a);
}
