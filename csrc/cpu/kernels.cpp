// The operator's forward and backward for one level (level.h), in phases with a barrier after each.
//
// Forward:   R and T or U of every sample; then strip by strip of columns: S_k, its soft-max, the sum of the masks, X M.
// Backward:  R and U again; strip by strip dM = X^T G, then path by path P_k in both directions, dS_k and both its
//            products with U_k; dX = G M^T; the pools; W^T dR and dW.
// No N x N matrix is ever held: of each, a thread holds one strip.
#include "masks.h"
#include "normalise.h"
#include "reduce.h"
#include "tasks.h"

namespace {

// How products U^T U become powers of two: exp2(log2(e) temperature product) = exp2(base * (unit * product)). `unit` is
// the temperature's power of two, and its sign. Multiplying one operand by it rounds nothing, so that S stays symmetric
// to the last bit, and gives no more than a logit, which is finite wherever one is.
template <class T>
struct Exponent {
  T unit, base;

  explicit Exponent(double temperature)
      : unit(static_cast<T>(__builtin_copysign(__builtin_exp2(__builtin_logb(temperature)), temperature))),
        base(static_cast<T>(1.4426950408889634074 * (unit == 0 ? 1 : temperature / unit))) {}
};

// What both directions share: the problem, and where the workspace's arrays are.
template <class T>
struct Run {
  const strf_problem& problem;
  const strf_plan& plan;
  const strf_threads& threads;
  T* workspace;
  const T* weight;
  const Exponent<T> exponent{problem.temperature};

