// The strip of the summed mask that a block of Multiply keeps in shared memory: some output positions by a chunk of the
// contracted ones, [width][pitch].
//
//   of the row      P[i, j], as Y needs it. In one chunk the soft-max is done here, since registers hold the whole row,
//                   and its statistics are written; otherwise they are given
//   of the column   P[j, i], from the given statistics of i, as dX needs it
//
// Each warp builds blocks of i of its own, for kBuiltRows positions at a time; the paths are added up in registers.
#ifndef STRF_STRIP_CUH
#define STRF_STRIP_CUH

#include "columns.cuh"

namespace strf {

enum MaskStatistics { kOfRow, kOfColumn };

// How a block's eight warps share the building of a strip.
//   kSmall    up to 4 blocks of i: two teams, each with a block a warp, for 16 positions each
//   kWhole    up to 16: two blocks a warp, for 32 positions
//   kChunks   more; the accumulators of the multiplication are alive, so that fewer registers are left
enum StripKind { kSmall, kWhole, kChunks };

template <class Type, StripKind kKind>
struct StripTiles {
  static constexpr int kTeams = kKind == kSmall ? 2 : 1;
  static constexpr int kBuilt = kKind == kWhole ? 2 : 1;   // blocks of i of a warp
  static constexpr int kGroups = kKind == kWhole ? 2 : 1;  // of 16 positions, of a warp
};
template <>
struct StripTiles<Float32, kChunks> {
  static constexpr int kTeams = 1, kBuilt = 2, kGroups = 1;
};

template <class Type>
struct StripParams {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  Shape shape;
  int width;              // positions: 32, 64 or 128
  int pitch;              // elements from one to the next
  const Storage* pooled;  // T [batch][paths][padded_positions][position_pitch]
  MaskStatistics statistics;
  Wide *maximum, *normalizer;     // [batch][paths][N], of the row: written in one chunk, otherwise read
  const Wide* column_statistics;  // [batch][paths][kStatistics][padded_positions]
};

template <class Type, StripKind kKind>
struct Strip {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;
  using Tiles = StripTiles<Type, kKind>;
  using Params = StripParams<Type>;

  static constexpr int kWarps = 8, kTeams = Tiles::kTeams, kTeamWarps = kWarps / kTeams;
  static constexpr int kGroups = Tiles::kGroups;
  static constexpr int kBuiltRows = 16 * kGroups * kTeams;                  // positions at a time
  static constexpr int kChunk = kTeamWarps * Tiles::kBuilt * Type::kBlock;  // largest number of i at a time
  static constexpr bool kInOneChunk = kKind != kChunks;                     // whether there are registers to read ahead
  // Of the logits or the mask, what a warp holds: its blocks of i, each for 16 kGroups positions.
  using Mask = Logits<Type>[Tiles::kBuilt][kGroups];

  static STRF_SHARED int chunk_blocks(int positions) {
    const int blocks = (positions + Type::kBlock - 1) / Type::kBlock, most = kChunk / Type::kBlock;
    return blocks < most ? blocks : most;
  }
  // An even number of blocks, so that pieces can be swapped within 128 bytes.
  static int pitch_of(int positions) { return (chunk_blocks(positions) + 1) / 2 * 2 * Type::kBlock; }

  const Params& params;
  int sample, first;  // position of the strip
  Storage* memory;
  Wide* exchange;  // 2 kTeamWarps kBuiltRows values by which warps tell each other their statistics

  static STRF_DEVICE int member() { return warp_index() % kTeamWarps; }                     // of its team
  static STRF_DEVICE int team_row() { return warp_index() / kTeamWarps * (16 * kGroups); }  // of the rows built

  // Piece t of a block. Swapped by the row, so that different banks serve the lanes that write two rows at once, and
  // those that read a column of eight.
  STRF_DEVICE Storage* piece(int row, int block, int t) const {
    const int swizzle = (row & 1) << 2 | (row >> 1 & 3);
    return memory + row * params.pitch + (block * 4 + t ^ swizzle) * Type::kPiece;
  }

  // The operand of 16 positions from `row` on, in the order of panels. The warp, together.
  STRF_DEVICE typename Type::Rows rows(int row, int block) const {
    const int lane = lane_index();
    if constexpr (sizeof(Storage) == 2) {
      const int of_lane = row + lane % 16, chunk = lane / 16;
      return {{load_matrices(piece(of_lane, block, chunk)), load_matrices(piece(of_lane, block, chunk + 2))}};
    } else {
      return Type::rows(load_shared(piece(row + lane / 4, block, lane % 4)),
                        load_shared(piece(row + 8 + lane / 4, block, lane % 4)), params.shape.exact);
    }
  }

