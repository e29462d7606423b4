// Attention over all keys without a running maximum: weights are 2 to the power of the scores as they are, which float32
// and bfloat16 hold unless a score is far from zero. Where that is so the sum of a query's weights shows it, and
// `tile_attend.cpp` computes these queries again.
//
// A tile's sums hold a column more than a head has values: its values are ones, so that it counts the weights.
//
// 64 queries pass over the keys, a chunk at a time: scores of 32 keys are computed while vectors turn those before into
// weights, a few rows after each step of the tiles (see `many_rows.h`).
#include <immintrin.h>

#include <cstring>

#include "attend_job.h"

namespace osler {
namespace {

// Sums of weights within which neither a sum overflows nor a weight that matters is lost.
constexpr float kLeastTotal = 0x1p-64f, kMostTotal = 0x1p90f;

constexpr int64_t kTiles = kWhole / 16, kBlock = kTiles * kTileC;  // tiles of queries; sums of a column of them

// 256 (1 + f - 2^f), f in the middle of 64 parts of 0..1, a 256th of it less.
alignas(64) constexpr uint8_t kBent[64] = {
    0,  1,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 13, 14, 15, 16, 16, 17, 18, 18, 19, 19, 20, 20, 20, 21, 21, 21, 22, 22, 22,
    22, 22, 22, 22, 22, 22, 22, 21, 21, 21, 21, 20, 20, 19, 19, 18, 17, 17, 16, 15, 14, 13, 12, 11, 10, 9,  8,  7,  6,  4,  3,  1};

// Turns scores into weights: a 256th of a power of two is rounded to, which bends into the mantissa of a bfloat16. What
// is less than 2^-126 becomes zero, and what bfloat16 does not hold, infinite or not a number.
class Weigher {
 public:
  explicit Weigher(float scale) : by_(_mm512_set1_ps(scale * 1.44269504f * 256)), bent_(_mm512_load_si512(kBent)) {}

  // Rows from..to-1 of the scores of 32 keys, [2][64][16].
  __attribute__((always_inline)) void weigh(const float* scores, uint16_t* weights, int64_t from, int64_t to) const {
    for (int64_t row = from; row < to; ++row) {
      // Both halves of eight keys go side by side, as the values lie. Numbers beyond 0..65535 become these.
      const __m512i power = _mm512_packus_epi32(power_of(scores + row * 16), power_of(scores + kBlock + row * 16));
      const __m512i bend = _mm512_maskz_permutexvar_epi8(0x5555555555555555u, _mm512_srli_epi16(power, 2), bent_);
      _mm512_store_si512(weights + row * 32, _mm512_srli_epi16(_mm512_subs_epu16(power, bend), 1));
    }
    // GCC does not know that loading a tile reads memory.
    __asm__ volatile("" : : : "memory");
  }

 private:
  // 256 (score + 127) + 1, whose last bit rounds.
  __attribute__((always_inline)) __m512i power_of(const float* scores) const {
    const __m512 shifted = _mm512_fmadd_ps(_mm512_load_ps(scores), by_, _mm512_set1_ps(12582912.0f));
    return _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(0x4b400000 - 127 * 256 - 1));
  }

  const __m512 by_;
  const __m512i bent_;
};

// A step of four tiles of rows: sums += A[4] times B, which is not needed again soon. The processor does not rename tiles: one is loaded again, or stored,
// only when some time has passed since it was multiplied. So B alternates, and sums are stored in the first step of what
// comes next.
#define OSLER_ROWS(T, A, B)                \
  _tile_loadd(A, a + T * kTileValues, 64); \
  _tile_dpbf16ps(T, A, B);                 \
  meanwhile(T);

#define OSLER_STEP(B)           \
  _tile_stream_loadd(B, b, 64); \
  OSLER_ROWS(0, 6, B)           \
  OSLER_ROWS(1, 7, B)           \
  OSLER_ROWS(2, 6, B)           \
  OSLER_ROWS(3, 7, B)

#define OSLER_ZERO(T) _tile_stored(T, before + T * kTileC, 64); _tile_zero(T);
#define OSLER_LOAD(T) _tile_stored(T, before + T * kTileC, 64); _tile_loadd(T, c + T * kTileC, 64);

#define OSLER_FIRST(B, BEGIN)   \
  _tile_stream_loadd(B, b, 64); \
  BEGIN(0)                      \
  OSLER_ROWS(0, 6, B)           \
  BEGIN(1)                      \
  OSLER_ROWS(1, 7, B)           \
  BEGIN(2)                      \
  OSLER_ROWS(2, 6, B)           \
  BEGIN(3)                      \
  OSLER_ROWS(3, 7, B)

inline void store_all(float* to) {
  _tile_stored(0, to, 64); _tile_stored(1, to + kTileC, 64);
  _tile_stored(2, to + 2 * kTileC, 64); _tile_stored(3, to + 3 * kTileC, 64);
}

// Scores of all queries and 32 keys. `before`: where sums of what came before are stored. Meanwhile the scores of 32 other
// keys become weights, if there are any.
template <int64_t kSteps, bool kWeigh>
__attribute__((always_inline)) inline void score(const uint16_t* q, const uint16_t* keys, float*& before, float* to,
                                                 const Weigher& weigher, const float* scores, uint16_t* weights) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < 2 * kSteps; ++i) {
    const uint16_t *a = q + i % kSteps * kTiles * kTileValues, *b = keys + i * kTileValues;
    const auto meanwhile = [&](int64_t tile) {
      // The first ones have just been stored.
      constexpr int64_t kAll = 8 * kSteps - 4;
      const int64_t at = i * 4 + tile - 4;
      if (kWeigh && at >= 0) weigher.weigh(scores, weights, at * kWhole / kAll, (at + 1) * kWhole / kAll);
    };
    if (i % kSteps == 0) {
      if (i % 2) { OSLER_FIRST(5, OSLER_ZERO) } else { OSLER_FIRST(4, OSLER_ZERO) }
      before = to + i / kSteps * kBlock;
    } else {
      if (i % 2) { OSLER_STEP(5) } else { OSLER_STEP(4) }
    }
  }
}

