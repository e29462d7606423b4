// Attention by tiles of bfloat16: some queries of a head pass over its keys a chunk at a time, and keep the greatest score and
// the sum of their weights so far (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135).
//
// Keys and values of a head are turned into tiles once. A chunk of them stays in the second-level cache while several
// parts of the queries pass over it, each with its scores in the first-level cache. Weights of the keys are rounded to
// bfloat16, as the values are; scores and sums are float32. Where queries see all keys, most need no maximum: see
// `attend_whole.cpp`.
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "attend_job.h"
#include "kernels.h"
#include "turn.h"
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace osler {
namespace {

constexpr int64_t kQueries = 32, kChunk = 256, kAtOnce = 256;
// Rows of scores and weights end 64 bytes further than they need to, so that they do not share places in the cache.
constexpr int64_t kScores = kChunk + 16, kWeights = kChunk + 32;
constexpr int64_t kAhead = 32;  // rows that are fetched before they are turned

// The score of a key that a query does not see. What sees none of a chunk has this for its greatest, and no weights.
constexpr float kHidden = -3e38f;

// Of the least error of 2^r relative to itself, for r from -0.5 to 0.5.
constexpr float kCubic[4] = {0.999928074f, 0.693260986f, 0.242611122f, 0.0551716672f};

// q: (kAtOnce, kMostHead), weights: (kQueries, kWeights), scores: (kQueries, kScores), sums: [kAtOnce / 16][tiles][16][16].
struct Room : AttendRoom {
  float* total;  // (kAtOnce, 16)
  float most[kAtOnce];
  int64_t first[kAtOnce], last[kAtOnce];  // keys first..last-1 that a query sees
};

using Job = AttendJob;

// Pairs of tiles of the results of a head.
inline int64_t tiles_of(const Job& job) { return job.steps * 2; }

// Places of keys from..to-1, from a multiple of a chunk on.
struct Keys {
  int64_t from, to;
};

// The keys that any of the queries l0..l1-1 sees.
Keys seen_by(const OslerAttention& a, int64_t b, int64_t l0, int64_t l1) {
  if (!a.first) return {0, a.S};
  Keys seen = {a.S, 0};
  for (int64_t l = l0; l < l1; ++l) {
    if (a.first[b * a.L + l] >= a.last[b * a.L + l]) continue;
    seen.from = std::min<int64_t>(seen.from, a.first[b * a.L + l]);
    seen.to = std::max<int64_t>(seen.to, a.last[b * a.L + l]);
  }
  return {seen.from / kChunk * kChunk, seen.to};
}

// Fetches rows of a head, which lie a row of all heads apart.
inline void fetch(const uint16_t* from, int64_t stride, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t at = 0; at < width; at += 32)
      _mm_prefetch(reinterpret_cast<const char*>(from + row * stride + at), _MM_HINT_T0);
}

// Turns keys of one head into tiles. Those that no query sees are zeros.
void turn_keys(const Job& job, int64_t b, int64_t head, const Keys& wanted, Room& room) {
  const OslerAttention& a = job.a;
  const int64_t count = wanted.to - wanted.from, stride = a.k_stride[2];
  const uint16_t* keys = row_of(a.k, a.k_stride, b, head, wanted.from);
  __m512i most = _mm512_setzero_si512();
  uint16_t* to = room.keys;
  for (int64_t s = 0; s < (count + 31) / 32 * 32; s += 16) {
    if (s + 32 + kAhead <= count) fetch(keys + (s + kAhead) * stride, stride, 16, a.H);
    for (int64_t step = 0; step < job.steps; ++step, to += kTileValues) {
      turn_tile(keys + std::min(s, count - 1) * stride + step * kHeadStep, stride, count - s, a.H - step * kHeadStep, to);
      for (int64_t row = 0; row < kTileValues; row += 32) most = most_of(most, _mm512_load_si512(to + row));
    }
  }
  room.moderate = !exceeds(most);
}

// Places 8n..8n+7 of 32 keys hold keys 4n..4n+3 and 16+4n..16+4n+3: where a row of the first half of the keys and one of
// the others land when they are packed.
inline int64_t place_of(int64_t key) { return key % 16 / 4 * 8 + key / 16 * 4 + key % 4; }

// Turns values of one head into tiles. After those of a key stands a one, so that sums count the weights.
void turn_values(const Job& job, int64_t b, int64_t head, const Keys& wanted, Room& room) {
  const OslerAttention& a = job.a;
  const int64_t count = wanted.to - wanted.from, stride = a.v_stride[2];
  const uint16_t* values = row_of(a.v, a.v_stride, b, head, wanted.from);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  __m512i most = _mm512_setzero_si512();
  for (int64_t s = 0; s < (count + 31) / 32 * 32; s += 2) {
    if (s + 2 + kAhead <= count) fetch(values + (s + kAhead) * stride, stride, 2, a.H);
    const int64_t here = std::max<int64_t>(0, std::min<int64_t>(2, count - s));
    uint16_t* to = room.values + s / 32 * kTileValues + place_of(s % 32) * 16;
    for (int64_t column = 0; column < job.columns; ++column, to += job.padded * 16) {
      const int64_t wide = std::min<int64_t>(16, a.H - column * 16);
      const auto mask = static_cast<__mmask16>((1u << wide) - 1);
      const uint16_t* row = values + s * stride + column * 16;
      const __m256i one = here > 0 ? _mm256_maskz_loadu_epi16(mask, row) : _mm256_setzero_si256();
      const __m256i other = here > 1 ? _mm256_maskz_loadu_epi16(mask, row + stride) : _mm256_setzero_si256();
      __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(one), other, 1);
      most = most_of(most, both);
      if (wide < 16) {
        const __mmask32 ones = (here > 0 ? __mmask32{1} << wide : 0) | (here > 1 ? __mmask32{1} << (16 + wide) : 0);
        both = _mm512_mask_set1_epi16(both, ones, 0x3f80);
      }
      _mm512_store_si512(to, _mm512_permutexvar_epi16(order, both));
    }
  }
  const bool some = _mm512_test_epi16_mask(most, most), large = _mm512_cmpge_epu16_mask(most, _mm512_set1_epi16(kLeast));
  room.moderate = room.moderate && !exceeds(most) && (large || !some);
}

