// C = A B for many pairs of matrices, with both operands' layout chosen at run time: the channel reduction R = W x, the
// masks' gradient X^T G and the weights' gradient dR x^T.
//
// A block computes a tile of kSide x kSide. Panels of A and B come through four stages of shared memory. The
// contraction runs over segments (frames of samples, mostly), and within each over k.
#ifndef STRF_PRODUCT_CUH
#define STRF_PRODUCT_CUH

#include "shape.cuh"

namespace strf {

// One operand in all segments: that of sample s and frame f begins s * sample_stride + f * frame_stride further on.
template <class Type>
struct Operands {
  Matrix<Type> first;
  int64_t sample_stride, frame_stride;
};

template <class Type>
struct ProductParams {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  Operands<Type> a, b;
  int rows, columns;  // of C that exist in A and B
  int k;              // contracted in a segment
  int64_t segments;   // in all
  int64_t products;   // C's; product p contracts segments p * segments / products to (p + 1) * ...
  int frames;         // segments of a sample
  bool exact;
  int padded_columns;   // of C: zeros are written from `columns` on; a multiple of a block
  int64_t result_size;  // elements from one C to the next
  Storage* result;      // C [rows][padded_columns], or null
  Storage* transposed;  // C^T [columns][padded_columns], or null: then C is square
  Wide* wide_result;    // C [rows][columns] without rounding, or null
};

template <class Type, int kSide>
struct Product {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;
  using Params = ProductParams<Type>;

  static constexpr int kWarpsAcross = kSide / 32;  // a warp computes kSide / 2 rows by 32 columns
  static constexpr int kThreads = 2 * kWarpsAcross * kWarp, kBlocks = kSide == 128 ? 1 : 2;
  static constexpr int kGroups = kSide / 32;  // of 16 rows
  static constexpr int kStages = 4;
  static constexpr int kPanels = kSide / kPanel;  // of each operand in a stage
  static constexpr int kStageBytes = 2 * kPanels * kPanelBytes;
  static constexpr int kTilePitch = kSide + 2 * Type::kPiece;  // of the result in shared memory
  static constexpr int kTileBytes = kSide * kTilePitch * sizeof(Storage);
  static constexpr int kSharedBytes = kStages * kStageBytes > kTileBytes ? kStages * kStageBytes : kTileBytes;

  static int64_t tiles(int64_t rows, int64_t columns) {
    return ((rows + kSide - 1) / kSide) * ((columns + kSide - 1) / kSide);
  }
  static int64_t blocks(const Params& params) { return params.products * tiles(params.rows, params.padded_columns); }

  static STRF_DEVICE void run(const Params& params) {
    const int across = (params.padded_columns + kSide - 1) / kSide, down = (params.rows + kSide - 1) / kSide;
    const int64_t product = block_index() / (across * down);
    const int tile = static_cast<int>(block_index() % (across * down));
    const int row = tile / across * kSide, column = tile % across * kSide;
    uint8_t* shared = shared_memory();

    Wide acc[kGroups][4][4] = {};
    contract(params, product, row, column, shared, acc);
    if (params.wide_result)
      store_wide(params, product, row, column, acc);
    else
      store(params, product, row, column, reinterpret_cast<Storage*>(shared), acc);
  }

 private:
  static STRF_DEVICE int warp_row() { return warp_index() / kWarpsAcross * (kSide / 2); }
  static STRF_DEVICE int warp_column() { return warp_index() % kWarpsAcross * 32; }

  // A place in the contraction. Divisions are done once, and then it is moved on step by step.
  struct Place {
    int k, frame;
    int64_t sample;

    STRF_DEVICE Place(const Params& params, int64_t segment)
        : k(0), frame(static_cast<int>(segment % params.frames)), sample(segment / params.frames) {}

    STRF_DEVICE void advance(const Params& params) {
      k += Type::kBlock;
      if (k < params.k) return;
      k = 0;
      if (++frame < params.frames) return;
      frame = 0;
      ++sample;
    }
  };

  // What a thread copies of an operand: piece number `thread` of each panel, and of small tiles another one further on.
  struct Copies {
    static constexpr int kEach = kPanelBytes / kPieceBytes / kThreads;

    const Operands<Type>& operand;
    int outer[kEach], k[kEach];  // of the pieces in the first panel, counted from the tile and the block of k
    int to[kEach];               // where they go in a panel
    int outer_count;             // from the tile on

    STRF_DEVICE Copies(const Operands<Type>& operand, int first_outer, int outer_count_)
        : operand(operand), outer_count(outer_count_ - first_outer) {
      constexpr int kRowPieces = kPanel / Type::kPiece;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int index = thread_index() + i * kThreads, row = index / kRowPieces, chunk = index % kRowPieces;
        outer[i] = operand.first.k_contiguous ? index / 4 : chunk * Type::kPiece;
        k[i] = operand.first.k_contiguous ? index % 4 * Type::kPiece : row;
        to[i] = operand.first.k_contiguous ? index ^ swizzle_of_outer(index / 4)
                                           : row * kRowPieces + (chunk ^ swizzle_of_k<Type>(row));
      }
    }