// Adds the values of a chunk by their weights [units][4 tiles] to a column of the sums.
inline void gather(const uint16_t* a, const uint16_t* b, int64_t units, float*& before, float* c) {
  const auto meanwhile = [](int64_t) {};
  OSLER_FIRST(4, OSLER_LOAD)
  before = c;
  for (int64_t unit = 1; unit < units; ++unit) {
    a += kTiles * kTileValues;
    b += kTileValues;
    if (unit % 2) { OSLER_STEP(5) } else { OSLER_STEP(4) }
  }
}

// All keys; returns with all sums stored.
template <int64_t kSteps>
void pass(const AttendJob& job, const AttendRoom& room) {
  const Weigher weigher(job.a.scale);
  const int64_t units = job.padded / 32, chunk = kWholeKeys / 32;
  float* before = room.scores + 2 * kBlock;
  for (int64_t unit = 0; unit <= units; ++unit) {
    float *scores = room.scores + unit % 2 * 2 * kBlock, *last = room.scores + (unit + 1) % 2 * 2 * kBlock;
    const uint16_t* keys = room.keys + unit * 2 * kSteps * kTileValues;
    uint16_t* weights = room.weights + (unit + chunk - 1) % chunk * kTiles * kTileValues;
    if (unit == 0) {
      score<kSteps, false>(room.q, keys, before, scores, weigher, last, weights);
      continue;
    }
    if (unit < units) {
      score<kSteps, true>(room.q, keys, before, scores, weigher, last, weights);
    } else {
      store_all(before);
      weigher.weigh(last, weights, 0, kWhole);
    }
    if (unit % chunk && unit < units) continue;
    const int64_t start = (unit - 1) / chunk * chunk;
    for (int64_t column = 0; column < job.columns; ++column)
      gather(room.weights, room.values + (column * units + start) * kTileValues, unit - start, before,
             room.sums + column * kBlock);
  }
  store_all(before);
}

}  // namespace

bool attend_whole(const AttendJob& job, int64_t b, int64_t head, int64_t first, int64_t count, const AttendRoom& room) {
  const OslerAttention& a = job.a;
  // Large numbers would make scores whose sums are not a number in silence.
  __m512i most = _mm512_setzero_si512();
  std::memset(room.q, 0, job.steps * kTiles * kTileValues * 2);
  for (int64_t row = 0; row < count; ++row) {
    const uint16_t* from = row_of(a.q, a.q_stride, b, head, first + row);
    for (int64_t step = 0; step < job.steps; ++step) {
      const int64_t wanted = a.H - step * kHeadStep;
      const __mmask32 mask = wanted >= 32 ? ~__mmask32{0} : (__mmask32{1} << wanted) - 1;
      const __m512i values = _mm512_maskz_loadu_epi16(mask, from + step * kHeadStep);
      most = most_of(most, values);
      _mm512_store_si512(room.q + (step * kTiles + row / 16) * kTileValues + row % 16 * 32, values);
    }
  }
  if (exceeds(most)) return false;

  std::memset(room.sums, 0, job.columns * kBlock * 4);
  using Pass = void (*)(const AttendJob&, const AttendRoom&);
  constexpr Pass kPasses[kWholeSteps] = {pass<1>, pass<2>, pass<3>, pass<4>};
  kPasses[job.steps - 1](job, room);

  const float* totals = room.sums + a.H / 16 * kBlock + a.H % 16;
  for (int64_t row = 0; row < count; ++row)
    if (!(totals[row * 16] >= kLeastTotal && totals[row * 16] <= kMostTotal)) return false;
  for (int64_t row = 0; row < count; ++row) {
    const __m512 by = _mm512_set1_ps(1.0f / totals[row * 16]);
    auto* to = const_cast<uint16_t*>(row_of(a.out, a.out_stride, b, head, first + row));
    for (int64_t column = 0; column * 16 < a.H; ++column) {
      const auto mask = static_cast<__mmask16>((1u << std::min<int64_t>(16, a.H - column * 16)) - 1);
      const __m512 sums = _mm512_load_ps(room.sums + column * kBlock + row * 16);
      _mm256_mask_storeu_epi16(to + column * 16, mask, (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(sums, by)));
    }
  }
  return true;
}

}  // namespace osler
