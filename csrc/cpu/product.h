// Matrix products C = A B, or C += A B, for operands of any strides.
//
// One register tile holds kTileRows x kPanel sums: a row of B's panel is loaded, each element of A broadcast. B is read
// as panels [depth][kPanel], which are packed here unless the caller has written them so; A is read where it lies.
// Sums of kSum products are added up in order, so a result depends on its operands alone, and its rounding error grows
// with the root of kSum and of their number, not with the root of the whole depth.
#ifndef STRF_CPU_PRODUCT_H
#define STRF_CPU_PRODUCT_H

#include "level.h"
#include "plan.h"
#include "transpose.h"

namespace {

// A matrix somewhere in memory: element (row, column) is at data[row * row_stride + column * column_stride].
template <class T>
struct Matrix {
  const T* data;
  int64_t row_stride, column_stride;

  Matrix at(int64_t row, int64_t column) const {
    return {data + row * row_stride + column * column_stride, row_stride, column_stride};
  }
};

constexpr int64_t kSum = 128;

// C (+)= A times `depth` <= kSum rows of a panel.
template <class T, int kRows>
inline void tile(int64_t depth, Matrix<T> a, const T* panel, T* c, int64_t c_stride, bool add) {
  Vec<T> sums[kRows][kTileVectors];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) sums[row][v] = Vec<T>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> b[kTileVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) b[v] = load(panel + k * kPanel<T> + v * kLanes<T>);
    const T* column = a.data + k * a.column_stride;
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const Vec<T> element = broadcast(column[row * a.row_stride]);
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) sums[row][v] += element * b[v];
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      T* at = c + row * c_stride + v * kLanes<T>;
      store(at, add ? load(at) + sums[row][v] : sums[row][v]);
    }
}

// The whole depth, for `rows` <= kRows that are found at run time.
template <class T, int kRows>
inline void tile_of_rows(int64_t rows, int64_t depth, Matrix<T> a, const T* panel, T* c, int64_t c_stride, bool add) {
  if (rows == kRows) {
    for (int64_t k = 0; k < depth; k += kSum)
      tile<T, kRows>(smallest(kSum, depth - k), a.at(0, k), panel + k * kPanel<T>, c, c_stride, add || k > 0);
  } else if constexpr (kRows > 1) {
    tile_of_rows<T, kRows - 1>(rows, depth, a, panel, c, c_stride, add);
  }
}

// C [rows, columns] (+)= A [rows, depth] times one panel, of which `columns` <= kPanel count.
template <class T>
void multiply_panel(int64_t rows, int64_t columns, int64_t depth, Matrix<T> a, const T* panel, T* c, int64_t c_stride,
                    bool add) {
  T edge[kTileRows * kPanel<T>];
  for (int64_t row = 0; row < rows; row += kTileRows) {
    const int64_t count = smallest(kTileRows, rows - row);
    if (columns == kPanel<T>) {
      tile_of_rows<T, kTileRows>(count, depth, a.at(row, 0), panel, c + row * c_stride, c_stride, add);
      continue;
    }
    for (int64_t r = 0; r < count && add; ++r)
      for (int64_t j = 0; j < kPanel<T>; ++j) edge[r * kPanel<T> + j] = j < columns ? c[(row + r) * c_stride + j] : T(0);
    tile_of_rows<T, kTileRows>(count, depth, a.at(row, 0), panel, edge, kPanel<T>, add);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t j = 0; j < columns; ++j) c[(row + r) * c_stride + j] = edge[r * kPanel<T> + j];
  }
}

// panel[k][j] = b(k, j) for j < columns, and zero up to kPanel; b is contiguous along its rows or its columns.
template <class T>
void pack_panel(int64_t depth, int64_t columns, Matrix<T> b, T* panel) {
  if (b.column_stride == 1 && columns == kPanel<T>) {
    for (int64_t k = 0; k < depth; ++k)
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v)
        store(panel + k * kPanel<T> + v * kLanes<T>, load(b.data + k * b.row_stride + v * kLanes<T>));
    return;
  }
  if (b.column_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < columns; ++j) panel[k * kPanel<T> + j] = b.data[k * b.row_stride + j];
  } else {
    transpose(columns, depth, b.data, b.column_stride, panel, kPanel<T>);
  }
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t j = columns; j < kPanel<T>; ++j) panel[k * kPanel<T> + j] = T(0);
}

// Where C lies: row i of column panel p at data + p * panel_stride + i * row_stride. C is a plain matrix, or held as
// panels and then written to their full width, padding included.
template <class T>
struct Result {
  T* data;
  int64_t row_stride, panel_stride;
  bool padded;
};

template <class T>
Result<T> plain(T* data, int64_t row_stride) {
  return {data, row_stride, kPanel<T>, false};
}

template <class T>
Result<T> in_panels(T* data, int64_t rows) {
  return {data, kPanel<T>, rows * kPanel<T>, true};
}

// B is packed kDepth x kGroup panels at a time, and A gone through in blocks that stay in the second-level cache
// while the group's panels pass over them.
constexpr int64_t kBlockBytes = 192 * 1024;

template <class T>
int64_t block_rows(int64_t depth) {
  return largest(1, kBlockBytes / (depth * static_cast<int64_t>(sizeof(T)) * kTileRows)) * kTileRows;
}

// C [rows, columns] (+)= A [rows, depth] B [depth, columns]; scratch holds kDepth * kGroup * kPanel elements.
template <class T>
void multiply(int64_t rows, int64_t columns, int64_t depth, Matrix<T> a, Matrix<T> b, Result<T> c, bool add,
              T* scratch) {
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t chunk = smallest(kDepth, depth - k), block = block_rows<T>(chunk);
    for (int64_t group = 0; group < columns; group += kGroup * kPanel<T>) {
      const int64_t end = smallest(columns, group + kGroup * kPanel<T>);
      for (int64_t j = group; j < end; j += kPanel<T>)
        pack_panel(chunk, smallest(kPanel<T>, end - j), b.at(k, j), scratch + (j - group) * chunk);
      for (int64_t i = 0; i < rows; i += block)
        for (int64_t j = group; j < end; j += kPanel<T>)
          multiply_panel(smallest(block, rows - i), c.padded ? kPanel<T> : smallest(kPanel<T>, end - j), chunk,
                         a.at(i, k), scratch + (j - group) * chunk,
                         c.data + j / kPanel<T> * c.panel_stride + i * c.row_stride, c.row_stride, add || k > 0);
    }
  }
}

}  // namespace

#endif
