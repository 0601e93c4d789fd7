// torch.ops.strf_cuda.forward and backward on CPU tensors: runs csrc/cpu on PyTorch's threads. Half types are handed
// over, and come back, as float32 copies.
#include <torch/csrc/stable/ops.h>

#include "problem.h"

namespace strf_python {
namespace {

strf_cpu_level level() {
  static const strf_cpu_level best = strf_cpu_best_level();
  return best;
}

strf_threads threads() {
  const auto run = [](int64_t count, strf_task task, void* context) {
    TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, 1, task, context));
  };
  return {static_cast<int32_t>(torch::stable::get_num_threads()), run};
}

Tensor allocate_workspace(const Tensor& x, const strf_problem& problem, const strf_threads& threads, bool backward) {
  return allocate(x, {strf_cpu_workspace(&problem, threads.threads, backward)}, ScalarType::Byte);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> cpu_forward(Tensor x, Tensor weight, Sizes windows, Sizes kinds, double temperature,
                                               bool, bool cosine) {
  refuse_differentiation({&x, &weight});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature, false, cosine);
  const ScalarType computed = wide_type(problem);
  const Tensor y = allocate_as_x(x, problem, computed);
  const Tensor maximum = allocate_statistics(x, problem), normalizer = allocate_statistics(x, problem);
  if (problem.batch > 0) {
    const Tensor x_read = readable_as_x(x, problem, computed), weight_read = readable(weight, computed);
    const strf_threads pool = threads();
    const Tensor workspace = allocate_workspace(x, problem, pool, false);
    strf_cpu_forward(&problem, level(), &pool, x_read.const_data_ptr(), weight_read.const_data_ptr(),
                     y.mutable_data_ptr(), maximum.mutable_data_ptr(), normalizer.mutable_data_ptr(),
                     workspace.mutable_data_ptr());
  }
  return {converted(y, x.scalar_type()), maximum, normalizer};
}

std::tuple<Tensor, Tensor> cpu_backward(Tensor grad, Tensor x, Tensor weight, Tensor maximum, Tensor normalizer,
                                        Sizes windows, Sizes kinds, double temperature, bool, bool cosine) {
  refuse_differentiation({&grad, &x, &weight, &maximum, &normalizer});
  const strf_problem problem = problem_of(x, weight, windows, kinds, temperature, false, cosine);
  check_backward(problem, x, grad, maximum, normalizer);
  const ScalarType type = x.scalar_type(), computed = wide_type(problem);
  const Tensor grad_x = allocate_as_x(x, problem, computed);
  const Tensor grad_weight = allocate_as_weight(x, problem, computed);
  if (problem.batch > 0) {
    const Tensor grad_read = readable_as_x(grad, problem, computed), x_read = readable_as_x(x, problem, computed);
    const Tensor weight_read = readable(weight, computed);
    const Tensor maximum_read = readable(maximum, computed), normalizer_read = readable(normalizer, computed);
    const strf_threads pool = threads();
    const Tensor workspace = allocate_workspace(x, problem, pool, true);
    strf_cpu_backward(&problem, level(), &pool, grad_read.const_data_ptr(), x_read.const_data_ptr(),
                      weight_read.const_data_ptr(), maximum_read.const_data_ptr(), normalizer_read.const_data_ptr(),
                      grad_x.mutable_data_ptr(), grad_weight.mutable_data_ptr(), workspace.mutable_data_ptr());
  } else {
    TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(grad_weight.get()));
  }
  return {converted(grad_x, type), converted(grad_weight, type)};
}

}  // namespace strf_python