// Scores of the queries l0..l0+31 and the keys s0..s0+count-1 of those that are turned.
void score(const Job& job, const Room& room, int64_t l0, int64_t s0, int64_t count) {
  const uint16_t* q = room.q + l0 * kMostHead;
  for (int64_t s = 0; s < count; s += 32) {
    const uint16_t* keys = room.keys + (s0 + s) / 16 * job.steps * kTileValues;
    multiply_bf16({q, q + 16 * kMostHead, kHeadStep, kMostHead}, keys, keys + job.steps * kTileValues, job.steps,
                  {room.scores + s, 16, 16 * kScores, kScores}, true);
  }
}

// Takes keys that a query does not see out of a chunk of `count` scores, from key s0 on.
void hide(Room& room, int64_t l0, int64_t s0, int64_t count) {
  for (int64_t row = 0; row < kQueries; ++row) {
    float* scores = room.scores + row * kScores;
    const int64_t from = std::min(count, std::max<int64_t>(0, room.first[l0 + row] - s0));
    const int64_t to = std::min(count, std::max(from, room.last[l0 + row] - s0));
    std::fill(scores, scores + from, kHidden);
    std::fill(scores + to, scores + count, kHidden);
  }
}

// 2 to the power of t, to 1e-4 of itself; what is below 2^-125 becomes that.
inline __m512 power_of_two(__m512 t) {
  // In this order a NaN stays one. The whole part lands in the lowest bits of a large float, and from there in the
  // exponent of the result.
  const __m512 whole = _mm512_set1_ps(12582912.0f);
  t = _mm512_max_ps(_mm512_set1_ps(-125.0f), t);
  const __m512 shifted = _mm512_add_ps(t, whole);
  const __m512 r = _mm512_sub_ps(t, _mm512_sub_ps(shifted, whole));
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(kCubic[3]), r, _mm512_set1_ps(kCubic[2]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kCubic[1]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kCubic[0]));
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

