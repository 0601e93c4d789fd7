// T_k = pool_k(R_k) and its gradient: stride 1, same size, padding takes no part. For similarity cosine the reduced
// channels of a position and frame, t, are then divided by sqrt(|t|^2 + 1e-6): T_k is sqrt(frames) U_k of strf.h.
#ifndef STRF_POOL_CUH
#define STRF_POOL_CUH

#include "shape.cuh"

namespace strf {

// A path's pool, cut to the map: a window of more than twice the map reaches no further.
struct Pool {
  int frames, height, width;  // to each side of an element
  bool average;
};

constexpr double kEpsilon = 1e-6;  // of the squared length of a position

// Positions around one, first and end in each dimension.
struct Box {
  int t0, t1, h0, h1, w0, w1;

  static STRF_DEVICE Box around(const Shape& shape, const Pool& pool, int frame, int position) {
    const int h = position / shape.width, w = position % shape.width;
    const auto first = [](int at, int reach) { return at - reach < 0 ? 0 : at - reach; };
    return {first(frame, pool.frames), smaller(frame + pool.frames + 1, shape.frames),
            first(h, pool.height),     smaller(h + pool.height + 1, shape.height),
            first(w, pool.width),      smaller(w + pool.width + 1, shape.width)};
  }
  STRF_DEVICE int count() const { return (t1 - t0) * (h1 - h0) * (w1 - w0); }

  // visit(frame, position) in (t, h, w) order.
  template <class Visit>
  STRF_DEVICE void for_each(const Shape& shape, const Visit& visit) const {
    for (int t = t0; t < t1; ++t)
      for (int h = h0; h < h1; ++h)
        for (int w = w0; w < w1; ++w) visit(t, h * shape.width + w);
  }
};

// One channel of one sample's R: frame * N + position finds an element.
template <class Type>
struct Channel {
  const typename Type::Storage* first;
  int pitch;

  STRF_DEVICE typename Type::Wide at(int place) const { return Type::load(first + int64_t(place) * pitch); }

  STRF_DEVICE typename Type::Wide average(const Shape& shape, const Box& box) const {
    typename Type::Wide sum = 0;
    box.for_each(shape, [&](int t, int n) { sum += at(t * shape.positions + n); });
    return sum / box.count();
  }
};

template <class Type>
STRF_DEVICE Channel<Type> channel_of(const Shape& shape, const typename Type::Storage* reduced, int64_t path_index,
                                     int row) {
  const int channel = static_cast<int>(path_index % shape.paths) * shape.reduced + row % shape.reduced;
  return {reduced + path_index / shape.paths * shape.frames * shape.reduced_size() + channel, shape.all_pitch};
}

// A block pools 64 positions by one block of T_k's rows, and writes them in both orders.
template <class Type>
struct PoolForward {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 256, kBlocks = 2;
  static constexpr int kTilePitch = Type::kBlock + 1;
  static constexpr int kSharedBytes = kPanel * kTilePitch * sizeof(Wide);

  struct Params {
    Shape shape;
    Pool pools[STRF_MAX_PATHS];
    const Storage* reduced;  // R [batch][frames][N][all_pitch]
    Storage* pooled;         // T [batch][paths][padded_positions][position_pitch]; 0 from N on and from E on
    Storage* transposed;     // [batch][paths][wide_rows][padded_positions], or null
    int32_t* largest;        // [batch][paths][N][wide_rows]: of maxima, frame * N + position; or null
  };

  static STRF_SHARED int row_blocks(const Shape& shape) {
    return shape.wide_rows > shape.row_pitch ? shape.wide_rows / Type::kBlock : shape.row_pitch / Type::kBlock;
  }
  static int64_t blocks(const Shape& shape, int64_t batch) {
    return batch * shape.paths * (shape.padded_positions / kPanel) * row_blocks(shape);
  }

  static STRF_DEVICE void run(const Params& params) {
    const Shape& shape = params.shape;
    const int row_blocks_ = row_blocks(shape), strips = shape.padded_positions / kPanel;
    const int row = static_cast<int>(block_index() % row_blocks_) * Type::kBlock;
    const int position = static_cast<int>(block_index() / row_blocks_ % strips) * kPanel;
    const int64_t path_index = block_index() / row_blocks_ / strips;
    Wide* tile = reinterpret_cast<Wide*>(shared_memory());  // [64][kTilePitch]
    for (int index = thread_index(); index < kPanel * Type::kBlock; index += kThreads) {
      const int i = index / Type::kBlock, e = index % Type::kBlock;
      tile[i * kTilePitch + e] = pooled(params, path_index, position + i, row + e, params.largest);
    }
    if (shape.cosine) {
      sync_threads();
      divide_by_lengths(params, path_index, position, row, tile);
    }
    sync_threads();
    store(params, path_index, position, row, tile);
  }

