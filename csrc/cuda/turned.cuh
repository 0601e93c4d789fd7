// How a warp's results leave: 32 positions by 64 channels of a frame go through 4 KB of shared memory, as many
// positions at a time as fit, and come out as rows of positions or of channels, whichever are contiguous in y.
#ifndef STRF_TURNED_CUH
#define STRF_TURNED_CUH

#include "shape.cuh"

namespace strf {

template <class Type, bool kChannelsLast>
struct Turned {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  const Shape& shape;
  uint8_t* memory;
  Storage* y;  // the frame
  int width;   // bytes that an access may take

  static constexpr int kPositions = Type::kBlock;                      // at a time
  static constexpr int kLength = kChannelsLast ? kPanel : kPositions;  // of a row in the 4 KB
  static constexpr int kRowPieces = kLength / Type::kPiece;

  // acc[m][n]: positions 16 m and channels 8 n on from `position` and `channel`. The warp, together.
  STRF_DEVICE void store(int position, int channel, const Wide (&acc)[2][kPanel / 8][4]) const {
#pragma unroll
    for (int pass = 0; pass < 32 / kPositions; ++pass) {
      turn(pass, acc);
      sync_warp();
      copy_out(position + pass * kPositions, channel);
      sync_warp();
    }
  }

 private:
  // Pieces are swapped so that lanes that write a column meet different banks.
  STRF_DEVICE Storage* element(int row, int at) const {
    const int swap = (kChannelsLast ? row : row >> 1) % (kRowPieces < 8 ? kRowPieces : 8);
    return reinterpret_cast<Storage*>(memory + (row * kRowPieces + (at / Type::kPiece ^ swap)) * kPieceBytes) +
           at % Type::kPiece;
  }

  STRF_DEVICE void turn(int pass, const Wide (&acc)[2][kPanel / 8][4]) const {
    const int lane = opaque(lane_index()), group = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int position = 16 * m + 8 * half - pass * kPositions;
        if (position < 0 || position >= kPositions) continue;
#pragma unroll
        for (int n = 0; n < kPanel / 8; ++n) {
          const int channel = 8 * n + 2 * t;
          const Wide value = acc[m][n][2 * half], next = acc[m][n][2 * half + 1];
          if constexpr (kChannelsLast)
            Type::store_neighbours(element(position + group, channel), value, next);
          else
            Type::store(element(channel, position + group), element(channel + 1, position + group), value, next);
        }
      }
  }

  STRF_DEVICE void copy_out(int first_position, int first_channel) const {
#pragma unroll 2
    for (int index = opaque(lane_index()); index < kPanelBytes / kPieceBytes; index += kWarp) {
      const int row = index / kRowPieces, at = index % kRowPieces * Type::kPiece;
      const int position = first_position + (kChannelsLast ? row : at);
      const int channel = first_channel + (kChannelsLast ? at : row);
      if (position >= shape.positions || channel >= shape.channels) continue;
      store_piece<Type>(y + channel * shape.channel_stride() + position * shape.position_stride(), element(row, at),
                        kChannelsLast ? shape.channels - channel : shape.positions - position, width);
    }
  }
};

}  // namespace strf

#endif