// Greatest scores of a chunk; what was summed so far is scaled to the new ones. `factor`: of scores, to base 2.
void find_most(const Job& job, Room& room, int64_t l0, int64_t count, float factor) {
  const int64_t whole = count / 16 * 16;
  const __mmask16 rest = static_cast<__mmask16>((1u << (count - whole)) - 1);
  for (int64_t row = 0; row < kQueries; ++row) {
    const float* scores = room.scores + row * kScores;
    __m512 most[4];
    for (auto& part : most) part = _mm512_set1_ps(kHidden);
    int64_t s = 0;
    for (; s + 64 <= whole; s += 64)
      for (int i = 0; i < 4; ++i) most[i] = _mm512_max_ps(_mm512_loadu_ps(scores + s + i * 16), most[i]);
    for (; s < whole; s += 16) most[0] = _mm512_max_ps(_mm512_loadu_ps(scores + s), most[0]);
    if (rest) most[0] = _mm512_mask_max_ps(most[0], rest, _mm512_loadu_ps(scores + whole), most[0]);
    const __m512 all = _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
    const float before = room.most[l0 + row], now = std::max(kHidden, _mm512_reduce_max_ps(all) * factor);
    if (!(now > before)) continue;
    room.most[l0 + row] = now;
    const __m512 keep = power_of_two(_mm512_set1_ps(before - now));
    float *sums = room.sums + (l0 + row) / 16 * tiles_of(job) * kTileC + row % 16 * 16, *total = room.total + (l0 + row) * 16;
    for (int64_t tile = 0; tile < tiles_of(job); ++tile, sums += kTileC)
      _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), keep));
    _mm512_store_ps(total, _mm512_mul_ps(_mm512_load_ps(total), keep));
  }
}

// As bfloat16, in the order of the values, see `place_of`.
inline __m512i packed(__m512 one, __m512 other) {
  const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
  return _mm512_permutexvar_epi64(order, (__m512i)_mm512_cvtne2ps_pbh(other, one));
}

// Scores become weights, whose sums are kept in 16 parts.
void weigh(Room& room, int64_t l0, int64_t count, float factor) {
  const __m512 by = _mm512_set1_ps(factor);
  for (int64_t row = 0; row < kQueries; ++row) {
    const float* scores = room.scores + row * kScores;
    uint16_t* weights = room.weights + row * kWeights;
    const __m512 less = _mm512_set1_ps(room.most[l0 + row]);
    float* kept = room.total + (l0 + row) * 16;
    __m512 total = _mm512_load_ps(kept);
    int64_t s = 0;
    for (; s + 32 <= count; s += 32) {
      const __m512 one = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + s), by, less));
      const __m512 other = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + s + 16), by, less));
      total = _mm512_add_ps(total, _mm512_add_ps(one, other));
      _mm512_storeu_si512(weights + s, packed(one, other));
    }
    if (s < count) {
      const uint32_t wanted = (1u << (count - s)) - 1;
      const auto low = static_cast<__mmask16>(wanted), high = static_cast<__mmask16>(wanted >> 16);
      const __m512 one = _mm512_maskz_mov_ps(low, power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + s), by, less)));
      const __m512 other =
          _mm512_maskz_mov_ps(high, power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + s + 16), by, less)));
      total = _mm512_add_ps(total, _mm512_add_ps(one, other));
      _mm512_storeu_si512(weights + s, packed(one, other));
    }
    _mm512_store_ps(kept, total);
  }
}

