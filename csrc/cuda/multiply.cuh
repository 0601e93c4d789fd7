// Y = X (P_1 + ... + P_P), and with other statistics dX = G (P_1 + ... + P_P)^T + W^T dR.
//
// A block makes a strip of output positions j for every channel and frame. It first builds the strip of the summed mask
// in shared memory, [strip][i] with i contracted, a chunk of i at a time; then it multiplies: each warp holds 32
// positions by kHeld panels of 64 channels of a frame, and panels of X come through two stages. The strip serves all
// frames and channels. With all positions in one chunk it is built once; otherwise once for each group of panels.
//
//   own statistics      the soft-max of row j over i, done here: the whole row is in registers        forward, one chunk
//   of the row          P[i, j] from the given maximum[j] and normalizer[j]                           forward, chunks
//   of the column       P[j, i] from the given maximum[i] and normalizer[i]                           backward
//
// In the backward pass W^T dR is a further stretch of the contraction: dR goes on where the strip ends, W where X does.
#ifndef STRF_MULTIPLY_CUH
#define STRF_MULTIPLY_CUH

#include "columns.cuh"
#include "turned.cuh"

namespace strf {

enum MaskStatistics { kOwn, kOfRow, kOfColumn };

// How much of a strip a warp builds and holds. Whole: all positions in one chunk, so that accumulators and logits are
// not needed at the same time.
template <class Type, bool kWhole>
struct MultiplyTiles;
template <bool kWhole>
struct MultiplyTiles<BFloat16, kWhole> {
  static constexpr int kBuilt = kWhole ? 2 : 1;   // blocks of i
  static constexpr int kGroups = kWhole ? 2 : 1;  // of 16 positions, built at a time
  static constexpr int kHeld = 2;                 // panels, at most
};
template <bool kWhole>
struct MultiplyTiles<Float16, kWhole> : MultiplyTiles<BFloat16, kWhole> {};
template <>
struct MultiplyTiles<Float32, false> {
  static constexpr int kBuilt = 2, kGroups = 2, kHeld = 1;
};
template <>
struct MultiplyTiles<Float64, false> {
  static constexpr int kBuilt = 1, kGroups = 1, kHeld = 1;
};

template <class Type, bool kWhole>
struct Multiply {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;
  using Operand = typename Type::Operand;
  using Tiles = MultiplyTiles<Type, kWhole>;

  static constexpr int kThreads = 256, kBlocks = 1;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kRows = 32;                                      // positions of a warp that multiplies
  static constexpr int kGroups = Tiles::kGroups, kBuiltRows = 16 * kGroups;  // positions built at a time
  static constexpr int kChunk = kWarps * Tiles::kBuilt * Type::kBlock;  // largest number of i in shared memory
  static constexpr int kChannelTiles = kPanel / 8;

  struct Params {
    Shape shape;
    int strip;                   // positions: 32, 64 or 128
    int held;                    // panels of a warp: 1 to kHeld
    int strips, row_shift, pitch, frame_panels, panels, tile_panels, stages_bytes;  // what derive() makes of them
    const Storage *x, *weight;   // x or grad_y; weight [all_reduced][channels], for the backward pass alone
    Storage* y;
    int x_width, y_width, weight_width;  // bytes that an access may take
    const Storage* pooled;               // T [batch][paths][padded_positions][position_pitch]
    MaskStatistics statistics;
    Wide *maximum, *normalizer;     // [batch][paths][N]: written if own, read if of the row
    const Wide* column_statistics;  // [batch][paths][kStatistics][padded_positions]
    const Storage* reduced_grad;    // dR [batch][frames][N][all_pitch], or null
  };

  // A panel of the tile that is multiplied: where it begins in a sample of x, and how many channels there are from its
  // first one on; none, where the tile reaches beyond the last panel.
  struct alignas(16) PanelPlace {
    int64_t offset;
    int channel, channels;
  };

