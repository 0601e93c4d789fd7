// The operator's launches, and how each kernel's work is cut.
//
//   forward    R = W x; T = pool(R); statistics, where a soft-max does not fit into one block; Y
//   backward   R and T again; then for as many samples as dM has room for: dM = X^T G, delta, dT; for all samples dR,
//              dX and dW
#ifndef STRF_OPERATOR_IMPL_CUH
#define STRF_OPERATOR_IMPL_CUH

#include "gradient.cuh"
#include "multiply.cuh"
#include "operator.cuh"
#include "plan.cuh"

namespace strf {

// One call: launches one kernel after the other, until one fails.
template <class Type>
class Run {
 public:
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  Run(const strf_problem& problem, const Limits& limits, bool backward, const void* x, const void* weight,
      void* workspace, void* stream)
      : plan_(plan_of(problem, limits, backward)),
        shape_(plan_.shape),
        limits_(limits),
        batch_(problem.batch),
        factor_(logit_factor(problem)),
        backward_(backward),
        x_(static_cast<const Storage*>(x)),
        weight_(static_cast<const Storage*>(weight)),
        workspace_(static_cast<uint8_t*>(workspace)),
        stream_(stream) {}

  const char* forward(void* y, void* maximum, void* normalizer) {
    reduce_and_pool();
    if (!fits_whole()) {
      typename Columns<Type>::Params params{};
      params.shape = shape_;
      params.pooled = at<Storage>(plan_.pooled);
      params.maximum = static_cast<Wide*>(maximum);
      params.normalizer = static_cast<Wide*>(normalizer);
      go<Columns<Type>>(params, Columns<Type>::blocks(shape_, batch_), 0);
    }
    multiply(x_, static_cast<Storage*>(y), kOfRow, static_cast<Wide*>(maximum), static_cast<Wide*>(normalizer));
    return error_;
  }

  const char* backward(const void* grad_y, const void* maximum, const void* normalizer, void* grad_x,
                       void* grad_weight) {
    const Storage* grad = static_cast<const Storage*>(grad_y);
    reduce_and_pool();
    for (int64_t sample = 0; sample < batch_; sample += plan_.group) {
      const int64_t count = batch_ - sample < plan_.group ? batch_ - sample : plan_.group;
      mask_gradient(grad, sample, count);
      // Read only; one type of parameters serves both directions.
      deltas(const_cast<Wide*>(static_cast<const Wide*>(maximum)),
             const_cast<Wide*>(static_cast<const Wide*>(normalizer)), sample, count);
      pooled_gradient(sample, count);
    }
    if (shape_.cosine) length_backward();
    pool_backward();
    multiply(grad, static_cast<Storage*>(grad_x), kOfColumn, nullptr, nullptr);
    weight_gradient(static_cast<Storage*>(grad_weight));
    return error_;
  }

 private:
  template <class Element>
  Element* at(int64_t offset) const {
    return reinterpret_cast<Element*>(workspace_ + offset);
  }

  template <class Kernel>
  void go(const typename Kernel::Params& params, int64_t blocks, int64_t shared_bytes) {
    if (!error_) error_ = launch<Kernel>(params, blocks, shared_bytes, stream_);
  }

  int width_of_map(const void* map) const {
    return access_width(map, shape_.channels_last ? shape_.channels : shape_.positions, sizeof(Storage));
  }

  // Positions (outer) of a frame by its channels.
  Operands<Type> positions_by_channels(const Storage* map) const {
    return {{map, shape_.channels_last ? shape_.position_stride() : shape_.channel_stride(), shape_.channels_last,
             width_of_map(map)},
            shape_.sample_size(),
            shape_.frame_offset(1)};
  }

  // Channels (outer) of a frame by its positions: the same memory, seen from the other side.
  Operands<Type> channels_by_positions(const Storage* map) const {
    Operands<Type> operands = positions_by_channels(map);
    operands.first.k_contiguous = !operands.first.k_contiguous;
    return operands;
  }

  // By large tiles where they fill the device.
  void product(ProductParams<Type> params) {
    params.exact = shape_.exact;
    if constexpr (sizeof(Storage) == 2) {
      using Large = Product<Type, 128>;
      if (params.padded_columns > 64 && Large::blocks(params) >= limits_.multiprocessors)
        return go<Large>(params, Large::blocks(params), Large::kSharedBytes);
    }
    go<Product<Type, 64>>(params, Product<Type, 64>::blocks(params), Product<Type, 64>::kSharedBytes);
  }

