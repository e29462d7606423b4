// Products of many rows in int8: lays rows out in tiles of int8, large inputs in several parts.
//
// A row's step over a span is its largest input over 127, where an input of n places counts an n-th. Places go, one after
// another, to the input that is largest for those it has.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "many_rows.h"
#include "vectors.h"

namespace osler {
namespace {

// Rows among which large inputs are looked for, at least: what is large in one is so in nearly all.
constexpr int64_t kLooked = 64;
// Blocks of weights of which it is asked what rounding adds.
constexpr int64_t kLookedBlocks = 8;
// Inputs from which on large ones are looked for: fewer are a span that is short enough.
constexpr int64_t kMeasured = 4 * kInputs;

struct Job {
  const OslerWeight& w;
  const void* x;
  int dtype;
  int64_t M;
  Rows layout;
  int8_t* tiles;        // what `layout` names
  float* x_scale;
  int32_t* x_sum;
  float* sizes;         // (M): 1 / largest input of a row, squared; (K): how large an input is among those of rows
  const int32_t* again;      // [spans][kMostAgain]: the input that has a further place, ascending
  const int32_t* before;     // [spans][kMostAgain]: 127 for each place that the input has before this one
  const float* portion;      // [spans][kMostAgain]: 1 / places of the input
  const uint16_t* ordinary;  // [steps * 4]: a bit for each input that is there and has one place
  int64_t looked;       // every how many rows large inputs are looked for
  float* errors;        // (M): of these rows, what rounding adds, relative to the row, squared
};

// The first row from one on that is looked at: every `looked`-th, and not the first of many, which is seldom like others.
inline int64_t looked_from(const Job& job, int64_t from) {
  const int64_t first = job.looked / 2;
  return from <= first ? first : first + (from - first + job.looked - 1) / job.looked * job.looked;
}

template <int kType>
inline __m512 load_input(const void* x, int64_t at, __mmask16 mask) {
  if (kType == kFloat32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + at);
  return from_bf16(_mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at));
}

inline __m512i size_bits(__m512 x) {
  // As whole numbers, the bits of sizes have the order of the sizes, and infinities and NaN come last.
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

// The factors by which rows count when large inputs are looked for: none where they hold what is not finite.
template <int kType>
void measure_rows(const Job& job, int64_t from, int64_t to) {
  const int64_t K = job.w.columns;
  for (int64_t m = looked_from(job, from); m < to; m += job.looked) {
    __m512i most_bits = _mm512_setzero_si512();
    __m512 squares = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += 16) {
      const __m512 x = load_input<kType>(job.x, m * K + k, first_lanes(K - k));
      most_bits = _mm512_max_epi32(most_bits, size_bits(x));
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    const int32_t bits = _mm512_reduce_max_epi32(most_bits);
    job.errors[m] = _mm512_reduce_add_ps(squares);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    job.sizes[m] = bits < 0x7f800000 && most > 1e-15f ? 1.0f / most / most : 0.0f;
  }
}

// Inputs in parts of columns, fourth powers summed over the rows in order: the same for any number of threads. (The
// largest alone would follow single rows, squares would hardly see them: either leaves larger steps.)
template <int kType>
void measure_inputs(const Job& job, int64_t from, int64_t to) {
  const int64_t K = job.w.columns;
  float* sums = job.sizes + job.M;
  std::fill(sums + from, sums + std::min(to, K), 0.0f);
  for (int64_t m = looked_from(job, 0); m < job.M; m += job.looked) {
    if (job.sizes[m] == 0.0f) continue;
    const __m512 factor = _mm512_set1_ps(job.sizes[m]);
    for (int64_t k = from; k < to; k += 16) {
      const __mmask16 mask = first_lanes(K - k);
      const __m512 x = load_input<kType>(job.x, m * K + k, mask), sum = _mm512_maskz_loadu_ps(mask, sums + k);
      const __m512 square = _mm512_mul_ps(_mm512_mul_ps(x, x), factor);
      _mm512_mask_storeu_ps(sums + k, mask, _mm512_fmadd_ps(square, square, sum));
    }
  }
}

// The bits of the largest size among inputs that count.
template <int kType>
int32_t most_bits(const void* x, int64_t at, const uint16_t* ordinary, int64_t steps, int64_t next) {
  __m512i most = _mm512_setzero_si512();
  if (kType == kFloat32) {
    for (int64_t i = 0; i < steps * 4; ++i)
      most = _mm512_max_epi32(most, size_bits(load_input<kType>(x, at + i * 16, ordinary[i])));
    return _mm512_reduce_max_epi32(most);
  }
  for (int64_t i = 0; i < steps * 2; ++i) {
    const __mmask32 mask = ordinary[i * 2] | static_cast<__mmask32>(ordinary[i * 2 + 1]) << 16;
    _mm_prefetch(static_cast<const char*>(x) + (at + i * 32 + next) * 2, _MM_HINT_T0);
    const __m512i half = _mm512_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at + i * 32);
    most = _mm512_max_epu16(most, _mm512_and_si512(half, _mm512_set1_epi16(0x7fff)));
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_slli_epi32(most, 16),
                                                  _mm512_and_si512(most, _mm512_set1_epi32(0x7fff0000))));
}