 private:
  // Notes where a maximum was, unless `largest` is null.
  static STRF_DEVICE Wide pooled(const Params& params, int64_t path_index, int position, int row, int32_t* largest) {
    const Shape& shape = params.shape;
    if (position >= shape.positions || row >= shape.rows) return 0;
    const Pool& pool = params.pools[path_index % shape.paths];
    const Channel<Type> channel = channel_of<Type>(shape, params.reduced, path_index, row);
    const Box box = Box::around(shape, pool, row / shape.reduced, position);
    if (pool.average) return channel.average(shape, box);
    Wide best = -Wide(INFINITY);
    int where = box.t0 * shape.positions + box.h0 * shape.width + box.w0;
    box.for_each(shape, [&](int t, int n) {
      const Wide value = channel.at(t * shape.positions + n);
      if (value > best || value != value) {
        best = value;
        where = t * shape.positions + n;
      }
    });
    if (largest) largest[path_index * shape.gradient_size() + int64_t(position) * shape.wide_rows + row] = where;
    return best;
  }

  // A length takes all reduced channels of its frame; those that are rows of other tiles are pooled here once more.
  static STRF_DEVICE void divide_by_lengths(const Params& params, int64_t path_index, int position, int row,
                                            Wide* tile) {
    const Shape& shape = params.shape;
    const int end = smaller(row + Type::kBlock, shape.rows), first_frame = row / shape.reduced;
    const int frames = end > row ? (end - 1) / shape.reduced + 1 - first_frame : 0;
    for (int index = thread_index(); index < kPanel * frames; index += kThreads) {
      const int i = index % kPanel, first = (first_frame + index / kPanel) * shape.reduced;
      Wide square = kEpsilon;
      for (int e = first; e < first + shape.reduced; ++e) {
        const bool here = e >= row && e < end;
        const Wide value = here ? tile[i * kTilePitch + e - row]
                                : pooled(params, path_index, position + i, e, nullptr);
        square += value * value;
      }
      const Wide factor = Wide(1) / square_root(square);
      for (int e = first < row ? row : first; e < smaller(first + shape.reduced, end); ++e)
        tile[i * kTilePitch + e - row] *= factor;
    }
  }

  static STRF_DEVICE void store(const Params& params, int64_t path_index, int position, int row, const Wide* tile) {
    const Shape& shape = params.shape;
    const bool split = shape.split[path_index % shape.paths];
    constexpr int kRowPieces = Type::kBlock / Type::kPiece, kPositionPieces = kPanel / Type::kPiece;
    Storage* pooled = params.pooled + path_index * shape.pooled_size();
    for (int index = thread_index(); row < shape.row_pitch && index < kPanel * kRowPieces; index += kThreads) {
      const int i = index / kRowPieces, e = index % kRowPieces * Type::kPiece;
      Wide values[Type::kPiece];
#pragma unroll
      for (int v = 0; v < Type::kPiece; ++v) values[v] = tile[i * kTilePitch + e + v];
      Storage* to = pooled + int64_t(position + i) * shape.position_pitch + row + e;
      *reinterpret_cast<Piece*>(to) = Type::pack(values);
      if constexpr (sizeof(Storage) == 2)
        if (split) *reinterpret_cast<Piece*>(to + shape.row_pitch) = Type::rest_of(values);
    }
    if (!params.transposed || row >= shape.wide_rows) return;
    Storage* transposed = params.transposed + path_index * shape.transposed_size();
    for (int index = thread_index(); index < Type::kBlock * kPositionPieces; index += kThreads) {
      const int e = index / kPositionPieces, i = index % kPositionPieces * Type::kPiece;
      Wide values[Type::kPiece];
#pragma unroll
      for (int v = 0; v < Type::kPiece; ++v) values[v] = tile[(i + v) * kTilePitch + e];
      Storage* to = transposed + int64_t(row + e) * shape.padded_positions + position + i;
      *reinterpret_cast<Piece*>(to) = Type::pack(values);
      if constexpr (sizeof(Storage) == 2)
        if (split) *reinterpret_cast<Piece*>(to + shape.transposed_part()) = Type::rest_of(values);
    }
  }
};

// From dV, V being T_k divided by its lengths, to dT_k, in place: dt = (dv - v (v . dv)) / sqrt(|t|^2 + 1e-6). A thread
// does one position of one frame. V is rounded, and nearly all of dv may lie along it, so t comes from R once more.
template <class Type>
struct LengthBackward {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 256, kBlocks = 3;