  int64_t frame_positions() const { return problem.frames * plan.positions; }
  int64_t path_size() const { return plan.rows * plan.positions; }
  int64_t sample_size() const { return problem.paths * path_size(); }
  T* reduced(int64_t sample) const { return workspace + plan.reduced + sample * sample_size(); }
  // T or U: in R's place where the pool is the identity.
  T* pooled(int64_t sample, int64_t path) const {
    const int64_t base = is_identity(problem.pools[path]) ? plan.reduced : plan.pooled;
    return workspace + base + sample * sample_size() + path * path_size();
  }
  T* lengths(int64_t sample, int64_t path) const {
    return workspace + plan.lengths + (sample * problem.paths + path) * frame_positions();
  }
  T* grad_left(int64_t sample, int64_t path) const {
    return workspace + plan.grad_left + sample * sample_size() + path * path_size();
  }
  T* grad_right(int64_t sample, int64_t group, int64_t path) const {
    return workspace + plan.grad_right + (sample * plan.groups + group) * sample_size() + path * path_size();
  }
  T* pack(int64_t part) const { return workspace + plan.scratch + part * plan.scratch_size; }
  T* scratch(int64_t part) const { return pack(part) + plan.pack_size; }
};

template <class T>
void reduce_and_pool(const Run<T>& run, const void* x) {
  const strf_problem& problem = run.problem;
  for_each_task(run.plan, run.threads, problem.batch * problem.frames, [&](int64_t task, int64_t part) {
    const int64_t sample = task / problem.frames, t = task % problem.frames;
    reduce_frame(clip_of<T>(problem, x, sample), run.plan, run.weight, t, run.reduced(sample), run.scratch(part),
                 run.pack(part));
  });
  for_each_task(run.plan, run.threads, problem.batch * problem.paths, [&](int64_t task, int64_t part) {
    const int64_t sample = task / problem.paths, path = task % problem.paths;
    const strf_pool& pool = problem.pools[path];
    const Window window = window_of(problem, pool);
    const T* reduced = run.reduced(sample) + path * run.path_size();
    T* pooled = run.pooled(sample, path);
    for (int64_t at = 0; at < run.path_size() && !is_identity(pool); at += window.size())
      pool_forward(window, pool.kind, reduced + at, pooled + at, run.scratch(part));
    if (problem.similarity == STRF_COSINE)
      normalise(problem.reduced, run.frame_positions(), problem.frames, pooled, run.lengths(sample, path));
  });
}

// Rows of a panel that are handled while they are in the first-level cache.
constexpr int64_t kRowBlock = 48;

// visit(first row, rows) after s [N, kPanel] has these rows of unit * U^T U[:, columns]. `packed` holds E * kPanel
// elements.
template <class T, class Visit>
void for_logits(const Run<T>& run, const T* pooled, int64_t first_column, int64_t columns, T* packed, T* s,
                const Visit& visit) {
  const strf_plan& plan = run.plan;
  const int64_t n = plan.positions;
  const Matrix<T> rows{pooled, n, 1};
  pack_panel(plan.rows, columns, rows.at(0, first_column), packed);
  for (int64_t i = 0; i < plan.rows * kPanel<T>; ++i) packed[i] *= run.exponent.unit;
  for (int64_t i = 0; i < n; i += kRowBlock) {
    const int64_t count = smallest(kRowBlock, n - i);
    multiply_panel(count, kPanel<T>, plan.rows, transposed(rows).at(i, 0), packed, s + i * kPanel<T>, kPanel<T>,
                   false);
    visit(i, count);
  }
}

template <class T>
void fill(T* values, T value) {
  for (int64_t j = 0; j < kPanel<T>; ++j) values[j] = value;
}

template <class T>
void copy_columns(int64_t columns, const T* from, T* to) {
  for (int64_t j = 0; j < kPanel<T>; ++j) to[j] = j < columns ? from[j] : T(0);
}

template <class T>
void forward(const strf_problem& problem, const strf_plan& plan, const strf_threads& threads, const void* x,
             const void* weight, void* y, void* maximum, void* normalizer, void* workspace) {
  const Run<T> run{problem, plan, threads, static_cast<T*>(workspace), static_cast<const T*>(weight)};
  const int64_t n = plan.positions;
  const bool bounded = strf_is_bounded(&problem);
  reduce_and_pool(run, x);
  for_each_task(plan, threads, problem.batch * plan.strips, [&](int64_t task, int64_t part) {
    const int64_t sample = task / plan.strips;
    const Strip strip = strip_of(plan, task % plan.strips);
    T* masks = run.scratch(part);
    T* s = masks + n * plan.strip;
    T* packed = s + n * kPanel<T>;
    T* top = packed + plan.rows * kPanel<T>;
    T* z = top + kPanel<T>;
    for (int64_t j = 0; j < strip.count; j += kPanel<T>) {
      const int64_t columns = smallest(kPanel<T>, strip.count - j);
      for (int64_t path = 0; path < problem.paths; ++path) {
        fill(top, bounded ? run.exponent.unit : -static_cast<T>(__builtin_inf()));
        fill(z, T(0));
        for_logits(run, run.pooled(sample, path), strip.first + j, columns, packed, s,
                   [&](int64_t i, int64_t rows) {
                     if (bounded)
                       exponentiate(rows, run.exponent.base, s + i * kPanel<T>, top, z);
                     else
                       raise_maximum(rows, s + i * kPanel<T>, top);
                   });
        if (!bounded) exponentiate(n, run.exponent.base, s, top, z);
        for (int64_t column = 0; column < kPanel<T>; ++column) z[column] = T(1) / z[column];
        add_mask(n, s, z, masks + j * n, path > 0);
        const int64_t at = (sample * problem.paths + path) * n + strip.first + j;
        for (int64_t column = 0; column < columns; ++column) {
          static_cast<T*>(maximum)[at + column] = top[column];
          static_cast<T*>(normalizer)[at + column] = z[column];
        }
      }
    }
    multiply_by_masks(clip_of<T>(problem, x, sample), strip, masks, static_cast<T*>(y) + sample * clip_size(problem),
                      run.pack(part));
  });
}

// One panel of one path in the backward pass: P both ways, dS, and its two products with U.
template <class T>
struct PathBackward {
  const Run<T>& run;
  int64_t sample, path, group;
  const T *maximum, *normalizer;  // [N] of this path
  T *s, *packed, *columns_of;     // scratch: a panel, U's panel, four rows