// 64 numbers as a line of a tile; they saturate at -128 and 127.
inline __m512i line_of(const __m512i code[4]) {
  // Packing works in each quarter of a vector by itself.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const __m512i low = _mm512_packs_epi32(code[0], code[1]), high = _mm512_packs_epi32(code[2], code[3]);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
}

inline __m512i clamp(__m512i x, __m512i most) {
  return _mm512_max_epi32(_mm512_min_epi32(x, most), _mm512_sub_epi32(_mm512_setzero_si512(), most));
}

// The inputs of 16 rows over a span.
struct Part {
  int64_t m0, count;         // the first row, and how many are there: the others become zeros
  int64_t span;
};

// Reads the inputs of a row that have further places.
template <int kType>
void read_again(const void* x, int64_t at, const int32_t* again, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i)
    to[i] = kType == kFloat32 ? static_cast<const float*>(x)[at + again[i]]
                              : bf16_to_float(static_cast<const uint16_t*>(x)[at + again[i]]);
}

// The bits of the largest part of a row's inputs over a span; reads those with further places into `large`.
template <int kType>
int32_t largest_part(const Job& job, int64_t m, int64_t span, float* large) {
  const Rows& layout = job.layout;
  const int64_t x_at = m * job.w.columns, first = span * layout.depth;
  const int64_t places = span * kMostAgain, further = layout.extra * kInputs;
  const int32_t bits = most_bits<kType>(job.x, x_at + first * kInputs, job.ordinary + first * 4, layout.span_steps(span),
                                        job.w.columns);
  read_again<kType>(job.x, x_at, job.again + places, further, large);
  __m512i most_large = _mm512_setzero_si512();
  for (int64_t i = 0; i < further; i += 16) {
    const __m512 portion = _mm512_loadu_ps(job.portion + places + i);
    most_large = _mm512_max_epi32(most_large, size_bits(_mm512_mul_ps(_mm512_load_ps(large + i), portion)));
  }
  return std::max(bits, _mm512_reduce_max_epi32(most_large));
}

// What rounding adds to rows, where `errors` holds their squares: a twelfth of a step's square to each input.
template <int kType>
void measure_errors(const Job& job, int64_t from, int64_t to) {
  const Rows& layout = job.layout;
  alignas(64) float large[kMostAgain];
  for (int64_t m = looked_from(job, from); m < to; m += job.looked) {
    if (job.sizes[m] == 0.0f) continue;
    float added = 0.0f;
    for (int64_t span = 0; span < layout.spans; ++span) {
      const int32_t bits = largest_part<kType>(job, m, span, large);
      float most;
      std::memcpy(&most, &bits, sizeof most);
      const int64_t k0 = span * layout.depth * kInputs;
      const int64_t inputs = std::min(job.w.columns - k0, layout.span_steps(span) * kInputs);
      added += static_cast<float>(inputs) * (most / 127.0f) * (most / 127.0f) / 12.0f;
    }
    job.errors[m] = std::isfinite(job.errors[m]) ? added / job.errors[m] : std::numeric_limits<float>::infinity();
  }
}