// Adds the values of a chunk by their weights.
void gather(const Job& job, const Room& room, int64_t l0, int64_t s0, int64_t count) {
  const int64_t steps = (count + 31) / 32, row = kWeights * 2, column = job.padded / 32 * kTileValues;
  const int64_t tiles = tiles_of(job);
  const uint16_t *w0 = room.weights, *w1 = w0 + 16 * kWeights;
  for (int64_t tile = 0; tile * 16 < job.a.H; tile += 2) {
    const uint16_t *b0 = room.values + tile * column + s0 / 32 * kTileValues, *b1 = b0 + column;
    float *c0 = room.sums + (l0 / 16 * tiles + tile) * kTileC, *c1 = c0 + tiles * kTileC;
    const bool pair = (tile + 1) * 16 < job.a.H;
    _tile_loadd(0, c0, 64); _tile_loadd(2, c1, 64);
    if (pair) { _tile_loadd(1, c0 + kTileC, 64); _tile_loadd(3, c1 + kTileC, 64); }
    for (int64_t step = 0; step < steps; ++step) {
      _tile_loadd(4, w0 + step * kHeadStep, row);
      _tile_loadd(6, b0 + step * kTileValues, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, w1 + step * kHeadStep, row);
      _tile_dpbf16ps(2, 5, 6);
      if (!pair) continue;
      _tile_loadd(7, b1 + step * kTileValues, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c0, 64); _tile_stored(2, c1, 64);
    if (pair) { _tile_stored(1, c0 + kTileC, 64); _tile_stored(3, c1 + kTileC, 64); }
  }
}

// Of queries first..first+count-1 of a head.
void attend_queries(const Job& job, int64_t b, int64_t head, int64_t first, int64_t count, const Keys& turned, Room& room) {
  const OslerAttention& a = job.a;
  for (int64_t row = 0; row < (count + kQueries - 1) / kQueries * kQueries; ++row) {
    uint16_t* to = room.q + row * kMostHead;
    const int64_t l = first + row, at = b * a.L + l;
    if (row < count) std::memcpy(to, row_of(a.q, a.q_stride, b, head, l), a.H * 2);
    const int64_t filled = row < count ? a.H : 0;
    std::memset(to + filled, 0, (job.steps * kHeadStep - filled) * 2);
    room.first[row] = row < count && a.first ? a.first[at] : 0;
    room.last[row] = row >= count ? 0 : a.first ? a.last[at] : a.S;
  }
  std::memset(room.sums, 0, kAtOnce / 16 * tiles_of(job) * kTileC * 4);
  std::fill(room.most, room.most + kAtOnce, kHidden);
  std::memset(room.total, 0, kAtOnce * 16 * 4);
  const float factor = a.scale * 1.44269504f;
  for (int64_t s0 = turned.from; s0 < turned.to; s0 += kChunk) {
    for (int64_t l0 = 0; l0 < count; l0 += kQueries) {
      const Keys seen = seen_by(a, b, first + l0, first + std::min(count, l0 + kQueries));
      const int64_t here = std::min(kChunk, seen.to - s0);
      if (here <= 0 || s0 < seen.from) continue;
      score(job, room, l0, s0 - turned.from, (here + 31) / 32 * 32);
      if (a.first) hide(room, l0, s0, here);
      find_most(job, room, l0, here, factor);
      weigh(room, l0, here, factor);
      gather(job, room, l0, s0 - turned.from, here);
    }
  }
  for (int64_t row = 0; row < count; ++row) {
    const float total = _mm512_reduce_add_ps(_mm512_load_ps(room.total + row * 16));
    // What sees no key gets zeros.
    const __m512 by = _mm512_set1_ps(room.first[row] < room.last[row] ? 1.0f / total : 0.0f);
    auto* to = const_cast<uint16_t*>(row_of(a.out, a.out_stride, b, head, first + row));
    for (int64_t tile = 0; tile * 16 < a.H; ++tile) {
      const int64_t wide = std::min<int64_t>(16, a.H - tile * 16);
      const float* sums = room.sums + (row / 16 * tiles_of(job) + tile) * kTileC + row % 16 * 16;
      _mm256_mask_storeu_epi16(to + tile * 16, static_cast<__mmask16>((1u << wide) - 1),
                               (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_load_ps(sums), by)));
    }
  }
}

