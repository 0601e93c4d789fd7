// The sizes of a problem and of the arrays in the workspace, as the kernels see them.
#ifndef STRF_SHAPE_CUH
#define STRF_SHAPE_CUH

#include "../strf.h"
#include "panel.cuh"

namespace strf {

// One sample's sizes; every product of them that is an index within a sample is below 2^31.
struct Shape {
  int channels, frames, height, width;
  int reduced, paths;
  int positions;         // N
  int padded_positions;  // to a multiple of 64: rows or columns of the workspace's arrays
  int rows;              // E, of T_k; row t * reduced + r
  int row_pitch;         // E padded to a block: one position of T_k
  int wide_rows;         // E padded to a multiple of 32: one position of T_k's gradient, and rows of T_k transposed
  int all_reduced;       // paths * reduced, one position of R
  int all_pitch;         // that padded to a block
  bool split[STRF_MAX_PATHS];  // averages and quotients, that a half type would round: sums of two, each row_pitch long
  int position_pitch;          // row_pitch, or twice that where any path is split
  bool channels_last;
  bool exact;    // float32 products as good as float32's
  bool cosine;   // T_k's positions are divided by their lengths in every frame
  double scale;  // from products of T_k to logits in powers of two: temperature * log2(e), for cosines over `frames`
  bool bounded;  // whether every column's maximum is taken to be `bound`, which is subtracted at once; otherwise that
  double bound;  // is 0, and the maximum is searched

  // Elements from one path of T_k to the next, and of its transposed copy.
  STRF_SHARED int64_t pooled_size() const { return int64_t(padded_positions) * position_pitch; }
  STRF_SHARED int64_t transposed_part() const { return int64_t(wide_rows) * padded_positions; }
  STRF_SHARED int64_t transposed_size() const { return position_pitch / row_pitch * transposed_part(); }
  STRF_SHARED int64_t gradient_size() const { return int64_t(positions) * wide_rows; }
  STRF_SHARED int64_t reduced_size() const { return int64_t(positions) * all_pitch; }  // R of one frame
  STRF_SHARED int64_t sample_size() const { return int64_t(channels) * frames * positions; }
  STRF_SHARED int64_t frame_offset(int frame) const {
    return int64_t(frame) * positions * (channels_last ? channels : 1);
  }
  STRF_SHARED int64_t channel_stride() const { return channels_last ? 1 : int64_t(frames) * positions; }
  STRF_SHARED int64_t position_stride() const { return channels_last ? channels : 1; }
};

}  // namespace strf

#endif
