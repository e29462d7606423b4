// Products of the tower. A span of some rows stays in the second-level cache while outputs pass over it, 32 at a time;
// sums leave the tiles once for a span. Vectors finish a square while tiles multiply the next one, a row beside each step;
// tiles are loaded with hints, and whole lines are written past the cache, as `tiles.h` and `many_rows.inc` say.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "tiles.h"
#include "tower.h"
#include "turn.h"
#include "unpack_bf16.h"
#include "vectors.h"

namespace osler {
namespace {

// Of 2 MB of cache: rows 1.3 MB, weights 0.2 MB; where inputs have several spans, rows 0.6 MB, sums 0.6 MB.
constexpr int64_t kPanel = 288, kMostSteps = 40, kRowsAtOnce = 512, kStep = 32;
constexpr int64_t kSquare = 4 * kTileC;

struct Job {
  const OslerTowerLinear& w;
  int64_t rows, steps; // filled up: a multiple of 32, and K / 32
  int64_t depth;       // steps of a span
  int64_t at_once;     // rows that are multiplied at a time
  int64_t panel;       // outputs of a panel, a multiple of 32
  std::atomic<int64_t> next{0};  // item that nobody has taken: a thread that others hold up takes fewer
  std::atomic<bool> failed{false};
};

// Fetches what comes next, from memory or the slow last-level cache.
inline void fetch(const uint16_t* from, int64_t values) {
  for (int64_t at = 0; at < values; at += 32) _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// C (four tiles) += A times B, both with a second row of tiles so many values further. `meanwhile` is called in each place
// of each step.
template <class Meanwhile>
__attribute__((always_inline)) inline void multiply(const uint16_t* a, int64_t a_next, const uint16_t* b, int64_t b_next,
                                                    int64_t steps, float* c, bool first, Meanwhile meanwhile) {
  if (first) clear_sums();
  else load_sums(c, kTileC, 2 * kTileC, 16);
  multiply_steps<Bf16Tiles>(reinterpret_cast<const uint8_t*>(a), a_next * 2, reinterpret_cast<const uint8_t*>(b), b_next * 2,
                            steps, meanwhile);
  store_sums(c, kTileC, 2 * kTileC, 16);
}

// A square whose sums wait to be written.
struct Waiting {
  const float* c;
  uint16_t* out;             // of its first row
  const uint16_t* residual;
  int64_t stride, residual_stride, below;  // from a row to the next; to the second 16 rows
  int64_t rows;
  __mmask32 mask;            // of its outputs
  bool line;                 // whether rows are whole lines
  __m512 bias[2];
};

// Writes squares row by row.
template <bool kGelu>
class Writer {
 public:
  explicit Writer(const OslerTowerLinear& w) : w_(w) {}

  void start(const float* c, int64_t m0, int64_t n0) {
    const int64_t count = std::min<int64_t>(32, w_.N - n0);
    s_.c = c;
    s_.mask = count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
    if (w_.out_stride) {
      s_.out = w_.out + m0 * w_.out_stride + n0;
      s_.stride = w_.out_stride;
      s_.below = 16 * s_.stride;
      s_.rows = std::min<int64_t>(32, w_.M - m0);
      s_.line = count >= 32 && (reinterpret_cast<int64_t>(s_.out) | s_.stride * 2) % 64 == 0;
    } else {
      const int64_t steps = (w_.N + 31) / 32;
      s_.out = w_.out + (m0 / 16 * steps + n0 / 32) * kTileValues;
      s_.stride = 32;
      s_.below = steps * kTileValues;
      s_.rows = 32;
      s_.line = true;
    }
    s_.residual = w_.residual ? w_.residual + m0 * w_.N + n0 : nullptr;
    for (int half = 0; half < 2; ++half) {
      const __mmask16 mask = static_cast<__mmask16>(s_.mask >> half * 16);
      s_.bias[half] = w_.bias ? from_bf16(_mm256_maskz_loadu_epi16(mask, w_.bias + n0 + half * 16)) : _mm512_setzero_ps();
    }
    row_ = 0;
  }

  int64_t left() const { return s_.rows - row_; }

  void rows(int64_t count) {
    for (; count > 0 && left() > 0; --count) {
      const __m512 one = finish(sum(0), 0);
      write(one, finish(sum(1), 1));
    }
  }

  // Half of the next row, with its bias.
  __attribute__((always_inline)) __m512 sum(int64_t half) const {
    return _mm512_add_ps(_mm512_load_ps(s_.c + row_ / 16 * 2 * kTileC + row_ % 16 * 16 + half * kTileC), s_.bias[half]);
  }

  __attribute__((always_inline)) __m512 finish(__m512 value, int64_t half) const {
    if constexpr (kGelu) value = gelu(value);
    if (!s_.residual) return value;
    const __mmask16 mask = static_cast<__mmask16>(s_.mask >> half * 16);
    return _mm512_add_ps(value, from_bf16(_mm256_maskz_loadu_epi16(mask, s_.residual + row_ * w_.N + half * 16)));
  }

  __attribute__((always_inline)) void write(__m512 one, __m512 other) {
    uint16_t* to = s_.out + row_ / 16 * s_.below + row_ % 16 * s_.stride;
    if (s_.line) _mm512_stream_si512(reinterpret_cast<__m512i*>(to), to_bf16(one, other));
    else _mm512_mask_storeu_epi16(to, s_.mask, to_bf16(one, other));
    ++row_;
  }

 private:
  const OslerTowerLinear& w_;
  Waiting s_ = {};
  int64_t row_ = 0;
};

// Multiplies one part. `c`: a square for each, or two in turns where inputs have one span. What waits to be written
// stays so at the end.
template <bool kGelu>
void run_item(const Job& job, int64_t m0, int64_t n0, float* c, Writer<kGelu>& writer) {
  const OslerTowerLinear& w = job.w;
  const int64_t pairs = std::min(job.at_once, job.rows - m0) / 32;
  const int64_t columns = std::min(job.panel, (w.N + 31) / 32 * 32 - n0) / 32, column = job.steps * kTileValues;
  int64_t number = 0;
  for (int64_t step = 0; step < job.steps; step += job.depth) {
    const int64_t deep = std::min(job.depth, job.steps - step);
    for (int64_t pair_n = 0; pair_n < columns; ++pair_n) {
      const uint16_t* b = w.tiles + (n0 / 16 + pair_n * 2) * column + step * kTileValues;
      for (int64_t pair = 0; pair < pairs; ++pair, ++number) {
        const int64_t m = m0 + pair * 32;
        const uint16_t* a = w.x + m / 16 * column + step * kTileValues;
        float* to = c + (job.depth < job.steps ? pair_n * pairs + pair : number % 2) * kSquare;
        // A share of the next weights is fetched with every row.
        const int64_t fetched = deep * pair / pairs, fetching = pair_n + 1 < columns ? deep * (pair + 1) / pairs : fetched;
        const uint16_t* next = b + 2 * column + fetched * kTileValues;
        int64_t lines = (fetching - fetched) * 16, each = (lines + deep - 1) / deep;
        const int64_t rows = (writer.left() + deep - 1) / deep;
        bool writing = false;
        __m512 one, other;
        // A row, in quarters, and lines of weights.
        multiply(a, column, b, column, deep, to, step == 0, [&](auto place) {
          if constexpr (place == 0) {
            for (int64_t i = each; i > 0 && lines > 0; --i, --lines, next += 32) {
              _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
              _mm_prefetch(reinterpret_cast<const char*>(next + column), _MM_HINT_T1);
            }
          } else if constexpr (place == 1) {
            if (rows > 1) writer.rows(rows - 1);
            writing = writer.left() > 0;
            if (writing) one = writer.sum(0);
          } else if constexpr (place == 3) {
            if (writing) one = writer.finish(one, 0);
          } else if constexpr (place == 5) {
            if (writing) other = writer.sum(1);
          } else if constexpr (place == 7) {
            if (writing) writer.write(one, writer.finish(other, 1));
          }
        });
        if (step + deep == job.steps) writer.start(to, m, n0 + pair_n * 32);
      }
    }
  }
}

template <bool kGelu>
void run_items(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  const int64_t panels = (job.w.N + job.panel - 1) / job.panel, items = (job.rows + job.at_once - 1) / job.at_once * panels;
  const int64_t squares = job.depth < job.steps ? std::min(job.at_once, job.rows) / 32 * (job.panel / 32) : 2;
  auto* c = static_cast<float*>(std::aligned_alloc(64, squares * kSquare * 4));
  if (!c) {
    job.failed = true;
    return;
  }
  configure_tiles();
  for (int64_t item = job.next++; item < items; item = job.next++) {
    Writer<kGelu> writer(job.w);
    run_item(job, item / panels * job.at_once, item % panels * job.panel, c, writer);
    writer.rows(writer.left());
  }
  _tile_release();
  _mm_sfence();  // what went past the cache must be seen by other threads
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

struct Unpack {
  const OslerWeight& w;
  uint16_t* tiles;
};

void unpack_blocks(void* data, int part, int parts) {
  const Unpack& job = *static_cast<Unpack*>(data);
  const int64_t blocks = (job.w.rows + 31) / 32 * 2, last = (job.w.rows + 15) / 16 - 1, steps = job.w.padded / kStep;
  Bf16Unpacker unpacker(job.w);
  for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) {
    Span span = {};
    span.block = block;
    span.k1 = job.w.padded;
    span.steps = steps;
    span.to = reinterpret_cast<uint8_t*>(job.tiles + block * steps * kTileValues);
    span.next = std::min(block + 1, last);
    for (int64_t pieces = unpacker.start(span); pieces > 0; --pieces) {
      unpacker.first();
      unpacker.second();
    }
  }
}

}  // namespace

void tower_turn(const uint16_t* w, int64_t N, int64_t K, uint16_t* tiles, int threads) {
  Turn job = {w, N, K, tiles};
  parallel(threads, turn_blocks, &job);
}

void tower_unpack(const OslerWeight& w, uint16_t* tiles, int threads) {
  Unpack job = {w, tiles};
  parallel(threads, unpack_blocks, &job);
}

bool tower_linear(const OslerTowerLinear& w, int threads) {
  const int64_t rows = (w.M + 31) / 32 * 32, steps = (w.K + kStep - 1) / kStep;
  const int64_t spans = (steps + kMostSteps - 1) / kMostSteps;
  Job job = {w, rows, steps, (steps + spans - 1) / spans, spans > 1 ? kRowsAtOnce / 2 : kRowsAtOnce, 0};
  // Panels of even width, and as many parts as there are threads at least.
  const int64_t widest = spans > 1 ? 2 * kPanel : kPanel, blocks = (rows + job.at_once - 1) / job.at_once;
  int64_t panels = (w.N + widest - 1) / widest;
  while (panels * blocks % threads && panels * blocks < 4 * threads && panels * 32 < w.N) ++panels;
  job.panel = ((w.N + panels - 1) / panels + 31) / 32 * 32;
  parallel(threads, w.gelu ? run_items<true> : run_items<false>, &job);
  return !job.failed;
}

}  // namespace osler