  void operator()(int64_t first, int64_t columns, const T* grad_mask, T* transposed_mask, bool add_to_group,
                  T* pack) const {
    const strf_plan& plan = run.plan;
    const int64_t n = plan.positions;
    const T* pooled = run.pooled(sample, path);
    T *top = columns_of, *z = top + kPanel<T>, *centre = z + kPanel<T>, *delta = centre + kPanel<T>;
    copy_columns(columns, maximum + first, top);
    copy_columns(columns, normalizer + first, z);
    // A cosine is largest between a position and itself. delta is then summed around the gradient of that weight: where
    // a position all but makes itself, the gradient of its logits is next to nothing, and would otherwise be what a
    // weight of 1 is off by.
    fill(centre, T(0));
    for (int64_t column = 0; column < columns && run.problem.similarity == STRF_COSINE; ++column)
      centre[column] = grad_mask[(first + column) * kPanel<T> + column];
    fill(delta, T(0));
    const auto both_ways = strf_is_bounded(&run.problem) ? masks_both_ways<true, T> : masks_both_ways<false, T>;
    for_logits(run, pooled, first, columns, packed, s, [&](int64_t i, int64_t rows) {
      both_ways(rows, run.exponent.base, Statistics<T>{maximum + i, normalizer + i, top, z}, s + i * kPanel<T>,
                grad_mask + i * kPanel<T>, transposed_mask + i * kPanel<T>, path > 0, centre, delta);
    });
    for (int64_t column = 0; column < columns; ++column) delta[column] += centre[column];
    softmax_backward(n, s, grad_mask, delta);
    const Matrix<T> rows{pooled, n, 1};
    multiply_panel(plan.rows, columns, n, rows, s, run.grad_left(sample, path) + first, n, false);
    multiply(n, plan.rows, columns, Matrix<T>{s, kPanel<T>, 1}, transposed(rows).at(first, 0),
             plain(run.grad_right(sample, group, path), plan.rows), add_to_group, pack);
  }
};

// U_k's gradient, and through the lengths and the pool: replaces the path's R.
template <class T>
void pool_path_backward(const Run<T>& run, int64_t sample, int64_t path, T* scratch) {
  const strf_problem& problem = run.problem;
  const Window window = window_of(problem, problem.pools[path]);
  const int64_t n = run.plan.positions, rows = run.plan.rows, size = run.path_size();
  const T kappa = static_cast<T>(problem.temperature);
  T* reduced = run.reduced(sample) + path * size;
  T* left = run.grad_left(sample, path);
  T* right = run.grad_right(sample, 0, path);
  for (int64_t group = 1; group < run.plan.groups; ++group) {
    const T* other = run.grad_right(sample, group, path);
    for (int64_t i = 0; i < size; ++i) right[i] += other[i];
  }
  transpose(n, rows, right, rows, scratch, n);
  for (int64_t i = 0; i < size; ++i) left[i] = kappa * (left[i] + scratch[i]);
  if (problem.similarity == STRF_COSINE)
    normalise_backward(problem.reduced, run.frame_positions(), problem.frames, run.pooled(sample, path),
                       run.lengths(sample, path), left, scratch);
  if (is_identity(problem.pools[path])) return copy(size, left, reduced);
  for (int64_t at = 0; at < size; at += window.size())
    pool_backward(window, problem.pools[path].kind, reduced + at, left + at, reduced + at, scratch);
}

template <class T>
void backward(const strf_problem& problem, const strf_plan& plan, const strf_threads& threads, const void* grad_y,
              const void* x, const void* weight, const void* maximum, const void* normalizer, void* grad_x,
              void* grad_weight, void* workspace) {
  const Run<T> run{problem, plan, threads, static_cast<T*>(workspace), static_cast<const T*>(weight)};
  const int64_t n = plan.positions;
  const auto grad_of = [&](int64_t sample) { return static_cast<T*>(grad_x) + sample * clip_size(problem); };
  reduce_and_pool(run, x);
  for_each_task(plan, threads, problem.batch * plan.groups, [&](int64_t task, int64_t part) {
    const int64_t sample = task / plan.groups, group = task % plan.groups;
    const Clip<T> clip = clip_of<T>(problem, x, sample), gradient = clip_of<T>(problem, grad_y, sample);
    T* grad_masks = run.scratch(part);
    T* transposed_masks = grad_masks + n * plan.strip;
    T* s = transposed_masks + n * plan.strip;
    T* packed = s + n * kPanel<T>;
    const int64_t begin = group * plan.strips / plan.groups, end = (group + 1) * plan.strips / plan.groups;
    for (int64_t index = begin; index < end; ++index) {
      const Strip strip = strip_of(plan, index);
      gradient_of_masks(clip, gradient, strip, grad_masks, run.pack(part));
      for (int64_t j = 0; j < strip.count; j += kPanel<T>)
        for (int64_t path = 0; path < problem.paths; ++path) {
          const int64_t statistics = (sample * problem.paths + path) * n;
          const PathBackward<T> path_backward{run,
                                              sample,
                                              path,
                                              group,
                                              static_cast<const T*>(maximum) + statistics,
                                              static_cast<const T*>(normalizer) + statistics,
                                              s,
                                              packed,
                                              packed + plan.rows * kPanel<T>};
          path_backward(strip.first + j, smallest(kPanel<T>, strip.count - j), grad_masks + j * n,
                        transposed_masks + j * n, index > begin || j > 0, run.pack(part));
        }
      multiply_by_masks(gradient, strip, transposed_masks, grad_of(sample), run.pack(part));
    }
  });
  for_each_task(plan, threads, problem.batch * problem.paths, [&](int64_t task, int64_t part) {
    pool_path_backward(run, task / problem.paths, task % problem.paths, run.scratch(part));
  });
  // dW is added up over frames: equal ranges of them, as many as threads, so that the order is always the same.
  const int64_t frames = problem.batch * problem.frames, ranges = parts_for(plan, frames);
  const int64_t weights = plan.all_reduced * problem.channels;
  T* partial = run.workspace + plan.grad_weight;
  for_each_task(plan, threads, ranges, [&](int64_t range, int64_t part) {
    const int64_t begin = range * frames / ranges, end = (range + 1) * frames / ranges;
    for (int64_t frame = begin; frame < end; ++frame) {
      const int64_t sample = frame / problem.frames, t = frame % problem.frames;
      reduce_frame_backward(clip_of<T>(problem, x, sample), plan, run.weight, t, run.reduced(sample), grad_of(sample),
                            partial + range * weights, frame > begin, run.pack(part));
    }
  });
  T* total = static_cast<T*>(grad_weight);
  for (int64_t r = 0; r < plan.all_reduced; ++r)
    for (int64_t c = 0; c < problem.channels; ++c) {
      const int64_t at = problem.layout == STRF_CHANNELS_LAST ? r * problem.channels + c : c * plan.all_reduced + r;
      T sum = T(0);
      for (int64_t range = 0; range < ranges; ++range) sum += partial[range * weights + at];
      total[r * problem.channels + c] = sum;
    }
}

template <class T>
void exp2_array(int64_t count, const T* from, T* to) {
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    T lanes[kLanes<T>] = {};
    const int64_t some = smallest(kLanes<T>, count - i);
    for (int64_t lane = 0; lane < some; ++lane) lanes[lane] = from[i + lane];
    store(lanes, exp2_of<T>(T(1), load(lanes)));
    for (int64_t lane = 0; lane < some; ++lane) to[i + lane] = lanes[lane];
  }
}