// Inputs of 16 rows over a span to tiles: first the scales of all rows, then tile after tile, whose lines lie side by side.
template <int kType>
void quantize_part(const Job& job, const Part& part) {
  const Rows& layout = job.layout;
  const int64_t K = job.w.columns, span = part.span, steps = layout.span_steps(span), first = span * layout.depth;
  const int64_t k0 = first * kInputs, places = span * kMostAgain, further = layout.extra * kInputs;
  const int64_t at = span * layout.pairs * kSide + part.m0;
  alignas(64) __m512i sum[16] = {};
  alignas(64) float large[16][kMostAgain];
  float inverse[16] = {};
  uint16_t kept[16] = {};  // no input of rows that are not there, or not finite
  for (int64_t row = 0; row < part.count; ++row) {
    const int32_t bits = largest_part<kType>(job, part.m0 + row, span, large[row]);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    const bool finite = bits < 0x7f800000;
    // Below this the inverse would overflow; such inputs are zero for all that follows.
    inverse[row] = finite && most > 1e-30f ? 127.0f / most : 0.0f;
    kept[row] = finite ? 0xffff : 0;
    // What depends on inputs that are not finite becomes NaN, as it would in floating point.
    job.x_scale[at + row] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  }
  std::fill(job.x_scale + at + part.count, job.x_scale + at + 16, 0.0f);
  int8_t* to = job.tiles + (part.m0 / 16 * layout.row_tiles() + layout.first_tile(span)) * kTile;
  const auto put = [&](int64_t row, __m512i line) {
    sum[row] = _mm512_dpbusd_epi32(sum[row], _mm512_set1_epi8(1), line);
    _mm512_store_si512(to, line);
    to += 64;
  };
  for (int64_t k = k0; k < k0 + steps * kInputs; k += kInputs) {
    __mmask16 there[4];
    for (int64_t j = 0; j < 4; ++j) there[j] = first_lanes(K - k - j * 16);
    for (int64_t row = 0; row < 16; ++row) {
      const int64_t x_at = (part.m0 + row) * K + k;
      const __m512 factor = _mm512_set1_ps(inverse[row]);
      __m512i code[4];
      for (int64_t j = 0; j < 4; ++j) {
        const __m512 value = load_input<kType>(job.x, x_at + j * 16, there[j] & kept[row]);
        code[j] = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
      }
      put(row, _mm512_max_epi8(line_of(code), _mm512_set1_epi8(-127)));
    }
  }
  for (int64_t i = 0; i < further; i += kInputs) {
    for (int64_t row = 0; row < 16; ++row) {
      const __m512 factor = _mm512_set1_ps(inverse[row]);
      __m512i code[4];
      for (int64_t j = 0; j < 4; ++j) {
        const __m512i before = _mm512_loadu_si512(job.before + places + i + j * 16);
        const __m512 value = _mm512_maskz_loadu_ps(kept[row], large[row] + i + j * 16);
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
        const __m512i with = clamp(whole, _mm512_add_epi32(before, _mm512_set1_epi32(127)));
        code[j] = _mm512_sub_epi32(with, clamp(whole, before));
      }
      put(row, line_of(code));
    }
  }
  for (int64_t row = 0; row < 16; ++row) job.x_sum[at + row] = _mm512_reduce_add_epi32(sum[row]);
}

// Quantizes 16 rows, into tiles.
template <int kType>
void quantize_rows(const Job& job, int64_t m0) {
  const int64_t count = std::max<int64_t>(0, std::min<int64_t>(16, job.M - m0));
  for (int64_t span = 0; span < job.layout.spans; ++span) quantize_part<kType>(job, {m0, count, span});
}

void measure_rows_part(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t from = job.M * part / parts, to = job.M * (part + 1) / parts;
  if (job.dtype == kFloat32) measure_rows<kFloat32>(job, from, to);
  else measure_rows<kBFloat16>(job, from, to);
}

void measure_inputs_part(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t units = (job.w.columns + 15) / 16;
  const int64_t from = units * part / parts * 16, to = units * (part + 1) / parts * 16;
  if (job.dtype == kFloat32) measure_inputs<kFloat32>(job, from, to);
  else measure_inputs<kBFloat16>(job, from, to);
}

void measure_errors_part(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t from = job.M * part / parts, to = job.M * (part + 1) / parts;
  if (job.dtype == kFloat32) measure_errors<kFloat32>(job, from, to);
  else measure_errors<kBFloat16>(job, from, to);
}

// The mean over rows of what rounding adds to them, relative to each, as a square.
float mean_error(const Job& job) {
  float sum = 0.0f;
  int64_t count = 0;
  for (int64_t m = looked_from(job, 0); m < job.M; m += job.looked) {
    if (job.sizes[m] == 0.0f) continue;
    sum += job.errors[m];
    ++count;
  }
  return count ? sum / static_cast<float>(count) : 0.0f;
}

