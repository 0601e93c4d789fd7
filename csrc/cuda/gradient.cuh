// dT_k = temperature T_k (dS_k + dS_k^T), with dS_k = P_k * (dM - delta_k[j]).
//
// For position j, the sum over i of (dS_k[i, j] + dS_k[j, i]) T_k[:, i]. Both terms have the same logit, since S_k is
// symmetric, and the two soft-maxes of it; dM lies in memory in both orders, so that everything is read along i, in
// pieces, and nothing passes through shared memory. A warp holds 16 positions j and runs over i; the bracket goes from
// the accumulators of one product into the operand of the next as it stands. Half types and TF32 hold it as a sum of
// two: columns of dS add up to 0, and where positions resemble each other their roundings would be all that is left.
//
// A block serves up to kSlots slots, each 32 rows of one path's T_k; slots of one path share the bracket.
#ifndef STRF_GRADIENT_CUH
#define STRF_GRADIENT_CUH

#include "columns.cuh"

namespace strf {

template <class Type>
struct Gradient {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 128, kBlocks = sizeof(Storage) == 2 ? 3 : 2;
  static constexpr int kPositions = kThreads / kWarp * 16;  // of a block
  static constexpr int kSlots = 2, kSlotRows = 32;
  static constexpr int kWidePiece = kPieceBytes / sizeof(Wide);
  static constexpr int kTerms = sizeof(Storage) <= 4 ? 2 : 1;  // of the bracket, at most

  struct Params {
    Shape shape;
    Wide factor;  // of the logits
    const Storage* pooled;                            // T [batch][paths][padded_positions][position_pitch]
    const Storage* transposed;                        // [batch][paths][wide_rows][padded_positions]
    const Wide* statistics;                           // [batch][paths][kStatistics][padded_positions]
    const Storage *grad_mask, *grad_mask_transposed;  // dM and dM^T [batch][N][padded_positions]
    Wide* gradient;                                   // dT [batch][paths][N][wide_rows]
  };

  static STRF_SHARED int slots(const Shape& shape) { return shape.paths * (shape.wide_rows / kSlotRows); }
  static STRF_SHARED int passes(const Shape& shape) { return (slots(shape) + kSlots - 1) / kSlots; }
  static int64_t blocks(const Shape& shape, int64_t batch) {
    return batch * passes(shape) * (shape.padded_positions / kPositions);
  }

  static STRF_DEVICE void run(const Params& params) {
    const Shape& shape = params.shape;
    const int strips = shape.padded_positions / kPositions, lane = lane_index(), group = lane / 4, t = lane % 4;
    const int64_t sample = block_index() / strips / passes(shape);
    const int first_slot = static_cast<int>(block_index() / strips % passes(shape)) * kSlots;
    const int first = static_cast<int>(block_index() % strips) * kPositions + warp_index() * 16;
    const int row_slots = shape.wide_rows / kSlotRows;
    int paths[kSlots];  // of the slots, and their rows of T transposed, from the lane's piece on
    const Storage* rows[kSlots];
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const int number = smaller(first_slot + slot, slots(shape) - 1);
      paths[slot] = number / row_slots;
      rows[slot] = params.transposed + (sample * shape.paths + paths[slot]) * shape.transposed_size() +
                   int64_t(number % row_slots * kSlotRows) * shape.padded_positions + t * Type::kPiece;
    }

    const Storage *along[2], *across[2];  // dM^T and dM of positions group and group + 8, from the lane's piece on
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t j = smaller(first + group + 8 * half, shape.positions - 1);
      const int64_t at = (sample * shape.positions + j) * shape.padded_positions + t * Type::kPiece;
      along[half] = params.grad_mask_transposed + at;
      across[half] = params.grad_mask + at;
    }

