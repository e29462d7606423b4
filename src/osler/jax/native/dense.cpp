// Products with bfloat16 weights on each path: few rows block by block in float32, many rows by AMX where it is.
#include "dense.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

extern "C" unsigned osler_paths(void);

namespace osler {
namespace {

DenseBlock block_of(int path) {
#ifdef OSLER_X86
  if (path == kPathAvx2) return kDenseAvx2;
  if (path > kPathAvx2) return kDenseAvx512;
#endif
  (void)path;
  return kDensePortable;
}

struct Job {
  const DenseWeight& w;
  DenseBlock dot;
  const void* x;
  int dtype;
  int64_t M;
  float* wide;  // (M, steps * 32)
  void* out;
};

void widen_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t K = job.w.columns, padded = job.w.steps * kTileInputs;
  for (int64_t m = job.M * part / parts; m < job.M * (part + 1) / parts; ++m) {
    float* row = job.wide + m * padded;
    if (job.dtype == kFloat32) {
      std::memcpy(row, static_cast<const float*>(job.x) + m * K, K * sizeof(float));
    } else {
      const uint16_t* x = static_cast<const uint16_t*>(job.x) + m * K;
      for (int64_t k = 0; k < K; ++k) row[k] = bf16_to_float(x[k]);
    }
    std::memset(row + K, 0, (padded - K) * sizeof(float));
  }
}

void run_blocks(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t N = job.w.rows, blocks = (N + kBlock - 1) / kBlock, padded = job.w.steps * kTileInputs;
  alignas(64) float found[kMaxRows * kBlock];
  for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
    const int64_t n0 = block * kBlock, width = std::min<int64_t>(kBlock, N - n0);
    for (int64_t m = 0; m < job.M; m += kMaxRows) {
      const int count = static_cast<int>(std::min<int64_t>(kMaxRows, job.M - m));
      job.dot(job.w.tiles + block * job.w.steps * kTileSize, job.w.steps, job.wide + m * padded, count, found);
      for (int row = 0; row < count; ++row) {
        const float* from = found + row * kBlock;
        const int64_t at = (m + row) * N + n0;
        if (job.dtype == kFloat32) std::memcpy(static_cast<float*>(job.out) + at, from, width * sizeof(float));
        else for (int64_t n = 0; n < width; ++n) static_cast<uint16_t*>(job.out)[at + n] = float_to_bf16(from[n]);
      }
    }
  }
}

}  // namespace

int dense_linear(int path, const DenseWeight& w, const void* x, int dtype, int64_t M, void* out, int threads) {
  if (path < 0 || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (dtype != kFloat32 && dtype != kBFloat16) return 1;
  if (M <= 0) return 0;
  threads = std::max(1, threads);
#ifdef OSLER_AMX
  if (path >= kPathAmxBf16 && M >= kManyRows) return amx_dense(w, x, dtype, M, out, threads) ? 0 : 2;
#endif
  const size_t bytes = static_cast<size_t>(M) * w.steps * kTileInputs * sizeof(float);
  auto* wide = static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!wide) return 2;
  Job job = {w, block_of(path), x, dtype, M, wide, out};
  parallel(M < 4 ? 1 : threads, widen_rows, &job);
  parallel(threads, run_blocks, &job);
  std::free(wide);
  return 0;
}

}  // namespace osler