  // Pieces of shared memory.
  static STRF_SHARED int chunk_blocks(int positions) {
    const int blocks = (positions + Type::kBlock - 1) / Type::kBlock, most = kChunk / Type::kBlock;
    return blocks < most ? blocks : most;
  }
  // An even number of blocks: in odd rows neighbouring blocks are swapped, so that the two rows of 64 bytes that are
  // read at once lie in different banks.
  static STRF_SHARED int strip_pitch(int positions) { return (chunk_blocks(positions) + 1) / 2 * 2 * Type::kBlock; }
  static STRF_SHARED int tile_panels(int strip, int held) { return kWarps / (strip / kRows) * held; }
  static STRF_SHARED int64_t strip_bytes(int strip, int positions) {
    return int64_t(strip) * strip_pitch(positions) * sizeof(Storage);
  }
  // Two stages; as much as all warps need to turn their results round.
  static STRF_SHARED int stages_bytes(int strip, int held) {
    const int both = 2 * tile_panels(strip, held), turning = kWarps;
    return (both > turning ? both : turning) * kPanelBytes;
  }
  static int64_t shared_bytes(int strip, int held, int positions) {
    return strip_bytes(strip, positions) + stages_bytes(strip, held) + tile_panels(strip, held) * sizeof(PanelPlace);
  }
  // Here rather than in every thread: parameters cost no registers.
  static void derive(Params& params) {
    const Shape& shape = params.shape;
    params.strips = (shape.positions + params.strip - 1) / params.strip;
    params.row_shift = params.strip == 128 ? 2 : params.strip == 64 ? 1 : 0;  // log2 of the warps over a strip
    params.pitch = strip_pitch(shape.positions);
    params.frame_panels = (shape.channels + kPanel - 1) / kPanel;
    params.panels = shape.frames * params.frame_panels;
    params.tile_panels = tile_panels(params.strip, params.held);
    params.stages_bytes = stages_bytes(params.strip, params.held);
  }

  static STRF_DEVICE void run(const Params& params) { Block(params).run(); }

 private:
  // Of the logits or the mask, what a warp holds: its blocks of i, each for kBuiltRows positions.
  using Mask = Logits<Type>[Tiles::kBuilt][kGroups];
  using Accumulators = Wide[Tiles::kHeld][2][kChannelTiles][4];

  struct Block {
    const Params& params;
    const Shape& shape;
    int sample;
    int first;       // position of the strip
    Storage* strip;  // [params.strip][params.pitch]
    uint8_t* stages;  // two of params.tile_panels panels each
    PanelPlace* places;

    STRF_DEVICE explicit Block(const Params& params) : params(params), shape(params.shape) {
      sample = static_cast<int>(block_index() / params.strips);
      first = static_cast<int>(block_index() % params.strips) * params.strip;
      uint8_t* shared = shared_memory();
      strip = reinterpret_cast<Storage*>(shared);
      stages = shared + params.strip * params.pitch * sizeof(Storage);
      places = reinterpret_cast<PanelPlace*>(stages + params.stages_bytes);
    }

    STRF_DEVICE void run() {
      const int chunk = chunk_blocks(shape.positions) * Type::kBlock;
      if constexpr (kWhole) build(0, chunk);
#pragma unroll 1
      for (int tile = 0; tile < params.panels; tile += params.tile_panels) {
        look_up_panels(tile);
        Accumulators acc = {};
        for (int i = 0; i < shape.positions; i += chunk) {
          if (!kWhole && (tile == 0 || chunk < shape.positions)) {
            sync_threads();  // the strip is no longer read
            build(i, chunk);
          }
          contract(tile, i, smaller(chunk, shape.positions - i), acc);
        }
        store(tile, acc);
      }
    }

    // ---- The strip of the mask ----

    STRF_DEVICE Storage* strip_piece(int row, int block, int t) const {
      return strip + row * params.pitch + (block ^ (row & 1)) * Type::kBlock + t * Type::kPiece;
    }

