/* The STRF operator without PyTorch or Python: pointers, sizes, a way to run threads or a CUDA stream.
 *
 * Per sample, X = x as [D, N], D = channels * frames, N = height * width, E = reduced * frames (paper, section 3.2):
 *
 *     R_k = W_k x                    [reduced, frames, height, width]   equation (2)
 *     T_k = pool_k(R_k)              [E, N]                             equations (4) and (6)
 *     U_k = T_k, or for STRF_COSINE every t = T_k[:, frame, position], of `reduced` elements, divided by
 *           sqrt((|t|^2 + 1e-6) frames): U_k^T U_k is then the mean over frames of cosines
 *     S_k = temperature U_k^T U_k    [N, N], symmetric                  equation (3)
 *     P_k = softmax over the rows    [N, N], columns sum to 1
 *     Y   = X (P_1 + ... + P_P)      [D, N]                             equations (1), (5) and (7)
 *
 * Saved for the backward pass, both [batch, paths, N] in float (double for STRF_FLOAT64):
 *
 *     maximum      the largest S_k[i, j] of column j, or their bound, see strf_is_bounded; S_k in whatever unit the
 *                  kernels have it: only the backward pass of the same kind can read it
 *     normalizer   1 / (the sum over i of exp(S_k[i, j] - maximum[j]))
 */
#ifndef STRF_H
#define STRF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { STRF_MAX_PATHS = 4 };

typedef enum { STRF_FLOAT64, STRF_FLOAT32, STRF_BFLOAT16, STRF_FLOAT16 } strf_type;

/* How x and y lie in memory: [batch, channels, frames, height, width] or [batch, frames, height, width, channels]. */
typedef enum { STRF_CONTIGUOUS, STRF_CHANNELS_LAST } strf_layout;

typedef enum { STRF_POOL_MAX, STRF_POOL_AVERAGE } strf_pool_kind;

typedef enum { STRF_DOT, STRF_COSINE } strf_similarity;

typedef struct {
  int32_t frames, height, width; /* odd; 1 is the identity; stride 1, padding takes no part */
  strf_pool_kind kind;
} strf_pool;

typedef struct {
  int64_t batch, channels, frames, height, width;
  int64_t reduced; /* channels of R_k */
  int32_t paths;   /* 1 to STRF_MAX_PATHS */
  strf_pool pools[STRF_MAX_PATHS];
  double temperature;
  strf_type type;
  strf_layout layout;
  int32_t tf32; /* CUDA: whether products of STRF_FLOAT32 may round their operands to TF32; otherwise 0 */
  strf_similarity similarity; /* STRF_COSINE takes a temperature above 0 */
} strf_problem;

/* Whether the temperature serves as every column's maximum: no logit is larger, and where all positions are empty
 * and all logits 0, the powers of two are still normal numbers. */
static inline int strf_is_bounded(const strf_problem* problem) {
  return problem->similarity == STRF_COSINE && problem->temperature <= 64.0;
}

/* NULL for a problem that can be computed, otherwise one sentence on what is wrong with it. */
const char* strf_check(const strf_problem* problem);

/* ---- CPU ---------------------------------------------------------------------------------------------------------
 * Arrays are double for STRF_FLOAT64 and float for every other type: for the half types the caller hands over float
 * copies, and only R is rounded to the type, so that the maximum's ties fall as they do on a GPU.
 */

typedef void (*strf_task)(int64_t first, int64_t last, void* context);

/* The caller's threads. `run` calls task(first, last, context) for parts of 0..count that cover it, and returns when
 * all are done; parts may run at the same time. `threads` is how many parts are worth having. */
typedef struct {
  int32_t threads;
  void (*run)(int64_t count, strf_task task, void* context);
} strf_threads;

/* Instruction sets that the CPU code is compiled for; a processor without the better ones never runs them. */
typedef enum { STRF_CPU_BASELINE, STRF_CPU_AVX2, STRF_CPU_AVX512 } strf_cpu_level;

strf_cpu_level strf_cpu_best_level(void);
const char* strf_cpu_level_name(strf_cpu_level level);

/* Bytes of workspace, which need no initialisation; 64-byte alignment. */
int64_t strf_cpu_workspace(const strf_problem* problem, int32_t threads, int backward);

/* x, y in the problem's layout; weight [paths, reduced, channels]. The problem has passed strf_check. */
void strf_cpu_forward(const strf_problem* problem, strf_cpu_level level, const strf_threads* threads, const void* x,
                      const void* weight, void* y, void* maximum, void* normalizer, void* workspace);

/* grad_y, grad_x in the problem's layout; grad_weight [paths, reduced, channels]. */
void strf_cpu_backward(const strf_problem* problem, strf_cpu_level level, const strf_threads* threads,
                       const void* grad_y, const void* x, const void* weight, const void* maximum,
                       const void* normalizer, void* grad_x, void* grad_weight, void* workspace);

/* to[i] = 2^from[i] by the code inside the soft-max, for STRF_FLOAT32 or STRF_FLOAT64 arrays: for tests. 0 below the
 * smallest normal number, and no arguments above 127 (1023), since the soft-max has none above 0. */
void strf_cpu_exp2(strf_cpu_level level, strf_type type, int64_t count, const void* from, void* to);

/* ---- CUDA: csrc/cuda, present when the library was built with nvcc ------------------------------------------------
 * Arrays are of the problem's type on the device, `maximum` and `normalizer` float, or double for STRF_FLOAT64. Work is
 * put on `stream` and not waited for. Functions that return text return NULL, or one sentence on what went wrong.
 * The device is made the current one inside: a statically linked CUDA runtime has its own idea of it.
 */

/* Whether the kernels run on this device. */
const char* strf_cuda_supports(int32_t device);

/* Bytes of workspace, which need no initialisation; 256-byte alignment. */
const char* strf_cuda_workspace(const strf_problem* problem, int32_t device, int backward, int64_t* bytes);

/* As strf_cpu_forward and strf_cpu_backward. */
const char* strf_cuda_forward(const strf_problem* problem, int32_t device, void* stream, const void* x,
                              const void* weight, void* y, void* maximum, void* normalizer, void* workspace);
const char* strf_cuda_backward(const strf_problem* problem, int32_t device, void* stream, const void* grad_y,
                               const void* x, const void* weight, const void* maximum, const void* normalizer,
                               void* grad_x, void* grad_weight, void* workspace);

/* values[i] = 2 values[i] for i < count, on the device: shows that the library's kernels load and run there.
 * NULL, or one sentence on what went wrong. */
const char* strf_cuda_probe(int32_t device, void* stream, float* values, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
