// What the files of python/ share: the operators that registration.cpp hands to PyTorch, and how errors are raised.
#ifndef STRF_REGISTRATION_H
#define STRF_REGISTRATION_H

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <sstream>
#include <stdexcept>
#include <tuple>
#include <vector>

namespace strf_python {

using torch::stable::Tensor;

// Raises RuntimeError with one sentence made of `parts`; without the file and line that STD_TORCH_CHECK puts in front.
template <typename... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream sentence;
  (sentence << ... << parts);
  throw std::runtime_error(sentence.str());
}

std::tuple<Tensor, Tensor, Tensor> cpu_forward(Tensor x, Tensor weight, std::vector<int64_t> windows,
                                               std::vector<int64_t> kinds, double temperature, bool tf32, bool cosine);

std::tuple<Tensor, Tensor> cpu_backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer,
                                        std::vector<int64_t> windows, std::vector<int64_t> kinds, double temperature,
                                        bool tf32, bool cosine);

std::tuple<Tensor, Tensor, Tensor> cuda_forward(Tensor x, Tensor weight, std::vector<int64_t> windows,
                                                std::vector<int64_t> kinds, double temperature, bool tf32, bool cosine);

std::tuple<Tensor, Tensor> cuda_backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer,
                                         std::vector<int64_t> windows, std::vector<int64_t> kinds, double temperature,
                                         bool tf32, bool cosine);

Tensor cuda_probe(Tensor values);

}  // namespace strf_python

#endif