    // With the accumulators in registers, there is no room for what could be computed before the loops.
    STRF_DEVICE int building_lane() const { return kWhole ? lane_index() : opaque(lane_index()); }

    STRF_DEVICE void build(int chunk_first, int chunk) {
#pragma unroll 1
      for (int row = 0; row < params.strip; row += kBuiltRows) {
        Mask mask = {};
#pragma unroll 1
        for (int path = 0; path < shape.paths; ++path) add_mask(path, first + row, chunk_first, chunk, mask);
        const int lane = building_lane(), group = lane / 4, t = lane % 4;
#pragma unroll
        for (int b = 0; b < Tiles::kBuilt; ++b) {
          const int block = (b * kWarps + warp_index()) * Type::kBlock;
          if (block >= chunk) break;
#pragma unroll
          for (int m = 0; m < kGroups; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              Wide values[Type::kPiece];
#pragma unroll
              for (int v = 0; v < Type::kPiece; ++v) values[v] = mask[b][m][v / 2][2 * half + v % 2];
              *reinterpret_cast<Piece*>(strip_piece(row + 16 * m + 8 * half + group, block / Type::kBlock, t)) =
                  Type::pack(values);
            }
        }
      }
    }

    // mask += P of one path, for kBuiltRows positions from `row` on.
    STRF_DEVICE void add_mask(int path, int row, int chunk_first, int chunk,
                              Mask& mask) {
      const int64_t path_index = int64_t(kWhole ? sample : opaque(sample)) * shape.paths + path;
      const Storage* pooled = params.pooled + path_index * shape.pooled_size();
      const int lane = building_lane();
      Mask s = {};
#pragma unroll
      for (int b = 0; b < Tiles::kBuilt; ++b) {
        const int block = (b * kWarps + warp_index()) * Type::kBlock, i = chunk_first + block;
        if (block >= chunk) break;
        // Rows and columns beyond N are zeros up to padded_positions; a strip may reach beyond that.
        if (i < shape.padded_positions && row < shape.padded_positions)
          add_logits<Type, kGroups>(shape, shape.split[path], pooled + int64_t(row) * shape.position_pitch,
                              pooled + int64_t(i) * shape.position_pitch, s[b], lane);
#pragma unroll
        for (int m = 0; m < kGroups; ++m) scale_logits<Type>(shape, shape.positions - i, s[b][m]);
      }
      if (kWhole && params.statistics == kOwn)
        add_with_own_statistics(path_index, row, chunk, s, mask);
      else if (params.statistics == kOfColumn)
        add_with_column_statistics(path_index, chunk_first, chunk, s, mask);
      else
        add_with_row_statistics(path_index, row, s, mask);
    }