// How many tiles of further places a span needs, so that no input is much larger than most for those that it has. (Among
// ordinary ones, a row's largest is three to four times as large as most.)
int64_t tiles_for(const float* sizes, int64_t count, float* room) {
  std::copy(sizes, sizes + count, room);
  std::nth_element(room, room + count / 2, room + count);
  const float bound = std::max(5.0f * room[count / 2], 1e-6f);
  int64_t needed = 0;
  for (int64_t k = 0; k < count; ++k) needed += static_cast<int64_t>(std::min(1e4f, sizes[k] / bound));
  return std::clamp<int64_t>((needed + kInputs - 1) / kInputs, 1, kMostExtra);
}

// The further places of a span.
struct Places {
  int64_t number;            // at most kMostAgain
  int32_t *again, *before;   // see `Job`
  float* portion;
  uint16_t* ordinary;        // of all inputs
};

// Gives the places of a span of inputs away.
void give_places(const float* sizes, int64_t k0, int64_t k1, uint64_t* keys, const Places& places) {
  // Sizes are not negative, so that their bits have their order; of equal ones the first counts as larger.
  for (int64_t k = k0; k < k1; ++k) {
    uint32_t bits;
    std::memcpy(&bits, sizes + k, sizeof bits);
    keys[k] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(~k);
  }
  // Before a smaller input has its turn, all places are given away.
  const int64_t wanted = std::min(places.number, k1 - k0);
  std::partial_sort(keys + k0, keys + k0 + wanted, keys + k1, std::greater<uint64_t>());
  int32_t input[kMostAgain];
  float now[kMostAgain];
  int count[kMostAgain];
  for (int64_t i = 0; i < wanted; ++i) {
    input[i] = static_cast<int32_t>(~static_cast<uint32_t>(keys[k0 + i]));
    now[i] = sizes[input[i]];
    count[i] = 1;
  }
  for (int64_t i = 0; i < places.number; ++i) {
    const int64_t most = std::max_element(now, now + wanted) - now;
    now[most] = sizes[input[most]] / static_cast<float>(++count[most]);
  }
  std::pair<int32_t, int> order[kMostAgain];
  for (int64_t i = 0; i < wanted; ++i) order[i] = {input[i], count[i]};
  std::sort(order, order + wanted);
  int64_t at = 0;
  for (int64_t i = 0; i < wanted; ++i) {
    const auto [k, number] = order[i];
    for (int place = 1; place < number; ++place, ++at) {
      places.again[at] = k;
      places.before[at] = 127 * place;
      places.portion[at] = 1.0f / static_cast<float>(number);
    }
    if (number > 1) places.ordinary[k / 16] = static_cast<uint16_t>(places.ordinary[k / 16] & ~(1u << k % 16));
  }
}

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t tiles = job.layout.pairs * 2;
  for (int64_t tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
    if (job.dtype == kFloat32) quantize_rows<kFloat32>(job, tile * 16);
    else quantize_rows<kBFloat16>(job, tile * 16);
  }
}

// The mean over some outputs of what one scale for all inputs adds to weights of 8 bits, relative to each, as a square.
// (A product has one for each span: where there are several, less is added.)
float weights_error(const OslerWeight& w) {
  const int64_t blocks = (w.rows + kBlock - 1) / kBlock, groups = scale_groups(w);
  const int64_t looked = std::min(blocks, kLookedBlocks);
  float sum = 0.0f;
  int count = 0;
  for (int64_t i = 0; i < looked; ++i) {
    const int64_t block = blocks * i / looked;
    const uint8_t* codes = w.codes + block * block_bytes(w);
    __m512 most = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      __m512i counted = _mm512_setzero_si512();
      const int64_t inputs = std::min<int64_t>(w.group, w.padded - group * w.group);
      for (int64_t k = 0; k < inputs; k += 4, codes += kBlock * 4) {
        const __m512i code = _mm512_xor_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(static_cast<char>(128)));
        const __m512i size = _mm512_min_epu8(_mm512_abs_epi8(code), _mm512_set1_epi8(127));
        counted = _mm512_dpbusd_epi32(counted, size, size);
      }
      const __m512 scale = _mm512_abs_ps(load_half(w.scale + (block * groups + group) * kBlock));
      most = _mm512_max_ps(most, scale);
      squares = _mm512_fmadd_ps(_mm512_mul_ps(scale, scale), _mm512_cvtepi32_ps(counted), squares);
    }
    const __m512 twelfth = _mm512_set1_ps(static_cast<float>(w.columns) / 12.0f);
    const __m512 added = _mm512_mul_ps(_mm512_mul_ps(most, most), twelfth);
    // Outputs that are not there, and zeros, are left out.
    const __mmask16 there = _mm512_cmp_ps_mask(squares, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    sum += _mm512_reduce_add_ps(_mm512_maskz_div_ps(there, added, squares));
    count += __builtin_popcount(there);
  }
  return count ? sum / static_cast<float>(count) : 0.0f;
}