  struct Params {
    Shape shape;
    Pool pools[STRF_MAX_PATHS];
    const Storage* reduced;  // R [batch][frames][N][all_pitch]
    const int32_t* largest;  // as PoolForward wrote it
    Wide* gradient;          // dV, then dT [batch][paths][N][wide_rows]
    int64_t vectors;         // batch * paths * N * frames
  };

  static int64_t blocks(const Params& params) { return (params.vectors + kThreads - 1) / kThreads; }

  static STRF_DEVICE void run(const Params& params) {
    const Shape& shape = params.shape;
    const int64_t index = block_index() * kThreads + thread_index();
    if (index >= params.vectors) return;
    const int frame = static_cast<int>(index % shape.frames);
    const int64_t place = index / shape.frames, path_index = place / shape.positions;
    const Pool& pool = params.pools[path_index % shape.paths];
    const Box box = Box::around(shape, pool, frame, static_cast<int>(place % shape.positions));
    const int64_t first = place * shape.wide_rows + frame * shape.reduced;
    const auto pooled = [&](int row) {
      const Channel<Type> channel = channel_of<Type>(shape, params.reduced, path_index, row);
      return pool.average ? channel.average(shape, box) : channel.at(params.largest[first + row]);
    };
    Wide square = kEpsilon, along = 0;
    for (int row = 0; row < shape.reduced; ++row) {
      const Wide value = pooled(row);
      square += value * value;
      along += value * params.gradient[first + row];
    }
    along /= square;
    const Wide factor = Wide(1) / square_root(square);
    for (int row = 0; row < shape.reduced; ++row)
      params.gradient[first + row] = (params.gradient[first + row] - pooled(row) * along) * factor;
  }
};

// dR: every element of R collects what the windows that hold it hand back.
template <class Type>
struct PoolBackward {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 256, kBlocks = 4;

  struct Params {
    Shape shape;
    Pool pools[STRF_MAX_PATHS];
    const Wide* gradient;    // dT [batch][paths][N][wide_rows]
    const int32_t* largest;  // as PoolForward wrote it
    Storage* reduced;        // dR [batch][frames][N][all_pitch], 0 from all_reduced on
    int64_t elements;        // of reduced
  };

  static int64_t blocks(const Params& params) { return (params.elements + kThreads - 1) / kThreads; }

  static STRF_DEVICE void run(const Params& params) {
    const Shape& shape = params.shape;
    const int64_t index = block_index() * kThreads + thread_index();
    if (index >= params.elements) return;
    const int channel = static_cast<int>(index % shape.all_pitch);
    const int64_t place = index / shape.all_pitch;  // (sample * frames + frame) * N + position
    Wide sum = 0;
    if (channel < shape.all_reduced) {
      const int position = static_cast<int>(place % shape.positions);
      const int64_t frame_index = place / shape.positions;
      const int frame = static_cast<int>(frame_index % shape.frames);
      const int path = channel / shape.reduced, row = channel % shape.reduced;
      const int64_t path_offset = (frame_index / shape.frames * shape.paths + path) * shape.gradient_size() + row;
      const Pool& pool = params.pools[path];
      // Windows are symmetric: those that hold this element are centred where its own window reaches.
      Box::around(shape, pool, frame, position).for_each(shape, [&](int t, int n) {
        const int64_t at = path_offset + int64_t(n) * shape.wide_rows + t * shape.reduced;
        if (pool.average)
          sum += params.gradient[at] / Box::around(shape, pool, t, n).count();
        else if (params.largest[at] == frame * shape.positions + position)
          sum += params.gradient[at];
      });
    }
    Type::store(params.reduced + index, sum);
  }
};

// The weights' gradient: adds the parts that products of different segments made.
template <class Type>
struct Sum {
  using Storage = typename Type::Storage;
  using Wide = typename Type::Wide;

  static constexpr int kThreads = 256, kBlocks = 4;

  struct Params {
    const Wide* parts;  // [count][size]
    int64_t count, size;
    Storage* result;  // [size]
  };

  static int64_t blocks(const Params& params) { return (params.size + kThreads - 1) / kThreads; }

  static STRF_DEVICE void run(const Params& params) {
    const int64_t index = block_index() * kThreads + thread_index();
    if (index >= params.size) return;
    Wide sum = 0;
    for (int64_t part = 0; part < params.count; ++part) sum += params.parts[part * params.size + index];
    Type::store(params.result + index, sum);
  }
};

}  // namespace strf

#endif