    Wide acc[kSlots][kSlotRows / 8][4] = {};
    for (int i = 0; i < shape.positions; i += Type::kBlock) {
      Piece grad[2][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        grad[half][0] = load_global(along[half] + i);
        grad[half][1] = load_global(across[half] + i);
      }
      int path = -1;
      Bracket bracket;
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        if (first_slot + slot >= slots(shape)) break;
        if (paths[slot] != path) {
          path = paths[slot];
          bracket = bracket_of(params, sample * shape.paths + path, path, first, i, grad);
        }
#pragma unroll
        for (int n = 0; n < kSlotRows / 8; ++n) {
          const int e = row_of_tile(n, group);
          const Storage* from = rows[slot] + int64_t(e) * shape.padded_positions + i;
          const typename Type::Columns column = Type::columns(load_global(from), shape.exact);
#pragma unroll
          for (int term = 0; term < kTerms; ++term) {
            if (term == 1 && is_one_term(shape)) break;
            Type::multiply(acc[slot][n], bracket.term[term], column, shape.exact);
          }
          if (sizeof(Storage) > 2 || !shape.split[path]) continue;
          const typename Type::Columns rest = Type::columns(load_global(from + shape.transposed_part()), shape.exact);
          Type::multiply(acc[slot][n], bracket.term[0], rest, shape.exact);
        }
      }
    }
    store(params, sample, first_slot, first, acc);
  }

 private:
  // Such that the lane's results of neighbouring tiles make a piece.
  static STRF_DEVICE int row_of_tile(int tile, int group) {
    constexpr int kTogether = kWidePiece / 2;  // tiles
    return tile / kTogether * kTogether * 8 + (group >> 1) * kWidePiece + tile % kTogether * 2 + (group & 1);
  }

  // Products of float32 that are exact leave nothing out.
  static STRF_DEVICE bool is_one_term(const Shape& shape) { return sizeof(Storage) == 4 && shape.exact; }

  // dS[i, j] + dS[j, i] for 16 positions j and a block of i, as an operand's rows.
  struct Bracket {
    typename Type::Rows term[kTerms];
  };

  static STRF_DEVICE Bracket bracket_of(const Params& params, int64_t path_index, int path, int first, int i,
                                        const Piece (&grad)[2][2]) {
    const Shape& shape = params.shape;
    const int lane = lane_index(), group = lane / 4, t = lane % 4;
    const Storage* pooled = params.pooled + path_index * shape.pooled_size();
    Logits<Type> s[1] = {};
    LogitOperands<Type, 1> operands;
    add_logits<false>(shape, shape.split[path], pooled + int64_t(first) * shape.position_pitch,
                      pooled + int64_t(i) * shape.position_pitch, operands, false, s, lane);
    scale_logits<Type, 1>(shape, shape.positions - i, s);

    const Wide* statistics = params.statistics + path_index * kStatistics * shape.padded_positions;
    const auto of_columns = [&](Statistic which, Wide(&values)[Type::kPiece]) {
      load_wide<Type>(statistics + which * shape.padded_positions + i + t * Type::kPiece, values);
    };
    Wide maximum[Type::kPiece], normalizer[Type::kPiece], delta[Type::kPiece];
    if (!shape.bounded) of_columns(kMaximum, maximum);
    of_columns(kNormalizer, normalizer);
    of_columns(kScaledDelta, delta);
    Piece terms[kTerms][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Wide* row = statistics + first + group + 8 * half;
      const Wide row_normalizer = row[kNormalizer * shape.padded_positions];
      const Wide row_delta = row[kScaledDelta * shape.padded_positions];
      Wide along[Type::kPiece], across[Type::kPiece], sum[Type::kPiece];
      Type::unpack(grad[half][0], along);
      Type::unpack(grad[half][1], across);
#pragma unroll
      for (int v = 0; v < Type::kPiece; ++v) {
        along[v] = fused_multiply_add(along[v], row_normalizer, -row_delta);
        across[v] = fused_multiply_add(across[v], normalizer[v], -delta[v]);
      }
      if (shape.bounded) {  // one power serves both
#pragma unroll
        for (int v = 0; v < Type::kPiece; ++v)
          sum[v] = exp2_fast(s[0][v / 2][2 * half + v % 2]) * (along[v] + across[v]);
      } else {
        const Wide row_maximum = row[kMaximum * shape.padded_positions];
#pragma unroll
        for (int v = 0; v < Type::kPiece; ++v) {
          const Wide logit = s[0][v / 2][2 * half + v % 2];
          const Wide power = exp2_fast(logit - row_maximum), transposed = exp2_fast(logit - maximum[v]);
          sum[v] = fused_multiply_add(transposed, across[v], power * along[v]);
        }
      }
      terms[0][half] = Type::pack(sum);
      if constexpr (kTerms == 2) terms[1][half] = Type::rest_of(sum);
    }
    Bracket bracket;
#pragma unroll
    for (int i = 0; i < kTerms; ++i) bracket.term[i] = Type::rows(terms[i][0], terms[i][1], shape.exact);
    return bracket;
  }

  static STRF_DEVICE void store(const Params& params, int64_t sample, int first_slot, int first,
                                const Wide (&acc)[kSlots][kSlotRows / 8][4]) {
    const Shape& shape = params.shape;
    const int row_slots = shape.wide_rows / kSlotRows, group = lane_index() / 4, t = lane_index() % 4;
    constexpr int kTogether = kWidePiece / 2;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      if (first_slot + slot >= slots(shape)) break;
      const int path = (first_slot + slot) / row_slots, row = (first_slot + slot) % row_slots * kSlotRows;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = first + group + 8 * half;
        if (j >= shape.positions) continue;
        Wide* to = params.gradient + (sample * shape.paths + path) * shape.gradient_size() +
                   int64_t(j) * shape.wide_rows + row + t * kWidePiece;
#pragma unroll
        for (int n = 0; n < kSlotRows / 8; n += kTogether) {
          Wide values[kWidePiece];
#pragma unroll
          for (int v = 0; v < kWidePiece; ++v) values[v] = params.factor * acc[slot][n + v / 2][2 * half + v % 2];
          *reinterpret_cast<Piece*>(to + n * 8) = wide_piece(values);
        }
      }
    }
  }
};

}  // namespace strf

#endif
