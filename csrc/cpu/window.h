// The window of a pool on one channel [frames, height, width], and that channel with a margin of the window's reach.
#ifndef STRF_CPU_WINDOW_H
#define STRF_CPU_WINDOW_H

#include "../strf.h"

namespace {

struct Window {
  int64_t frames, height, width;                   // of the channel
  int64_t frame_reach, height_reach, width_reach;  // on either side, never farther than the channel is long

  int64_t size() const { return frames * height * width; }
  int64_t padded_height() const { return height + 2 * height_reach; }
  int64_t padded_width() const { return width + 2 * width_reach; }
  int64_t padded_size() const { return (frames + 2 * frame_reach) * padded_height() * padded_width(); }
  // Where element (t, h, 0) is in the padded channel.
  int64_t padded_row(int64_t t, int64_t h) const {
    return ((t + frame_reach) * padded_height() + h + height_reach) * padded_width() + width_reach;
  }
};

inline int64_t reach(int32_t size, int64_t length) { return size / 2 < length ? size / 2 : length - 1; }

// A window over frames only does not care where a row ends, so a frame is then treated as one long row.
inline Window window_of(const strf_problem& problem, const strf_pool& pool) {
  const bool long_rows = pool.height == 1 && pool.width == 1;
  const int64_t height = long_rows ? 1 : problem.height;
  const int64_t width = long_rows ? problem.height * problem.width : problem.width;
  return {problem.frames, height, width, reach(pool.frames, problem.frames), reach(pool.height, height),
          reach(pool.width, width)};
}

inline bool is_identity(const strf_pool& pool) { return pool.frames == 1 && pool.height == 1 && pool.width == 1; }

// Scratch elements of the functions in pool.h; `slack` is at least one vector.
inline int64_t pool_scratch(const Window& window, int64_t slack, bool backward) {
  return (backward ? 3 : 1) * (window.padded_size() + slack) + window.size() + slack;
}

}  // namespace

#endif