  // With the accumulators in registers, there is no room for what could be computed before the loops.
  STRF_DEVICE int building_lane() const { return opaque(lane_index()); }

  STRF_DEVICE void build(int chunk_first, int chunk) {
    LogitOperands<Type, kGroups> operands;
    if constexpr (kInOneChunk) load_ahead(0, 0, operands);  // otherwise there are no registers for it
#pragma unroll 1
    for (int row = 0; row < params.width; row += kBuiltRows) {
      Mask mask = {};
#pragma unroll 1
      for (int path = 0; path < params.shape.paths; ++path) add_mask(path, row, chunk_first, chunk, operands, mask);
      const int lane = building_lane(), group = lane / 4, t = lane % 4;
#pragma unroll
      for (int b = 0; b < Tiles::kBuilt; ++b) {
        const int block = (b * kTeamWarps + member()) * Type::kBlock;
        if (block >= chunk) break;
#pragma unroll
        for (int m = 0; m < kGroups; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            Wide values[Type::kPiece];
#pragma unroll
            for (int v = 0; v < Type::kPiece; ++v) values[v] = mask[b][m][v / 2][2 * half + v % 2];
            *reinterpret_cast<Piece*>(piece(row + team_row() + 16 * m + 8 * half + group, block / Type::kBlock, t)) =
                Type::pack(values);
          }
      }
    }
  }

  // What the next path's first product needs, read while the path before is worked on.
  STRF_DEVICE void load_ahead(int path, int row, LogitOperands<Type, kGroups>& operands) const {
    const Storage* pooled = pooled_of(path);
    const int pitch = params.shape.position_pitch, block = member() * Type::kBlock;
    if (block < params.shape.positions)
      operands.load(pooled + real_row(row) * pitch, pooled + block * pitch, pitch, building_lane());
  }

  // A strip may reach beyond the positions that are padded, where nobody needs the results.
  STRF_DEVICE int real_row(int row) const {
    return smaller(first + row + team_row(), params.shape.padded_positions - 16 * kGroups);
  }

  STRF_DEVICE const Storage* pooled_of(int path) const {
    return params.pooled + (int64_t(opaque(sample)) * params.shape.paths + path) * params.shape.pooled_size();
  }

  // mask += P of one path, for kBuiltRows positions from row `row` of the strip on.
  STRF_DEVICE void add_mask(int path, int row, int chunk_first, int chunk, LogitOperands<Type, kGroups>& operands,
                            Mask& mask) {
    const int64_t path_index = int64_t(opaque(sample)) * params.shape.paths + path;
    const Storage* pooled = pooled_of(path);
    const int lane = building_lane(), pitch = params.shape.position_pitch;
    Mask s = {};
#pragma unroll
    for (int b = 0; b < Tiles::kBuilt; ++b) {
      const int block = (b * kTeamWarps + member()) * Type::kBlock, i = chunk_first + block;
      if (block >= chunk || i >= params.shape.positions) break;
      add_logits<kInOneChunk>(params.shape, params.shape.split[path], pooled + real_row(row) * pitch,
                              pooled + i * pitch, operands, kInOneChunk && b == 0, s[b], lane);
      scale_logits<Type, kGroups>(params.shape, params.shape.positions - i, s[b]);
    }
    if constexpr (kInOneChunk) {
      if (path + 1 < params.shape.paths)
        load_ahead(path + 1, row, operands);
      else if (row + kBuiltRows < params.width)
        load_ahead(0, row + kBuiltRows, operands);
    }
    if (params.statistics == kOfColumn)
      add_with_column_statistics(path_index, chunk_first, chunk, s, mask);
    else if constexpr (kInOneChunk)
      add_soft_max(path_index, first + row, (row / kBuiltRows * params.shape.paths + path) & 1, s, mask);
    else
      add_with_row_statistics(path_index, first + row, s, mask);
  }