    STRF_DEVICE void copy(const Params& params, const Place& place, int first_outer, uint8_t* stage) const {
      const Matrix<Type>& matrix = operand.first;
      const auto* base = matrix.base + place.sample * operand.sample_stride + place.frame * operand.frame_stride;
      const int64_t outer_stride = matrix.k_contiguous ? matrix.stride : 1;
      const int64_t k_stride = matrix.k_contiguous ? 1 : matrix.stride;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const auto* from = base + (first_outer + outer[i]) * outer_stride + (place.k + k[i]) * k_stride;
        const int k_left = params.k - place.k - k[i];
#pragma unroll
        for (int panel = 0; panel < kPanels; ++panel) {
          const int outer_left = outer_count - outer[i] - panel * kPanel;
          const int left = matrix.k_contiguous ? k_left : outer_left, other = matrix.k_contiguous ? outer_left : k_left;
          const int valid = other > 0 && left > 0 ? smaller(left, Type::kPiece) : 0;
          copy_piece<Type>(stage + panel * kPanelBytes + to[i] * kPieceBytes,
                           valid > 0 ? from + panel * kPanel * outer_stride : matrix.base, valid, matrix.width);
        }
      }
    }
  };

  static STRF_DEVICE void contract(const Params& params, int64_t product, int row, int column, uint8_t* shared,
                                   Wide (&acc)[kGroups][4][4]) {
    const int64_t begin = product * params.segments / params.products;
    const int64_t end = (product + 1) * params.segments / params.products;
    const int steps = static_cast<int>(end - begin) * ((params.k + Type::kBlock - 1) / Type::kBlock);
    const Copies a(params.a, row, params.rows), b(params.b, column, params.columns);
    Place place(params, begin);
    int filled = 0, read = 0;  // the stages that are filled and read next
#pragma unroll 1
    for (int step = 1 - kStages; step < steps; ++step) {
      if (step >= 0) {
        copy_wait<kStages - 2>();
        sync_threads();  // the step's stage is there, and the stage before it is no longer read
      }
      if (step + kStages - 1 < steps) {
        uint8_t* stage = shared + filled * kStageBytes;
        a.copy(params, place, row, stage);
        b.copy(params, place, column, stage + kPanels * kPanelBytes);
        place.advance(params);
        filled = filled + 1 < kStages ? filled + 1 : 0;
      }
      copy_commit();
      if (step < 0) continue;
      multiply_stage(params, shared + read * kStageBytes, acc);
      read = read + 1 < kStages ? read + 1 : 0;
    }
    sync_threads();  // the stages are free
  }

  static STRF_DEVICE void multiply_stage(const Params& params, const uint8_t* stage, Wide (&acc)[kGroups][4][4]) {
    const bool a = params.a.first.k_contiguous, b = params.b.first.k_contiguous;
    if (a && b)
      multiply_panels<true, true>(params, stage, acc);
    else if (a)
      multiply_panels<true, false>(params, stage, acc);
    else if (b)
      multiply_panels<false, true>(params, stage, acc);
    else
      multiply_panels<false, false>(params, stage, acc);
  }

  template <bool kAContiguous, bool kBContiguous>
  static STRF_DEVICE void multiply_panels(const Params& params, const uint8_t* stage, Wide (&acc)[kGroups][4][4]) {
    typename Type::Rows rows[kGroups];
#pragma unroll
    for (int m = 0; m < kGroups; ++m) {
      const int row = warp_row() + 16 * m;
      rows[m] = PanelOperand<Type, kAContiguous>::rows(stage + row / kPanel * kPanelBytes, row % kPanel, params.exact);
    }
    const uint8_t* panel = stage + (kPanels + warp_column() / kPanel) * kPanelBytes;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const typename Type::Columns columns =
          PanelOperand<Type, kBContiguous>::columns(panel, warp_column() % kPanel + 8 * n, params.exact);
#pragma unroll
      for (int m = 0; m < kGroups; ++m) Type::multiply(acc[m][n], rows[m], columns, params.exact);
    }
  }

  // visit(row, column, first value, second value) for every pair of neighbours that the lane holds of the tile.
  template <class Visit>
  static STRF_DEVICE void for_pairs(const Wide (&acc)[kGroups][4][4], const Visit& visit) {
    const int group = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int m = 0; m < kGroups; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          visit(warp_row() + 16 * m + 8 * half + group, warp_column() + 8 * n + 2 * t, acc[m][n][2 * half],
                acc[m][n][2 * half + 1]);
  }

  static STRF_DEVICE void store_wide(const Params& params, int64_t product, int row, int column,
                                     const Wide (&acc)[kGroups][4][4]) {
    Wide* result = params.wide_result + product * params.result_size;
    for_pairs(acc, [&](int i, int j, Wide first, Wide second) {
      if (row + i >= params.rows) return;
      Wide* to = result + int64_t(row + i) * params.columns + column + j;
      if (column + j < params.columns) to[0] = first;
      if (column + j + 1 < params.columns) to[1] = second;
    });
  }

  // Through shared memory, so that rows of C and of C^T leave in pieces.
  static STRF_DEVICE void store(const Params& params, int64_t product, int row, int column, Storage* tile,
                                const Wide (&acc)[kGroups][4][4]) {
    for_pairs(acc, [&](int i, int j, Wide first, Wide second) {
      Type::store_neighbours(tile + i * kTilePitch + j, first, second);
    });
    sync_threads();
    constexpr int kRowPieces = kSide / Type::kPiece;
    for (int index = thread_index(); index < kSide * kRowPieces; index += kThreads) {
      const int along = index / kRowPieces, at = index % kRowPieces * Type::kPiece;
      if (row + along < params.rows && column + at < params.padded_columns)
        *reinterpret_cast<Piece*>(params.result + product * params.result_size +
                                  int64_t(row + along) * params.padded_columns + column + at) =
            load_shared(tile + along * kTilePitch + at);
      if (params.transposed && column + along < params.columns && row + at < params.padded_columns) {
        Wide values[Type::kPiece];
#pragma unroll
        for (int i = 0; i < Type::kPiece; ++i) values[i] = Type::load(tile + (at + i) * kTilePitch + along);
        *reinterpret_cast<Piece*>(params.transposed + product * params.result_size +
                                  int64_t(column + along) * params.padded_columns + row + at) = Type::pack(values);
      }
    }
  }
};

}  // namespace strf

#endif