    STRF_DEVICE void add_with_own_statistics(int64_t path_index, int row, int chunk,
                                             Mask& s,
                                             Mask& mask) {
      const int lane = lane_index(), group = lane / 4, t = lane % 4, warp = warp_index();
      Wide* exchanged_max = reinterpret_cast<Wide*>(stages);  // [kWarps][kBuiltRows]
      Wide* exchanged_sum = exchanged_max + kWarps * kBuiltRows;
#pragma unroll
      for (int m = 0; m < kGroups; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Wide top = -Wide(INFINITY);
#pragma unroll
          for (int b = 0; b < Tiles::kBuilt; ++b) {
            if ((b * kWarps + warp) * Type::kBlock >= chunk) break;
#pragma unroll
            for (int u = 0; u < Type::kTiles; ++u)
              top = larger(top, larger(s[b][m][u][2 * half], s[b][m][u][2 * half + 1]));
          }
          top = larger(top, shuffle_xor(top, 1));
          top = larger(top, shuffle_xor(top, 2));
          if (t == 0) exchanged_max[warp * kBuiltRows + 16 * m + 8 * half + group] = top;
        }
      sync_threads();  // every warp's maxima are there; the sums of the path before are no longer read
      Wide maximum[kGroups][2];
#pragma unroll
      for (int m = 0; m < kGroups; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int place = 16 * m + 8 * half + group;
          Wide top = exchanged_max[place];
#pragma unroll
          for (int other = 1; other < kWarps; ++other) top = larger(top, exchanged_max[other * kBuiltRows + place]);
          maximum[m][half] = top;
          Wide sum = 0;
#pragma unroll
          for (int b = 0; b < Tiles::kBuilt; ++b) {
            if ((b * kWarps + warp) * Type::kBlock >= chunk) break;
#pragma unroll
            for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
              for (int v = 2 * half; v < 2 * half + 2; ++v) {
                s[b][m][u][v] = exp2_fast(s[b][m][u][v] - top);
                sum += s[b][m][u][v];
              }
          }
          sum += shuffle_xor(sum, 1);
          sum += shuffle_xor(sum, 2);
          if (t == 0) exchanged_sum[warp * kBuiltRows + place] = sum;
        }
      sync_threads();  // every warp's sums are there; the maxima are no longer read
#pragma unroll
      for (int m = 0; m < kGroups; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int place = 16 * m + 8 * half + group, j = row + place;
          Wide sum = 0;
#pragma unroll
          for (int other = 0; other < kWarps; ++other) sum += exchanged_sum[other * kBuiltRows + place];
          const Wide normalizer = Wide(1) / sum;
          if (warp == 0 && t == 0 && j < shape.positions) {
            params.maximum[path_index * shape.positions + j] = maximum[m][half];
            params.normalizer[path_index * shape.positions + j] = normalizer;
          }
#pragma unroll
          for (int b = 0; b < Tiles::kBuilt; ++b)
#pragma unroll
            for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
              for (int v = 2 * half; v < 2 * half + 2; ++v) mask[b][m][u][v] += s[b][m][u][v] * normalizer;
        }
    }

    STRF_DEVICE void add_with_row_statistics(int64_t path_index, int row, const Mask& s,
                                             Mask& mask) const {
#pragma unroll
      for (int m = 0; m < kGroups; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int j = smaller(row + 16 * m + 8 * half + building_lane() / 4, shape.positions - 1);
          const Wide maximum = params.maximum[path_index * shape.positions + j];
          const Wide normalizer = params.normalizer[path_index * shape.positions + j];
#pragma unroll
          for (int b = 0; b < Tiles::kBuilt; ++b)
#pragma unroll
            for (int u = 0; u < Type::kTiles; ++u)
#pragma unroll
              for (int v = 2 * half; v < 2 * half + 2; ++v)
                mask[b][m][u][v] += exp2_fast(s[b][m][u][v] - maximum) * normalizer;
        }
    }

    STRF_DEVICE void add_with_column_statistics(int64_t path_index, int chunk_first, int chunk,
                                                const Mask& s,
                                                Mask& mask) const {
#pragma unroll
      for (int b = 0; b < Tiles::kBuilt; ++b) {
        const int block = (b * kWarps + warp_index()) * Type::kBlock, i = chunk_first + block;
        if (block >= chunk || i >= shape.padded_positions) break;
        const Wide* statistics = params.column_statistics + path_index * kStatistics * shape.padded_positions + i +
                                 building_lane() % 4 * Type::kPiece;
        Wide maximum[Type::kPiece], normalizer[Type::kPiece];
        load_wide<Type>(statistics + kMaximum * shape.padded_positions, maximum);
        load_wide<Type>(statistics + kNormalizer * shape.padded_positions, normalizer);
#pragma unroll
        for (int m = 0; m < kGroups; ++m)
#pragma unroll
          for (int v = 0; v < Type::kPiece; ++v)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const Wide logit = s[b][m][v / 2][2 * half + v % 2];
              mask[b][m][v / 2][2 * half + v % 2] +=
                  exp2_fast(logit - maximum[v]) * normalizer[v];
            }
      }
    }

    // ---- The multiplication ----