// The same without a running maximum for all that can do without.
void attend_part(const Job& job, int64_t b, int64_t head, int64_t first, int64_t count, const Keys& turned, Room& room) {
  if (!room.moderate || job.a.first || job.steps > kWholeSteps) return attend_queries(job, b, head, first, count, turned, room);
  for (int64_t l = first; l < first + count; l += kWhole) {
    const int64_t some = std::min(kWhole, first + count - l);
    if (!attend_whole(job, b, head, l, some, room)) attend_queries(job, b, head, l, some, turned, room);
  }
}

// All heads that share keys, for one part of the queries.
void attend_item(const Job& job, int64_t item, Keys& turned, int64_t& turned_head, Room& room) {
  const OslerAttention& a = job.a;
  const int64_t head = item / job.parts, share = item % job.parts, b = head / a.key_heads, key = head % a.key_heads;
  const int64_t blocks = (a.L + kAtOnce - 1) / kAtOnce, group = a.heads / a.key_heads;
  const int64_t l0 = blocks * share / job.parts * kAtOnce, l1 = std::min(a.L, blocks * (share + 1) / job.parts * kAtOnce);
  const Keys seen = seen_by(a, b, l0, l1);
  if (seen.from < seen.to && (head != turned_head || seen.from != turned.from || seen.to != turned.to)) {
    turn_keys(job, b, key, seen, room);
    turn_values(job, b, key, seen, room);
  }
  turned = seen;
  turned_head = head;
  for (int64_t l = l0; l < l1; l += kAtOnce)
    for (int64_t member = 0; member < group; ++member)
      attend_part(job, b, key * group + member, l, std::min(kAtOnce, l1 - l), seen, room);
}

// A room of some megabytes in huge pages where the system has them: else faults of small ones take as long as turning.
void* allocate(int64_t bytes) {
  constexpr int64_t kHuge = 1 << 21;
  if (bytes < kHuge / 2) return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  bytes = (bytes + kHuge - 1) / kHuge * kHuge;
  void* room = std::aligned_alloc(kHuge, bytes);
#ifdef __linux__
  if (room) madvise(room, bytes, MADV_HUGEPAGE);
#endif
  return room;
}

void attend_items(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  const OslerAttention& a = job.a;
  const int64_t keys = job.padded * job.steps * kHeadStep, values = job.padded * job.columns * 16;
  const int64_t q = kAtOnce * kMostHead, weights = std::max(kQueries * kWeights, kWholeWeights);
  const int64_t scores = std::max(kQueries * kScores, kWholeScores), sums = kAtOnce / 16 * (tiles_of(job) + 1) * kTileC;
  const int64_t halves = keys + values + q + weights, floats = scores + sums + kAtOnce * 16;
  auto* all = static_cast<uint16_t*>(allocate(halves * 2 + floats * 4));
  if (!all) {
    job.failed = true;
    return;
  }
  Room room = {};
  room.keys = all;
  room.values = room.keys + keys;
  room.q = room.values + values;
  room.weights = room.q + q;
  room.scores = reinterpret_cast<float*>(room.weights + weights);
  room.sums = room.scores + scores;
  room.total = room.sums + sums;
  const int64_t items = a.B * a.key_heads * job.parts;
  Keys turned = {};
  int64_t turned_head = -1;
  configure_tiles();
  for (int64_t item = job.next++; item < items; item = job.next++) attend_item(job, item, turned, turned_head, room);
  _tile_release();
  std::free(all);
}

}  // namespace

bool tile_attend(const OslerAttention& a, int threads) {
  Job job = {a, (a.H + 31) / 32, a.H / 16 + 1, (a.S + 31) / 32 * 32, 1};
  // Small enough that nobody waits for long at the end; turning a head once more costs a few percent of a part.
  while (threads > 1 && a.B * a.key_heads * job.parts < 16 * threads && job.parts * kAtOnce * 2 < a.L) ++job.parts;
  parallel(threads, attend_items, &job);
  return !job.failed;
}

}  // namespace osler
