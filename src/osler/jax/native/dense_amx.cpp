// AMX: many rows times tiles of bfloat16 weights, which are read where they lie. Sums are float32.
//
// A panel of outputs passes over all rows, a stretch of inputs at a time, so that its weights stay in the second-level
// cache. Tiles: A 16 rows by 32 inputs, B 32 inputs by 16 outputs, C 16 rows by 16 outputs.
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "dense.h"
#include "tiles.h"

namespace osler {
namespace {

// What is touched at a time fits into a second-level cache of 2 MB: weights 256 KB, rows 256 KB, sums 1 MB.
constexpr int64_t kPanelTiles = 32, kDepth = 8, kRowsAtOnce = 512;

struct Job {
  const DenseWeight& w;
  const void* x;
  int dtype;
  int64_t M, pairs;  // rows, and pairs of tiles of rows
  uint16_t* a;       // [pairs * 2][steps][16][32]
  void* out;
  int64_t tiles;     // of a panel, even
  bool failed;
};

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t K = job.w.columns, steps = job.w.steps;
  for (int64_t m = part; m < job.pairs * 32; m += parts) {
    uint16_t* to = job.a + m / 16 * steps * kTileSize + m % 16 * kTileInputs;
    for (int64_t step = 0; step < steps; ++step, to += kTileSize) {
      const int64_t from = step * kTileInputs, count = m < job.M ? std::min(kTileInputs, K - from) : 0;
      if (job.dtype == kBFloat16) {
        if (count) std::memcpy(to, static_cast<const uint16_t*>(job.x) + m * K + from, count * 2);
      } else {
        const float* x = static_cast<const float*>(job.x) + m * K + from;
        for (int64_t i = 0; i < count; ++i) to[i] = float_to_bf16(x[i]);
      }
      std::memset(to + count, 0, (kTileInputs - count) * 2);
    }
  }
}

void write_out(const Job& job, const float* c, int64_t m0, int64_t m1, int64_t n0) {
  const int64_t N = job.w.rows;
  for (int64_t m = m0; m < std::min(m1, job.M); ++m) {
    for (int64_t tile = 0; tile < job.tiles; ++tile) {
      const int64_t n = n0 + tile * kBlock, count = std::min<int64_t>(kBlock, N - n);
      if (count <= 0) break;
      const float* from = c + ((m - m0) / 16 * job.tiles + tile) * kTileC + (m - m0) % 16 * 16;
      const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
      const __m512 value = _mm512_load_ps(from);
      if (job.dtype == kFloat32) _mm512_mask_storeu_ps(static_cast<float*>(job.out) + m * N + n, mask, value);
      else _mm256_mask_storeu_epi16(static_cast<uint16_t*>(job.out) + m * N + n, mask, (__m256i)_mm512_cvtneps_pbh(value));
    }
  }
}

void run_panels(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t steps = job.w.steps, tiles = job.tiles, blocks = (job.w.rows + kBlock - 1) / kBlock;
  const int64_t panels = (blocks + tiles - 1) / tiles, rows = std::min(kRowsAtOnce, job.pairs * 32);
  auto* c = static_cast<float*>(std::aligned_alloc(64, rows * tiles * kBlock * 4));
  if (!c) {
    job.failed = true;
    return;
  }
  configure_tiles();
  for (int64_t panel = panels * part / parts; panel < panels * (part + 1) / parts; ++panel) {
    const int64_t here = std::min(tiles, blocks - panel * tiles);
    const uint16_t* b = job.w.tiles + panel * tiles * steps * kTileSize;
    for (int64_t m0 = 0; m0 < job.pairs * 32; m0 += kRowsAtOnce) {
      const int64_t m1 = std::min(m0 + kRowsAtOnce, job.pairs * 32);
      for (int64_t step = 0; step < steps; step += kDepth) {
        const int64_t deep = std::min(kDepth, steps - step);
        for (int64_t m = m0; m < m1; m += 32) {
          const uint16_t* a = job.a + (m / 16 * steps + step) * kTileSize;
          for (int64_t tile = 0; tile < here; tile += 2) {
            const uint16_t* b0 = b + (tile * steps + step) * kTileSize;
            // A last block that stands alone is multiplied twice; the second result is not written.
            const uint16_t* b1 = tile + 1 < here ? b0 + steps * kTileSize : b0;
            multiply_bf16({a, a + steps * kTileSize, kTileSize, kTileInputs}, b0, b1, deep,
                          {c + ((m - m0) / 16 * tiles + tile) * kTileC, kTileC, tiles * kTileC, 16}, step == 0);
          }
        }
      }
      write_out(job, c, m0, m1, panel * tiles * kBlock);
    }
  }
  _tile_release();
  std::free(c);
}

}  // namespace

bool amx_dense(const DenseWeight& w, const void* x, int dtype, int64_t M, void* out, int threads) {
  const int64_t pairs = (M + 31) / 32, blocks = (w.rows + kBlock - 1) / kBlock;
  // Panels no wider than an even share of the outputs, so that every thread has work.
  const int64_t share = (blocks + threads - 1) / threads;
  const int64_t tiles = std::min(kPanelTiles, (share + 1) / 2 * 2);
  auto* a = static_cast<uint16_t*>(std::aligned_alloc(64, pairs * 32 * w.steps * kTileInputs * 2));
  if (!a) return false;
  Job job = {w, x, dtype, M, pairs, a, out, tiles, false};
  parallel(threads, pack_rows, &job);
  parallel(threads, run_panels, &job);
  std::free(a);
  return !job.failed;
}

}  // namespace osler