    // acc += strip X over `count` positions from `first_position` on, and after the last of them the further stretch.
    STRF_DEVICE void contract(int tile, int first_position, int count, Accumulators& acc) {
      const int blocks = (count + Type::kBlock - 1) / Type::kBlock;
      const bool last = first_position + count == shape.positions;
      const int further = last && params.reduced_grad ? shape.all_pitch / Type::kBlock : 0;
      const auto issue = [&](int block) {
        uint8_t* stage = stages + (block & 1) * params.tile_panels * kPanelBytes;
        if (block < blocks)
          copy_x(first_position + block * Type::kBlock, stage);
        else
          copy_weight((block - blocks) * Type::kBlock, stage);
        copy_commit();
      };
#pragma unroll 1
      for (int block = -1; block < blocks + further; ++block) {
        copy_wait<0>();
        sync_threads();  // the block's stage and the strip are there, and nobody reads the other stage any more
        if (block + 1 < blocks + further) issue(block + 1);
        if (block < 0) continue;
        const uint8_t* stage = stages + (block & 1) * params.tile_panels * kPanelBytes;
        if (block < blocks)
          multiply_strip(block, stage, acc);
        else
          multiply_further(tile, (block - blocks) * Type::kBlock, stage, acc);
      }
    }

    // One piece of each panel by each thread.
    STRF_DEVICE void copy_x(int position, uint8_t* stage) const {
      const int thread = opaque(thread_index());
      const Storage* x = params.x + opaque(sample) * shape.sample_size();
      if (shape.channels_last)
        copy_rows(x, shape.channels, position, shape.positions, params.x_width, &PanelPlace::offset, thread, stage);
      else {
        const int row = thread / 4, at = position + thread % 4 * Type::kPiece;
        const int valid = clamp(shape.positions - at);
        x += row * shape.channel_stride() + at;
#pragma unroll 1
        for (int panel = 0; panel < params.tile_panels; ++panel) {
          const PanelPlace place = places[panel];
          const bool real = row < place.channels && valid > 0;
          copy_piece<Type>(stage + panel * kPanelBytes + thread * kPieceBytes, real ? x + place.offset : params.x,
                           real ? valid : 0, params.x_width);
        }
      }
    }

    STRF_DEVICE void copy_weight(int row, uint8_t* stage) const {
      copy_rows(params.weight, shape.channels, row, shape.all_reduced, params.weight_width, &PanelPlace::channel,
                opaque(thread_index()), stage);
    }

    // Panels of a matrix whose rows are contracted and whose columns are channels.
    template <class Offset>
    STRF_DEVICE void copy_rows(const Storage* matrix, int pitch, int first_row, int rows, int width,
                               Offset PanelPlace::*offset, int thread, uint8_t* stage) const {
      constexpr int kRowPieces = kPanel / Type::kPiece;
      const int row = thread / kRowPieces, chunk = thread % kRowPieces;
      const int place_in_panel = (row * kRowPieces + (chunk ^ swizzle<Type>(row))) * kPieceBytes;
      const Storage* from = matrix + int64_t(first_row + row) * pitch + chunk * Type::kPiece;
      const bool row_is_real = first_row + row < rows;
#pragma unroll 1
      for (int panel = 0; panel < params.tile_panels; ++panel) {
        const PanelPlace place = places[panel];
        const int valid = row_is_real ? clamp(place.channels - chunk * Type::kPiece) : 0;
        copy_piece<Type>(stage + panel * kPanelBytes + place_in_panel, valid > 0 ? from + place.*offset : matrix, valid,
                         width);
      }
    }

    static STRF_DEVICE int clamp(int left) { return left < 0 ? 0 : smaller(left, Type::kPiece); }

    // Where the tile's panels lie in x, for all threads to look up. A barrier follows.
    STRF_DEVICE void look_up_panels(int tile) const {
      const int panel = thread_index();
      if (panel >= params.tile_panels) return;
      PanelPlace place{0, 0, 0};
      if (tile + panel < params.panels) {
        place.channel = (tile + panel) % params.frame_panels * kPanel;
        place.channels = shape.channels - place.channel;
        place.offset = shape.frame_offset((tile + panel) / params.frame_panels) +
                       place.channel * shape.channel_stride();
      }
      places[panel] = place;
    }

