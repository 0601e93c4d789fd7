// Y = X (P_1 + ... + P_P), and with other statistics dX = G (P_1 + ... + P_P)^T + W^T dR.
//
// A block makes a strip of output positions j for every channel and frame. It first builds the strip of the summed mask
// (strip.cuh), a chunk of i at a time; then it multiplies: each warp holds 32 positions by kHeld panels of 64 channels
// of a frame, and panels of X come through two stages. The strip serves all frames and channels. With all positions in
// one chunk it is built once; otherwise once for each tile, that is, group of panels that all warps hold together.
//
// In the backward pass W^T dR is a further stretch of the contraction: dR goes on where the strip ends, W where X does.
#ifndef STRF_MULTIPLY_CUH
#define STRF_MULTIPLY_CUH

#include "strip.cuh"
#include "turned.cuh"

namespace strf {

template <class Type, bool kInOneChunk>
struct Multiply {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;
  using Mask = Strip<Type, kInOneChunk ? kWhole : kChunks>;
  using SmallMask = Strip<Type, kSmall>;

  static constexpr int kWarps = Mask::kWarps;
  static constexpr int kThreads = kWarps * kWarp, kBlocks = 1;
  static constexpr int kRows = 32;                            // positions of a warp
  static constexpr int kHeld = sizeof(Storage) == 2 ? 2 : 1;  // panels of a warp, at most
  static constexpr int kChannelTiles = kPanel / 8;
  using Accumulators = Wide[kHeld][2][kChannelTiles][4];

  struct Params {
    StripParams<Type> mask;
    int held;                   // panels of a warp: 1 to kHeld
    const Storage *x, *weight;  // x or grad_y; weight [all_reduced][channels], for the backward pass alone
    Storage* y;
    int x_width, y_width, weight_width;  // bytes that an access may take
    const Storage* reduced_grad;         // dR [batch][frames][N][all_pitch], or null
    int strips, row_shift, frame_panels, panels, tile_panels, stages_bytes;  // what derive() makes of the others
  };

  // A panel of the tile that is multiplied: where it begins in a sample of x, and how many channels there are from its
  // first one on; none, where the tile reaches beyond the last panel.
  struct alignas(16) PanelPlace {
    int64_t offset;
    int channel, channels;
  };

  static int tile_panels(int width, int held) { return kWarps / (width / kRows) * held; }
  // Two stages; as much as all warps need to turn their results round.
  static int stages_bytes(int width, int held) {
    const int both = 2 * tile_panels(width, held), turning = kWarps;
    return (both > turning ? both : turning) * kPanelBytes;
  }
  static int64_t shared_bytes(int width, int held, int positions) {
    return int64_t(width) * Mask::pitch_of(positions) * sizeof(Storage) + stages_bytes(width, held) +
           tile_panels(width, held) * sizeof(PanelPlace);
  }

  // Here rather than in every thread: parameters cost no registers.
  static void derive(Params& params) {
    const Shape& shape = params.mask.shape;
    const int width = params.mask.width;
    params.mask.pitch = Mask::pitch_of(shape.positions);
    params.strips = (shape.positions + width - 1) / width;
    params.row_shift = width == 128 ? 2 : width == 64 ? 1 : 0;  // log2 of the warps over a strip
    params.frame_panels = (shape.channels + kPanel - 1) / kPanel;
    params.panels = shape.frames * params.frame_panels;
    params.tile_panels = tile_panels(width, params.held);
    params.stages_bytes = stages_bytes(width, params.held);
  }

  static STRF_DEVICE void run(const Params& params) { Block(params).run(); }

 private:
  struct Block {
    const Params& params;
    const Shape& shape;
    Mask mask;
    uint8_t* stages;  // two of params.tile_panels panels each
    PanelPlace* places;

