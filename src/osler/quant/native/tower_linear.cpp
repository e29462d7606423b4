// Products of the tower. A span of 512 rows stays in the second-level cache while outputs pass over it, 32 at a time;
// sums leave the tiles once for a span. Rows are loaded where they lie. Vectors finish a square while tiles multiply the
// next one.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "tiles.h"
#include "tower.h"
#include "turn.h"
#include "vectors.h"

namespace osler {
namespace {

// Of 2 MB of cache: rows 1.3 MB, weights 0.2 MB, sums 0.5 MB where inputs have several spans.
constexpr int64_t kPanel = 288, kMostSteps = 40, kRowsAtOnce = 512, kStep = 32;
constexpr int64_t kSquare = 4 * kTileC;

struct Job {
  const OslerTowerLinear& w;
  const uint16_t* x;   // rows filled up to 32 and inputs to a multiple of 32, or those that were given
  int64_t stride;      // of x
  int64_t rows, steps; // filled up: a multiple of 32, and K / 32
  int64_t depth;       // steps of a span
  int64_t panel;       // outputs of a panel, a multiple of 32
  std::atomic<int64_t> next{0};  // item that nobody has taken: a thread that others hold up takes fewer
  std::atomic<bool> failed{false};
};

// Fetches what comes next, from memory or the slow last-level cache.
inline void fetch(const uint16_t* from, int64_t values) {
  for (int64_t at = 0; at < values; at += 32) _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// A square whose sums wait to be written.
struct Waiting {
  const float* c;
  int64_t m0, n0;
};

// Writes rows from..to-1 (of 32) of a square to the result.
template <bool kGelu>
void write_rows(const OslerTowerLinear& w, const Waiting& s, int64_t from, int64_t to) {
  for (int64_t n = s.n0; n < std::min(s.n0 + 32, w.N); n += 16) {
    const __mmask16 mask = first_lanes(w.N - n);
    const __m512 bias = w.bias ? from_bf16(_mm256_maskz_loadu_epi16(mask, w.bias + n)) : _mm512_setzero_ps();
    const float* c = s.c + (n > s.n0 ? kTileC : 0);
    for (int64_t row = from; row < std::min(to, w.M - s.m0); ++row) {
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(c + row / 16 * 2 * kTileC + row % 16 * 16), bias);
      _mm256_mask_storeu_epi16(w.out + (s.m0 + row) * w.out_stride + n, mask,
                               (__m256i)_mm512_cvtneps_pbh(kGelu ? gelu(sum) : sum));
    }
  }
}

void write_rows(const OslerTowerLinear& w, const Waiting& s, int64_t from, int64_t to) {
  if (!s.c) return;
  if (w.gelu) write_rows<true>(w, s, from, to);
  else write_rows<false>(w, s, from, to);
}

// Multiplies one part. `c`: a square for each, or two in turns where inputs have one span. What waits to be written
// stays so at the end.
void run_item(const Job& job, int64_t m0, int64_t n0, float* c, Waiting& waiting) {
  const OslerTowerLinear& w = job.w;
  const int64_t pairs = std::min(kRowsAtOnce, job.rows - m0) / 32;
  const int64_t columns = std::min(job.panel, (w.N + 31) / 32 * 32 - n0) / 32, column = job.steps * kTileValues;
  int64_t number = 0;
  for (int64_t step = 0; step < job.steps; step += job.depth) {
    const int64_t deep = std::min(job.depth, job.steps - step);
    for (int64_t pair_n = 0; pair_n < columns; ++pair_n) {
      const uint16_t* b = w.tiles + (n0 / 16 + pair_n * 2) * column + step * kTileValues;
      for (int64_t pair = 0; pair < pairs; ++pair, ++number) {
        const int64_t m = m0 + pair * 32;
        const uint16_t* x = job.x + m * job.stride + step * kStep;
        float* to = c + (job.depth < job.steps ? pair_n * pairs + pair : number % 2) * kSquare;
        // A share of the next weights is fetched with every row.
        const bool more = pair_n + 1 < columns;
        const int64_t fetched = deep * pair / pairs, fetching = more ? deep * (pair + 1) / pairs : fetched;
        for (const uint16_t* next : {b + 2 * column, b + 3 * column})
          fetch(next + fetched * kTileValues, (fetching - fetched) * kTileValues);
        int64_t written = 0;
        const auto write = [&](int64_t done) {
          const int64_t rows = 32 * done / deep;
          write_rows(w, waiting, written, rows);
          written = rows;
        };
        multiply_bf16({x, x + 16 * job.stride, kStep, job.stride}, b, b + column, deep,
                      {to, kTileC, 2 * kTileC, 16}, step == 0, number % 2, write);
        write(deep);
        waiting = {step + deep == job.steps ? to : nullptr, m, n0 + pair_n * 32};
      }
    }
  }
}

void run_items(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  const int64_t panels = (job.w.N + job.panel - 1) / job.panel, items = (job.rows + kRowsAtOnce - 1) / kRowsAtOnce * panels;
  const int64_t squares = job.depth < job.steps ? std::min(kRowsAtOnce, job.rows) / 32 * (job.panel / 32) : 2;
  auto* c = static_cast<float*>(std::aligned_alloc(64, squares * kSquare * 4));
  if (c) {
    configure_tiles();
    for (int64_t item = job.next++; item < items; item = job.next++) {
      Waiting waiting = {};
      run_item(job, item / panels * kRowsAtOnce, item % panels * job.panel, c, waiting);
      write_rows(job.w, waiting, 0, 32);
    }
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
  const int64_t spans = (steps + kMostSteps - 1) / kMostSteps;
  Job job = {w, w.x, w.x_stride, rows, steps, (steps + spans - 1) / spans, 0};
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