// Whether rounding moves the rows and the weights little enough. What is not a number does not fit.
bool fits_limit(Job& job, float most_error, int threads) {
  parallel(threads, measure_errors_part, &job);
  const float most = most_error * most_error, activations = mean_error(job);
  return activations <= most && activations + weights_error(job.w) <= most;
}

}  // namespace

Outcome int8_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, bool gated, void* out, int threads,
                    MultiplyRows multiply, float most_error) {
  const int64_t K = w.columns, steps = (w.padded + kInputs - 1) / kInputs;
  const bool limited = most_error < kAnyError;
  if (limited && (w.offset || K < kMeasured)) return Outcome::kTooCoarse;
  Rows rows = rows_of(M, steps, kMostInt8, kInputs);
  const int64_t filled = rows.pairs * kSide, codes = filled * (steps + rows.spans * kMostExtra) * kInputs;
  const int64_t scales = filled * rows.spans, places = rows.spans * kMostAgain;
  const int64_t bytes = codes + K * 8 + scales * 8 + (2 * M + K + 16) * 4 + places * 12 + steps * 8;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (!memory) return Outcome::kNoMemory;
  auto* keys = reinterpret_cast<uint64_t*>(memory + codes);
  auto* x_scale = reinterpret_cast<float*>(keys + K);
  auto* x_sum = reinterpret_cast<int32_t*>(x_scale + scales);
  auto* sizes = reinterpret_cast<float*>(x_sum + scales);
  auto* again = reinterpret_cast<int32_t*>(sizes + 2 * M + K + 16);
  auto* before = again + places;
  auto* portion = reinterpret_cast<float*>(before + places);
  auto* ordinary = reinterpret_cast<uint16_t*>(portion + places);
  // An odd number, as the rows of pictures repeat themselves after even ones.
  const int64_t looked = M < 2 * kLooked ? 1 : (M / kLooked - 1) | 1;
  rows.tiles = memory;
  rows.scale = x_scale;
  rows.sum = x_sum;
  rows.again = again;
  Job job = {w, x, dtype, M, rows, reinterpret_cast<int8_t*>(memory), x_scale, x_sum, sizes, again, before, portion,
             ordinary, looked, sizes + M + K + 16};
  for (int64_t i = 0; i < steps * 4; ++i) ordinary[i] = first_lanes(K - i * 16);
  if (K >= kMeasured) {
    parallel(threads, measure_rows_part, &job);
    parallel(threads, measure_inputs_part, &job);
    float* size = sizes + M;
    for (int64_t k = 0; k < K; ++k) size[k] = std::sqrt(std::sqrt(size[k]));
    const int64_t span = rows.depth * kInputs;
    for (int64_t k0 = 0; k0 < K; k0 += span)
      rows.extra = std::max(rows.extra, tiles_for(size + k0, std::min(span, K - k0), reinterpret_cast<float*>(keys)));
    for (int64_t k0 = 0, at = 0; k0 < K; k0 += span, at += kMostAgain)
      give_places(size, k0, std::min(K, k0 + span), keys,
                  {rows.extra * kInputs, again + at, before + at, portion + at, ordinary});
    job.layout.extra = rows.extra;
  }
  if (limited && !fits_limit(job, most_error, threads)) {
    std::free(memory);
    return Outcome::kTooCoarse;
  }
  parallel(threads, pack_rows, &job);
  const bool done = multiply({w, rows, M, dtype, gated, out}, threads);
  std::free(memory);
  return done ? Outcome::kDone : Outcome::kNoMemory;
}

}  // namespace osler