  // `turn` alternates from call to call.
  STRF_DEVICE void add_soft_max(int64_t path_index, int row, int turn, Mask& s, Mask& mask) {
    const int lane = lane_index(), group = lane / 4, t = lane % 4, warp = member();
    const bool bounded = params.shape.bounded;
    Wide maximum[kGroups][2] = {};
    if (!bounded) find_maximum(s, maximum);
    // Without the maxima's barrier, sums of the call before may still be read: these go where the maxima would be.
    Wide* exchanged_sum = exchange + (bounded ? turn : 1) * kTeamWarps * kBuiltRows;
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Wide sum = 0;
#pragma unroll
        for (int b = 0; b < Tiles::kBuilt; ++b) {
          if ((b * kTeamWarps + warp) * Type::kBlock >= params.shape.positions) break;
#pragma unroll
          for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
            for (int v = 2 * half; v < 2 * half + 2; ++v) {
              s[b][m][u][v] = exp2_fast(s[b][m][u][v] - maximum[m][half]);
              sum += s[b][m][u][v];
            }
        }
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        if (t == 0) exchanged_sum[warp * kBuiltRows + team_row() + 16 * m + 8 * half + group] = sum;
      }
    sync_threads();  // every warp's sums are there; the maxima are no longer read
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int place = team_row() + 16 * m + 8 * half + group, j = row + place;
        Wide sum = 0;
#pragma unroll
        for (int other = 0; other < kTeamWarps; ++other) sum += exchanged_sum[other * kBuiltRows + place];
        const Wide normalizer = Wide(1) / sum;
        if (warp == 0 && t == 0 && j < params.shape.positions) {
          params.maximum[path_index * params.shape.positions + j] =
              maximum[m][half] + static_cast<Wide>(params.shape.bound);
          params.normalizer[path_index * params.shape.positions + j] = normalizer;
        }
#pragma unroll
        for (int b = 0; b < Tiles::kBuilt; ++b)
#pragma unroll
          for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
            for (int v = 2 * half; v < 2 * half + 2; ++v) mask[b][m][u][v] += s[b][m][u][v] * normalizer;
      }
  }

  STRF_DEVICE void find_maximum(const Mask& s, Wide (&maximum)[kGroups][2]) const {
    const int lane = lane_index(), group = lane / 4, t = lane % 4, warp = member();
    Wide* exchanged_max = exchange;  // [kTeamWarps][kBuiltRows]
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Wide top = -Wide(INFINITY);
#pragma unroll
        for (int b = 0; b < Tiles::kBuilt; ++b) {
          if ((b * kTeamWarps + warp) * Type::kBlock >= params.shape.positions) break;
#pragma unroll
          for (int u = 0; u < Type::kTiles; ++u)
            top = larger(top, larger(s[b][m][u][2 * half], s[b][m][u][2 * half + 1]));
        }
        top = larger(top, shuffle_xor(top, 1));
        top = larger(top, shuffle_xor(top, 2));
        if (t == 0) exchanged_max[warp * kBuiltRows + team_row() + 16 * m + 8 * half + group] = top;
      }
    sync_threads();  // every warp's maxima are there; the sums of the path before are no longer read
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int place = team_row() + 16 * m + 8 * half + group;
        Wide top = exchanged_max[place];
#pragma unroll
        for (int other = 1; other < kTeamWarps; ++other) top = larger(top, exchanged_max[other * kBuiltRows + place]);
        maximum[m][half] = top;
      }
  }

  STRF_DEVICE void add_with_row_statistics(int64_t path_index, int row, const Mask& s, Mask& mask) const {
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = smaller(row + team_row() + 16 * m + 8 * half + building_lane() / 4, params.shape.positions - 1);
        const Wide maximum =
            params.shape.bounded ? Wide(0) : params.maximum[path_index * params.shape.positions + j];
        const Wide normalizer = params.normalizer[path_index * params.shape.positions + j];
#pragma unroll
        for (int b = 0; b < Tiles::kBuilt; ++b)
#pragma unroll
          for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
            for (int v = 2 * half; v < 2 * half + 2; ++v)
              mask[b][m][u][v] += exp2_fast(s[b][m][u][v] - maximum) * normalizer;
      }
  }

  STRF_DEVICE void add_with_column_statistics(int64_t path_index, int chunk_first, int chunk, const Mask& s,
                                              Mask& mask) const {
#pragma unroll
    for (int b = 0; b < Tiles::kBuilt; ++b) {
      const int block = (b * kTeamWarps + member()) * Type::kBlock, i = chunk_first + block;
      if (block >= chunk || i >= params.shape.positions) break;
      const Wide* statistics = params.column_statistics + path_index * kStatistics * params.shape.padded_positions + i +
                               building_lane() % 4 * Type::kPiece;
      Wide maximum[Type::kPiece], normalizer[Type::kPiece];
      load_wide<Type>(statistics + kMaximum * params.shape.padded_positions, maximum);
      load_wide<Type>(statistics + kNormalizer * params.shape.padded_positions, normalizer);
#pragma unroll
      for (int m = 0; m < kGroups; ++m)
#pragma unroll
        for (int v = 0; v < Type::kPiece; ++v)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const Wide logit = s[b][m][v / 2][2 * half + v % 2];
            mask[b][m][v / 2][2 * half + v % 2] += exp2_fast(logit - maximum[v]) * normalizer[v];
          }
    }
  }
};

}  // namespace strf

#endif
