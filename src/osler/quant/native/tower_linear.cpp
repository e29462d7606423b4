// Products of the tower. A part of 512 rows by at most 512 outputs passes over the inputs a stretch at a time, so that
// its weights and its sums stay in the second-level cache. Rows are loaded where they lie.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "tiles.h"
#include "tower.h"
#include "turn.h"

namespace osler {
namespace {

// Of 2 MB of cache: weights 256 KB, rows 256 KB, sums 1 MB.
constexpr int64_t kPanel = 512, kDepth = 256, kRowsAtOnce = 512, kStep = 32;

struct Job {
  const OslerTowerLinear& w;
  const uint16_t* x;   // rows filled up to 32 and inputs to a multiple of 32, or those that were given
  int64_t stride;      // of x
  int64_t rows, steps; // filled up: a multiple of 32, and K / 32
  int64_t panel;       // outputs of a panel, a multiple of 32
  std::atomic<int64_t> next{0};  // item that nobody has taken: a thread that others hold up takes fewer
  std::atomic<bool> failed{false};
};

inline __m512 from_bf16(__m256i half) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// e to the power of x, where what is below 2^-126 may become that.
inline __m512 power(__m512 x) {
  const __m512 t = _mm512_max_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _mm512_set1_ps(-126.0f));
  const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0135341676f), r, _mm512_set1_ps(0.0520114612f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.241442757f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693003835f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.00000259f));
  return _mm512_scalef_ps(p, t);
}

// x / (1 + e^(-2 u)), which is 0.5 x (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline __m512 gelu(__m512 x) {
  const __m512 square = _mm512_mul_ps(x, x);
  const __m512 inner = _mm512_fmadd_ps(square, _mm512_set1_ps(-2.0f * 0.7978845608f * 0.044715f),
                                       _mm512_set1_ps(-2.0f * 0.7978845608f));
  const __m512 below = _mm512_min_ps(_mm512_mul_ps(x, inner), _mm512_set1_ps(80.0f));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), power(below)));
}

// Fetches what comes next, from memory or the slow last-level cache.
inline void fetch(const uint16_t* from, int64_t values) {
  for (int64_t at = 0; at < values; at += 32) _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// Fetches a share of 32 rows.
inline void fetch_rows(const uint16_t* rows, int64_t stride, int64_t values, int64_t tile, int64_t tiles) {
  for (int64_t row = 32 * tile / tiles; row < 32 * (tile + 2) / tiles; ++row) fetch(rows + row * stride, values);
}

// C (32 rows by 32 outputs) += rows of x where they lie, times two columns of tiles.
inline void multiply(const uint16_t* x, int64_t stride, const uint16_t* b0, const uint16_t* b1, int64_t steps, float* c,
                     int64_t next, bool first) {
  const int64_t bytes = stride * 2;
  const uint16_t* below = x + 16 * stride;
  if (first) {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  } else {
    _tile_loadd(0, c, 64); _tile_loadd(1, c + kTileC, 64);
    _tile_loadd(2, c + next, 64); _tile_loadd(3, c + next + kTileC, 64);
  }
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(4, x + step * kStep, bytes);
    _tile_loadd(6, b0 + step * kTileValues, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b1 + step * kTileValues, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, below + step * kStep, bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, 64); _tile_stored(1, c + kTileC, 64);
  _tile_stored(2, c + next, 64); _tile_stored(3, c + next + kTileC, 64);
}

// Writes 32 rows of a pair of tiles of C to the result.
template <bool kGelu>
void write_out(const OslerTowerLinear& w, const float* c, int64_t next, int64_t m0, int64_t n0) {
  for (int64_t n = n0; n < std::min(n0 + 32, w.N); n += 16, c += kTileC) {
    const __mmask16 mask = static_cast<__mmask16>((1u << std::min<int64_t>(16, w.N - n)) - 1);
    const __m512 bias = w.bias ? from_bf16(_mm256_maskz_loadu_epi16(mask, w.bias + n)) : _mm512_setzero_ps();
    for (int64_t m = m0; m < std::min(m0 + 32, w.M); ++m) {
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(c + (m - m0) / 16 * next + m % 16 * 16), bias);
      _mm256_mask_storeu_epi16(w.out + m * w.out_stride + n, mask,
                               (__m256i)_mm512_cvtneps_pbh(kGelu ? gelu(sum) : sum));
    }
  }
}