void exp2_of_type(strf_type type, int64_t count, const void* from, void* to) {
  if (type == STRF_FLOAT64)
    exp2_array(count, static_cast<const double*>(from), static_cast<double*>(to));
  else
    exp2_array(count, static_cast<const float*>(from), static_cast<float*>(to));
}

void forward_of_type(const strf_problem& problem, const strf_plan& plan, const strf_threads& threads, const void* x,
                     const void* weight, void* y, void* maximum, void* normalizer, void* workspace) {
  (problem.type == STRF_FLOAT64 ? forward<double> : forward<float>)(problem, plan, threads, x, weight, y, maximum,
                                                                    normalizer, workspace);
}

void backward_of_type(const strf_problem& problem, const strf_plan& plan, const strf_threads& threads,
                      const void* grad_y, const void* x, const void* weight, const void* maximum,
                      const void* normalizer, void* grad_x, void* grad_weight, void* workspace) {
  (problem.type == STRF_FLOAT64 ? backward<double> : backward<float>)(problem, plan, threads, grad_y, x, weight,
                                                                      maximum, normalizer, grad_x, grad_weight,
                                                                      workspace);
}

}  // namespace

#if STRF_CPU_LEVEL == 2
extern const strf_kernels strf_kernels_avx512 = {forward_of_type, backward_of_type, exp2_of_type};
#elif STRF_CPU_LEVEL == 1
extern const strf_kernels strf_kernels_avx2 = {forward_of_type, backward_of_type, exp2_of_type};
#else
extern const strf_kernels strf_kernels_baseline = {forward_of_type, backward_of_type, exp2_of_type};
#endif