  void reduce_and_pool() {
    ProductParams<Type> reduce{};
    reduce.a = positions_by_channels(x_);
    reduce.b = {{weight_, shape_.channels, true, access_width(weight_, shape_.channels, sizeof(Storage))}, 0, 0};
    reduce.rows = shape_.positions;
    reduce.columns = shape_.all_reduced;
    reduce.k = shape_.channels;
    reduce.segments = reduce.products = batch_ * shape_.frames;
    reduce.frames = shape_.frames;
    reduce.padded_columns = shape_.all_pitch;
    reduce.result_size = shape_.reduced_size();
    reduce.result = at<Storage>(plan_.reduced);
    product(reduce);

    typename PoolForward<Type>::Params pool{};
    pool.shape = shape_;
    copy_pools(pool.pools);
    pool.reduced = at<Storage>(plan_.reduced);
    pool.pooled = at<Storage>(plan_.pooled);
    if (backward_) {
      pool.transposed = at<Storage>(plan_.transposed);
      pool.largest = at<int32_t>(plan_.largest);
    }
    go<PoolForward<Type>>(pool, PoolForward<Type>::blocks(shape_, batch_), PoolForward<Type>::kSharedBytes);
  }

  void copy_pools(Pool (&pools)[STRF_MAX_PATHS]) const {
    for (int path = 0; path < STRF_MAX_PATHS; ++path) pools[path] = plan_.pools[path];
  }

  // dM^T [j][i] = the sum over channels and frames of G[:, j] X[:, i], in both orders.
  void mask_gradient(const Storage* grad, int64_t sample, int64_t count) {
    ProductParams<Type> params{};
    params.a = positions_by_channels(grad + sample * shape_.sample_size());
    params.b = positions_by_channels(x_ + sample * shape_.sample_size());
    params.rows = params.columns = shape_.positions;
    params.products = count;
    if (shape_.channels_last) {
      params.k = shape_.channels;
      params.frames = shape_.frames;
    } else {  // channels and frames are one index
      params.k = shape_.channels * shape_.frames;
      params.frames = 1;
      params.a.first.stride = params.b.first.stride = shape_.positions;
    }
    params.segments = count * params.frames;
    params.padded_columns = shape_.padded_positions;
    params.result_size = int64_t(shape_.positions) * shape_.padded_positions;
    params.result = at<Storage>(plan_.grad_mask_transposed);
    params.transposed = at<Storage>(plan_.grad_mask);
    product(params);
  }

  void deltas(Wide* maximum, Wide* normalizer, int64_t sample, int64_t count) {
    typename Columns<Type>::Params params{};
    const int64_t map = sample * shape_.paths;
    params.shape = shape_;
    params.pooled = at<Storage>(plan_.pooled) + map * shape_.pooled_size();
    params.backward = true;
    params.maximum = maximum + map * shape_.positions;
    params.normalizer = normalizer + map * shape_.positions;
    params.grad_mask = at<Storage>(plan_.grad_mask_transposed);
    params.statistics = at<Wide>(plan_.statistics) + map * kStatistics * shape_.padded_positions;
    go<Columns<Type>>(params, Columns<Type>::blocks(shape_, count), 0);
  }

  void pooled_gradient(int64_t sample, int64_t count) {
    typename Gradient<Type>::Params params{};
    const int64_t map = sample * shape_.paths;
    params.shape = shape_;
    params.factor = static_cast<Wide>(factor_);
    params.pooled = at<Storage>(plan_.pooled) + map * shape_.pooled_size();
    params.transposed = at<Storage>(plan_.transposed) + map * shape_.transposed_size();
    params.statistics = at<Wide>(plan_.statistics) + map * kStatistics * shape_.padded_positions;
    params.grad_mask = at<Storage>(plan_.grad_mask);
    params.grad_mask_transposed = at<Storage>(plan_.grad_mask_transposed);
    params.gradient = at<Wide>(plan_.gradient) + map * shape_.gradient_size();
    go<Gradient<Type>>(params, Gradient<Type>::blocks(shape_, count), 0);
  }

  void length_backward() {
    typename LengthBackward<Type>::Params params{};
    params.shape = shape_;
    copy_pools(params.pools);
    params.reduced = at<Storage>(plan_.reduced);
    params.largest = at<int32_t>(plan_.largest);
    params.gradient = at<Wide>(plan_.gradient);
    params.vectors = batch_ * shape_.paths * shape_.positions * shape_.frames;
    go<LengthBackward<Type>>(params, LengthBackward<Type>::blocks(params), 0);
  }

  void pool_backward() {
    typename PoolBackward<Type>::Params params{};
    params.shape = shape_;
    copy_pools(params.pools);
    params.gradient = at<Wide>(plan_.gradient);
    params.largest = at<int32_t>(plan_.largest);
    params.reduced = at<Storage>(plan_.grad_reduced);
    params.elements = batch_ * shape_.frames * shape_.reduced_size();
    go<PoolBackward<Type>>(params, PoolBackward<Type>::blocks(params), 0);
  }