void run_item(const Job& job, int64_t m0, int64_t n0, int64_t n_next, float* c) {
  const OslerTowerLinear& w = job.w;
  const int64_t most = kDepth / kStep, m1 = std::min(m0 + kRowsAtOnce, job.rows);
  const int64_t blocks = (w.N + 31) / 32 * 2, tiles = std::min(job.panel, blocks * 16 - n0) / 16;
  const int64_t column = job.steps * kTileValues;
  for (int64_t step = 0; step < job.steps; step += most) {
    const int64_t deep = std::min(most, job.steps - step);
    const bool last = step + deep == job.steps;
    // What comes next of the weights is fetched meanwhile.
    const uint16_t *b = w.tiles + n0 / 16 * column + step * kTileValues;
    const uint16_t *b_next = last ? w.tiles + n_next / 16 * column : b + deep * kTileValues;
    const int64_t deep_next = std::min(most, last ? job.steps : job.steps - step - deep);
    const int64_t tiles_next = last ? std::min(job.panel, blocks * 16 - n_next) / 16 : tiles;
    for (int64_t m = m0; m < m1; m += 32) {
      const uint16_t* x = job.x + m * job.stride + step * kStep;
      const uint16_t* next = x + (m + 32 < m1 ? 32 * job.stride : 0);
      const int64_t now = (m - m0) / 32, all = (m1 - m0) / 32;
      for (int64_t tile = 0; tile < tiles; tile += 2) {
        float* to = c + ((m - m0) / 16 * tiles + tile) * kTileC;
        multiply(x, job.stride, b + tile * column, b + (tile + 1) * column, deep, to, tiles * kTileC, step == 0);
        fetch_rows(next, job.stride, deep * kStep, tile, tiles);
        // Of each column of weights a share with every row.
        for (int64_t i = tile; i < std::min(tile + 2, tiles_next); ++i) {
          const int64_t from = deep_next * now / all;
          fetch(b_next + i * column + from * kTileValues, (deep_next * (now + 1) / all - from) * kTileValues);
        }
        if (!last) continue;
        if (w.gelu) write_out<true>(w, to, tiles * kTileC, m, n0 + tile * 16);
        else write_out<false>(w, to, tiles * kTileC, m, n0 + tile * 16);
      }
    }
  }
}

void run_items(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  const int64_t panels = (job.w.N + job.panel - 1) / job.panel, items = (job.rows + kRowsAtOnce - 1) / kRowsAtOnce * panels;
  auto* c = static_cast<float*>(std::aligned_alloc(64, std::min(kRowsAtOnce, job.rows) * job.panel * 4));
  if (c) {
    configure_tiles();
    for (int64_t item = job.next++; item < items; item = job.next++)
      run_item(job, item / panels * kRowsAtOnce, item % panels * job.panel, (item + 1) % panels * job.panel, c);
    _tile_release();
  } else {
    job.failed = true;
  }
  std::free(c);
}

struct Turn {
  const uint16_t* w;
  int64_t N, K;
  uint16_t* tiles;
};

void turn_blocks(void* data, int part, int parts) {
  const Turn& job = *static_cast<Turn*>(data);
  const int64_t blocks = (job.N + 31) / 32 * 2, steps = (job.K + kStep - 1) / kStep;
  for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
    const uint16_t* rows = job.w + std::min(block * 16, job.N - 1) * job.K;
    for (int64_t step = 0; step < steps; ++step) {
      if (step % 8 == 0 && (block + 1) * 16 + 16 <= job.N)
        for (int64_t row = 0; row < 16; ++row) fetch(rows + (16 + row) * job.K + step * kStep, 256);
      turn_tile(rows + step * kStep, job.K, job.N - block * 16, job.K - step * kStep,
                job.tiles + (block * steps + step) * kTileValues);
    }
  }
}

}  // namespace

void tower_turn(const uint16_t* w, int64_t N, int64_t K, uint16_t* tiles, int threads) {
  Turn job = {w, N, K, tiles};
  parallel(threads, turn_blocks, &job);
}

bool tower_linear(const OslerTowerLinear& w, int threads) {
  const int64_t rows = (w.M + 31) / 32 * 32, steps = (w.K + kStep - 1) / kStep;
  Job job = {w, w.x, w.x_stride, rows, steps, 0};
  // Whole tiles are loaded: what ends elsewhere is copied and filled up with zeros.
  uint16_t* filled = nullptr;
  if (rows != w.M || steps * kStep > w.x_stride) {
    const int64_t wide = steps * kStep;
    filled = static_cast<uint16_t*>(std::aligned_alloc(64, rows * wide * 2));
    if (!filled) return false;
    std::memset(filled, 0, rows * wide * 2);
    for (int64_t m = 0; m < w.M; ++m) std::memcpy(filled + m * wide, w.x + m * w.x_stride, w.K * 2);
    job.x = filled;
    job.stride = wide;
  }
  // Panels of even width, and as many parts as there are threads at least.
  const int64_t blocks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  int64_t panels = (w.N + kPanel - 1) / kPanel;
  while (panels * blocks % threads && panels * blocks < 4 * threads && panels * 32 < w.N) ++panels;
  job.panel = ((w.N + panels - 1) / panels + 31) / 32 * 32;
  parallel(threads, run_items, &job);
  std::free(filled);
  return !job.failed;
}

}  // namespace osler