    STRF_DEVICE int warp_row(int warp) const { return (warp & ((1 << params.row_shift) - 1)) * kRows; }
    STRF_DEVICE int warp_panel(int warp, int held) const { return (warp >> params.row_shift) * params.held + held; }

    STRF_DEVICE void multiply_strip(int block, const uint8_t* stage, Accumulators& acc) const {
      const int group = lane_index() / 4, t = lane_index() % 4;
      const Storage* rows = strip_piece(warp_row(warp_index()) + group, block, t);
      Operand low[2], high[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        low[m] = Type::prepare(load_shared(rows + 16 * m * params.pitch), shape.exact);
        high[m] = Type::prepare(load_shared(rows + (16 * m + 8) * params.pitch), shape.exact);
      }
#pragma unroll
      for (int held = 0; held < Tiles::kHeld; ++held) {
        if (held >= params.held) break;
        multiply_panel(stage + warp_panel(warp_index(), held) * kPanelBytes, !shape.channels_last, low, high, acc[held]);
      }
    }

    STRF_DEVICE void multiply_further(int tile, int k, const uint8_t* stage,
                                      Accumulators& acc) const {
      const int lane = opaque(lane_index()), group = lane / 4, t = lane % 4;
#pragma unroll
      for (int held = 0; held < Tiles::kHeld; ++held) {
        if (held >= params.held) break;
        const int frame = smaller((tile + warp_panel(warp_index(), held)) / params.frame_panels, shape.frames - 1);
        const Storage* reduced = params.reduced_grad + (int64_t(sample) * shape.frames + frame) * shape.reduced_size() + k +
                                 t * Type::kPiece;
        const auto operand = [&](int row) {
          const int j = smaller(first + warp_row(warp_index()) + row + group, shape.positions - 1);
          return Type::prepare(load_global(reduced + int64_t(j) * shape.all_pitch), shape.exact);
        };
        const Operand low[2] = {operand(0), operand(16)}, high[2] = {operand(8), operand(24)};
        multiply_panel(stage + warp_panel(warp_index(), held) * kPanelBytes, false, low, high, acc[held]);
      }
    }

    STRF_DEVICE void multiply_panel(const uint8_t* panel, bool k_contiguous, const Operand (&low)[2],
                                    const Operand (&high)[2], Wide (&acc)[2][kChannelTiles][4]) const {
#pragma unroll
      for (int n = 0; n < kChannelTiles; ++n) {
        const Operand column = Type::prepare(tile_piece<Type>(panel, k_contiguous, 8 * n), shape.exact);
#pragma unroll
        for (int m = 0; m < 2; ++m) Type::multiply(acc[m][n], low[m], high[m], column, shape.exact);
      }
    }

    // ---- The result ----

    STRF_DEVICE void store(int tile, const Accumulators& acc) const {
      sync_threads();  // the stages are no longer read: each warp has 4 KB of them to turn its results round in
      const int warp = opaque(warp_index());
      uint8_t* memory = stages + warp * kPanelBytes;
#pragma unroll
      for (int held = 0; held < Tiles::kHeld; ++held) {
        const int panel = tile + warp_panel(warp, held);
        if (held >= params.held || panel >= params.panels) break;
        const int frame = panel / params.frame_panels, channel = panel % params.frame_panels * kPanel;
        Storage* y = params.y + opaque(sample) * shape.sample_size() + shape.frame_offset(frame);
        const int position = first + warp_row(warp);
        if (shape.channels_last)
          Turned<Type, true>{shape, memory, y, params.y_width}.store(position, channel, acc[held]);
        else
          Turned<Type, false>{shape, memory, y, params.y_width}.store(position, channel, acc[held]);
      }
    }
  };
};

}  // namespace strf

#endif