  // Products of several segments each, and their sum.
  void weight_gradient(Storage* grad_weight) {
    ProductParams<Type> params{};
    const Storage* reduced = at<Storage>(plan_.grad_reduced);
    params.a = {{reduced, shape_.all_pitch, false, 16}, shape_.frames * shape_.reduced_size(), shape_.reduced_size()};
    params.b = channels_by_positions(x_);
    params.rows = shape_.all_reduced;
    params.columns = params.padded_columns = shape_.channels;
    params.k = shape_.positions;
    params.segments = batch_ * shape_.frames;
    params.products = plan_.parts;
    params.frames = shape_.frames;
    params.exact = shape_.exact;
    params.result_size = int64_t(shape_.all_reduced) * shape_.channels;
    params.wide_result = at<Wide>(plan_.weight_parts);
    go<Product<Type, 64>>(params, Product<Type, 64>::blocks(params), Product<Type, 64>::kSharedBytes);

    typename Sum<Type>::Params sum{at<Wide>(plan_.weight_parts), plan_.parts, params.result_size, grad_weight};
    go<Sum<Type>>(sum, Sum<Type>::blocks(sum), 0);
  }

  // Whether a block can hold all logits of its positions.
  bool fits_whole() const {
    if constexpr (sizeof(Storage) == 2) return shape_.positions <= Strip<Type, kWhole>::kChunk;
    return false;
  }

  void multiply(const Storage* x, Storage* y, MaskStatistics statistics, Wide* maximum, Wide* normalizer) {
    if constexpr (sizeof(Storage) == 2)
      if (fits_whole()) return multiply_by<Multiply<Type, true>>(x, y, statistics, maximum, normalizer);
    multiply_by<Multiply<Type, false>>(x, y, statistics, maximum, normalizer);
  }

  template <class Kernel>
  void multiply_by(const Storage* x, Storage* y, MaskStatistics statistics, Wide* maximum, Wide* normalizer) {
    typename Kernel::Params params{};
    params.mask.shape = shape_;
    params.mask.pooled = at<Storage>(plan_.pooled);
    params.mask.statistics = statistics;
    params.mask.maximum = maximum;
    params.mask.normalizer = normalizer;
    params.x = x;
    params.y = y;
    params.x_width = width_of_map(x);
    params.y_width = width_of_map(y);
    if (statistics == kOfColumn) {
      params.mask.column_statistics = at<Wide>(plan_.statistics);
      params.weight = weight_;
      params.weight_width = access_width(weight_, shape_.channels, sizeof(Storage));
      params.reduced_grad = at<Storage>(plan_.grad_reduced);
    }
    choose_strip<Kernel>(params.mask.width, params.held);
    Kernel::derive(params);
    go<Kernel>(params, batch_ * params.strips, Kernel::shared_bytes(params.mask.width, params.held, shape_.positions));
  }

  // The widest strip, since X is read once for each, that shared memory holds and that leaves few multiprocessors idle.
  template <class Kernel>
  void choose_strip(int& width, int& held) const {
    for (width = 128; width > 32; width /= 2) {
      const int64_t blocks = batch_ * ((shape_.positions + width - 1) / width);
      if (4 * blocks < 3 * limits_.multiprocessors || width >= 2 * shape_.positions) continue;
      for (held = Kernel::kHeld; held > 0; --held)
        if (Kernel::shared_bytes(width, held, shape_.positions) <= limits_.shared_bytes) return;
    }
    for (held = Kernel::kHeld; held > 1; --held)
      if (Kernel::shared_bytes(width, held, shape_.positions) <= limits_.shared_bytes) return;
  }

  const Plan plan_;
  const Shape& shape_;
  const Limits limits_;
  const int64_t batch_;
  const double factor_;
  const bool backward_;
  const Storage *x_, *weight_;
  uint8_t* workspace_;
  void* stream_;
  const char* error_ = nullptr;
};

template <class Type>
const char* forward(const strf_problem& problem, const Limits& limits, const void* x, const void* weight, void* y,
                    void* maximum, void* normalizer, void* workspace, void* stream) {
  return Run<Type>(problem, limits, false, x, weight, workspace, stream).forward(y, maximum, normalizer);
}

template <class Type>
const char* backward(const strf_problem& problem, const Limits& limits, const void* grad_y, const void* x,
                     const void* weight, const void* maximum, const void* normalizer, void* grad_x, void* grad_weight,
                     void* workspace, void* stream) {
  return Run<Type>(problem, limits, true, x, weight, workspace, stream)
      .backward(grad_y, maximum, normalizer, grad_x, grad_weight);
}

}  // namespace strf

#endif