    STRF_DEVICE explicit Block(const Params& params)
        : params(params),
          shape(params.mask.shape),
          mask{params.mask, static_cast<int>(block_index() / params.strips),
               static_cast<int>(block_index() % params.strips) * params.mask.width,
               reinterpret_cast<Storage*>(shared_memory()), nullptr} {
      stages = shared_memory() + params.mask.width * params.mask.pitch * sizeof(Storage);
      places = reinterpret_cast<PanelPlace*>(stages + params.stages_bytes);
      mask.exchange = reinterpret_cast<Wide*>(stages);  // which are empty while the only strip is built
    }

    STRF_DEVICE void run() {
      const int chunk = Mask::chunk_blocks(shape.positions) * Type::kBlock;
      if constexpr (kInOneChunk) {
        if (chunk > SmallMask::kChunk)
          mask.build(0, chunk);
        else
          SmallMask{mask.params, mask.sample, mask.first, mask.memory, mask.exchange}.build(0, chunk);
      }
#pragma unroll 1
      for (int tile = 0; tile < params.panels; tile += params.tile_panels) {
        look_up_panels(tile);
        Accumulators acc = {};
        for (int i = 0; i < shape.positions; i += chunk) {
          if (!kInOneChunk && (tile == 0 || chunk < shape.positions)) {
            sync_threads();  // the strip is no longer read
            mask.build(i, chunk);
          }
          contract(tile, i, smaller(chunk, shape.positions - i), acc);
        }
        store(tile, acc);
      }
    }

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

    STRF_DEVICE void copy_x(int position, uint8_t* stage) const {
      const Storage* x = params.x + opaque(mask.sample) * shape.sample_size();
      if (shape.channels_last)
        copy_rows(x, shape.channels, position, shape.positions, params.x_width, &PanelPlace::offset, stage);
      else
        copy_channels(x, position, stage);
    }

    STRF_DEVICE void copy_weight(int row, uint8_t* stage) const {
      copy_rows(params.weight, shape.channels, row, shape.all_reduced, params.weight_width, &PanelPlace::channel,
                stage);
    }

    // Each thread copies one piece of each panel. Panels whose positions are contiguous and contracted:
    STRF_DEVICE void copy_channels(const Storage* x, int position, uint8_t* stage) const {
      const int thread = opaque(thread_index());
      const int row = thread / 4, at = position + thread % 4 * Type::kPiece;
      const int valid = clamp(shape.positions - at);
      const Storage* from = valid > 0 ? x + row * shape.channel_stride() + at : x;
      copy_pieces(stage + (thread ^ swizzle_of_outer(row)) * kPieceBytes, params.x_width, [&](const PanelPlace& place) {
        return row < place.channels ? Span{from + place.offset, valid} : Span{x, 0};
      });
    }

    // Panels of a matrix whose rows are contracted and whose columns are channels:
    template <class Offset>
    STRF_DEVICE void copy_rows(const Storage* matrix, int pitch, int first_row, int rows, int width,
                               Offset PanelPlace::* offset, uint8_t* stage) const {
      constexpr int kRowPieces = kPanel / Type::kPiece;
      const int thread = opaque(thread_index()), row = thread / kRowPieces, chunk = thread % kRowPieces;
      // None of its channels is there, if the row is not.
      const int channel = first_row + row < rows ? chunk * Type::kPiece : kPanel << 20;
      const Storage* from = matrix + int64_t(first_row + row) * pitch + chunk * Type::kPiece;
      copy_pieces(stage + (row * kRowPieces + (chunk ^ swizzle_of_k<Type>(row))) * kPieceBytes, width,
                  [&](const PanelPlace& place) {
                    const int valid = clamp(place.channels - channel);
                    return valid > 0 ? Span{from + place.*offset, valid} : Span{matrix, 0};
                  });
    }

    // Elements in global memory.
    struct Span {
      const Storage* from;
      int count;
    };

