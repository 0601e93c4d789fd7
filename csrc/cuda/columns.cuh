// What the soft-max of a column needs to know of all its rows.
//
//   forward:   the maximum of log2(e) S_k[:, j] and 1 / the sum of the powers of two
//   backward:  delta_k[j] = sum over i of P_k[i, j] dM[i, j], times the normalizer, as it is used
//
// A warp holds 16 columns j and runs over i. S_k is symmetric, so the columns j are rows of its tiles here.
#ifndef STRF_COLUMNS_CUH
#define STRF_COLUMNS_CUH

#include "logits.cuh"

namespace strf {

// The three statistics of a path in the backward pass, each [padded_positions], 0 from N on. Where logits are bounded,
// the maximum is 0 everywhere: the bound is subtracted already.
enum Statistic { kMaximum, kNormalizer, kScaledDelta, kStatistics };

template <class Type>
struct Columns {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 128, kBlocks = 3;
  static constexpr int kColumns = kThreads / kWarp * 16;  // of a block

  struct Params {
    Shape shape;
    const Storage* pooled;  // T [batch][paths][padded_positions][position_pitch]
    bool backward;
    Wide *maximum, *normalizer;  // [batch][paths][N]: forward writes, backward reads
    const Storage* grad_mask;    // dM transposed [batch][N][padded_positions]
    Wide* statistics;            // [batch][paths][kStatistics][padded_positions]
  };

  static int64_t blocks(const Shape& shape, int64_t batch) {
    return batch * shape.paths * (shape.padded_positions / kColumns);
  }

  static STRF_DEVICE void run(const Params& params) {
    const Shape& shape = params.shape;
    const int strips = shape.padded_positions / kColumns;
    const int64_t path_index = block_index() / strips;  // sample * paths + path
    const int path = static_cast<int>(path_index % shape.paths);
    const int first = static_cast<int>(block_index() % strips) * kColumns + warp_index() * 16;
    const Storage* pooled = params.pooled + path_index * shape.pooled_size();
    const Task task{params, pooled, path_index, path, first};
    if (params.backward)
      task.backward();
    else
      task.forward();
  }

 private:
  struct Task {
    const Params& params;
    const Storage* pooled;
    int64_t path_index;
    int path, first;

    STRF_DEVICE void logits(int i, Logits<Type>& s) const {
      const Shape& shape = params.shape;
      Logits<Type> groups[1] = {};
      LogitOperands<Type, 1> operands;
      add_logits<true>(shape, shape.split[path], pooled + int64_t(first) * shape.position_pitch,
                       pooled + int64_t(i) * shape.position_pitch, operands, false, groups, lane_index());
      scale_logits<Type, 1>(shape, shape.positions - i, groups);
#pragma unroll
      for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
        for (int v = 0; v < 4; ++v) s[u][v] = groups[0][u][v];
    }

    STRF_DEVICE void forward() const {
      const Shape& shape = params.shape;
      const Wide start = shape.bounded ? Wide(0) : -Wide(INFINITY);
      Wide top[2] = {start, start}, sum[2] = {};  // of rows lane / 4 and lane / 4 + 8
      for (int i = 0; i < shape.positions; i += Type::kBlock) {
        Logits<Type> s;
        logits(i, s);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Wide base = 0;
          if (!shape.bounded) {
            Wide highest = top[half];
#pragma unroll
            for (int u = 0; u < Type::kTiles; ++u)
              highest = larger(highest, larger(s[u][2 * half], s[u][2 * half + 1]));
            if (highest > -Wide(INFINITY)) base = highest;  // so that erased columns alone count 0
            sum[half] *= exp2_fast(top[half] - base);
            top[half] = highest;
          }
#pragma unroll
          for (int u = 0; u < Type::kTiles; ++u)
            sum[half] += exp2_fast(s[u][2 * half] - base) + exp2_fast(s[u][2 * half + 1] - base);
        }
      }
      combine(top, sum);
    }

    // The four lanes that share a row have seen different columns.
    STRF_DEVICE void combine(const Wide (&top)[2], const Wide (&sum)[2]) const {
      const int lane = lane_index(), positions = params.shape.positions;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Wide highest = larger(top[half], shuffle_xor(top[half], 1));
        highest = larger(highest, shuffle_xor(highest, 2));
        Wide total = sum[half] == 0 ? Wide(0) : sum[half] * exp2_fast(top[half] - highest);
        total += shuffle_xor(total, 1);
        total += shuffle_xor(total, 2);
        const int j = first + lane / 4 + 8 * half;
        if (lane % 4 == 0 && j < positions) {
          params.maximum[path_index * positions + j] = highest + static_cast<Wide>(params.shape.bound);
          params.normalizer[path_index * positions + j] = Wide(1) / total;
        }
      }
    }

    STRF_DEVICE void backward() const {
      const Shape& shape = params.shape;
      const int lane = lane_index(), t = lane % 4, positions = shape.positions;
      const int64_t sample = path_index / shape.paths;
      Wide maximum[2], normalizer[2], delta[2] = {};
      const Storage* grad_mask[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = smaller(first + lane / 4 + 8 * half, positions - 1);
        maximum[half] = shape.bounded ? Wide(0) : params.maximum[path_index * positions + j];
        normalizer[half] = params.normalizer[path_index * positions + j];
        grad_mask[half] = params.grad_mask + (sample * positions + j) * shape.padded_positions + t * Type::kPiece;
      }
      for (int i = 0; i < positions; i += Type::kBlock) {
        Logits<Type> s;
        logits(i, s);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Wide gradient[Type::kPiece];
          Type::unpack(load_global(grad_mask[half] + i), gradient);
#pragma unroll
          for (int v = 0; v < Type::kPiece; ++v) {
            const Wide power = exp2_fast(s[v / 2][2 * half + v % 2] - maximum[half]);
            delta[half] += power * gradient[v];
          }
        }
      }
      Wide* statistics = params.statistics + path_index * kStatistics * shape.padded_positions;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Wide total = delta[half] + shuffle_xor(delta[half], 1);
        total += shuffle_xor(total, 2);
        const int j = first + lane / 4 + 8 * half;
        if (t != 0) continue;
        const bool real = j < positions;
        statistics[kMaximum * shape.padded_positions + j] = real ? maximum[half] : Wide(0);
        statistics[kNormalizer * shape.padded_positions + j] = real ? normalizer[half] : Wide(0);
        // In this order, so that for a single position, whose power is 1, nothing is left of dM less delta.
        statistics[kScaledDelta * shape.padded_positions + j] =
            real ? total * normalizer[half] * normalizer[half] : Wide(0);
      }
    }
  };
};

}  // namespace strf

#endif
