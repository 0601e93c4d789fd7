// NumPy arrays as the kernels get them: copies of exactly their size on the heap, where AddressSanitizer sees every
// access beyond them, and full of NaN where nothing has been written.
#ifndef STRF_HOST_ARRAYS_H
#define STRF_HOST_ARRAYS_H

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace strf::host {

namespace py = pybind11;

class Memory {
 public:
  // The array begins `offset` bytes behind an address that is aligned to 256 bytes.
  explicit Memory(int64_t bytes, int64_t offset = 0) : bytes_(bytes), offset_(offset) {
    if (posix_memalign(&base_, 256, bytes + offset) != 0) throw std::bad_alloc();
    std::memset(base_, 0xff, bytes + offset);
  }
  explicit Memory(const py::array& array, int64_t offset = 0) : Memory(array.nbytes(), offset) {
    if (!(array.flags() & py::array::c_style)) throw std::invalid_argument("arrays must be C-contiguous");
    std::memcpy(data(), array.data(), bytes_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { std::free(base_); }

  void* data() const { return static_cast<uint8_t*>(base_) + offset_; }
  int64_t bytes() const { return bytes_; }
  bool still_holds(const py::array& array) const { return std::memcmp(data(), array.data(), bytes_) == 0; }
  py::array array(const py::dtype& type, py::array::ShapeContainer shape) const {
    py::array copy(type, std::move(shape));
    if (copy.nbytes() != bytes_) throw std::logic_error("an array of another size");
    std::memcpy(copy.mutable_data(), data(), bytes_);
    return copy;
  }

 private:
  void* base_ = nullptr;
  int64_t bytes_, offset_;
};

inline void throw_if(const char* sentence) {
  if (sentence) throw std::runtime_error(sentence);
}

}  // namespace strf::host

#endif