    template <class Find>
    STRF_DEVICE void copy_pieces(uint8_t* to, int width, const Find& find) const {
      if (width == 16) {
#pragma unroll 2
        for (int panel = 0; panel < params.tile_panels; ++panel) {
          const Span span = find(places[panel]);
          copy_async<16>(to + panel * kPanelBytes, span.from, span.count * static_cast<int>(sizeof(Storage)));
        }
      } else {
#pragma unroll 1
        for (int panel = 0; panel < params.tile_panels; ++panel) {
          const Span span = find(places[panel]);
          copy_piece<Type>(to + panel * kPanelBytes, span.from, span.count, width);
        }
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
        place.offset =
            shape.frame_offset((tile + panel) / params.frame_panels) + place.channel * shape.channel_stride();
      }
      places[panel] = place;
    }

    STRF_DEVICE int warp_row(int warp) const { return (warp & ((1 << params.row_shift) - 1)) * kRows; }
    STRF_DEVICE int warp_panel(int warp, int held) const { return (warp >> params.row_shift) * params.held + held; }

    STRF_DEVICE void multiply_strip(int block, const uint8_t* stage, Accumulators& acc) const {
      const int row = warp_row(warp_index());
      const typename Type::Rows rows[2] = {mask.rows(row, block), mask.rows(row + 16, block)};
#pragma unroll
      for (int held = 0; held < kHeld; ++held) {
        if (held >= params.held) break;
        const uint8_t* panel = stage + warp_panel(warp_index(), held) * kPanelBytes;
        if (shape.channels_last)
          multiply_panel<false>(panel, rows, acc[held]);
        else
          multiply_panel<true>(panel, rows, acc[held]);
      }
    }

    STRF_DEVICE void multiply_further(int tile, int k, const uint8_t* stage, Accumulators& acc) const {
      const int lane = opaque(lane_index());
#pragma unroll
      for (int held = 0; held < kHeld; ++held) {
        if (held >= params.held) break;
        const int frame = smaller((tile + warp_panel(warp_index(), held)) / params.frame_panels, shape.frames - 1);
        const Storage* reduced =
            params.reduced_grad + (int64_t(mask.sample) * shape.frames + frame) * shape.reduced_size() + k;
        const auto row = [&](int at) {
          const int j = smaller(mask.first + warp_row(warp_index()) + at + lane / 4, shape.positions - 1);
          return row_in_panel_order<Type>(reduced + int64_t(j) * shape.all_pitch, lane % 4);
        };
        const typename Type::Rows rows[2] = {Type::rows(row(0), row(8), shape.exact),
                                             Type::rows(row(16), row(24), shape.exact)};
        multiply_panel<false>(stage + warp_panel(warp_index(), held) * kPanelBytes, rows, acc[held]);
      }
    }

    template <bool kContiguous>
    STRF_DEVICE void multiply_panel(const uint8_t* panel, const typename Type::Rows (&rows)[2],
                                    Wide (&acc)[2][kChannelTiles][4]) const {
#pragma unroll
      for (int n = 0; n < kChannelTiles; ++n) {
        const typename Type::Columns columns = PanelOperand<Type, kContiguous>::columns(panel, 8 * n, shape.exact);
#pragma unroll
        for (int m = 0; m < 2; ++m) Type::multiply(acc[m][n], rows[m], columns, shape.exact);
      }
    }

    // ---- The result ----

    STRF_DEVICE void store(int tile, const Accumulators& acc) const {
      sync_threads();  // the stages are no longer read: each warp has 4 KB of them to turn its results round in
      const int warp = opaque(warp_index());
      uint8_t* memory = stages + warp * kPanelBytes;
#pragma unroll
      for (int held = 0; held < kHeld; ++held) {
        const int panel = tile + warp_panel(warp, held);
        if (held >= params.held || panel >= params.panels) break;
        const int frame = panel / params.frame_panels, channel = panel % params.frame_panels * kPanel;
        Storage* y = params.y + opaque(mask.sample) * shape.sample_size() + shape.frame_offset(frame);
        const int position = mask.first + warp_row(warp);
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
