// Products of many rows in int8: lays rows out in tiles of int8, large inputs apart.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>

#include "many_rows.h"
#include "vectors.h"

namespace osler {
namespace {

// Rows among which large inputs are looked for, at least: what is large in one is so in nearly all.
constexpr int64_t kLooked = 64;

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
  const int32_t* picked;     // (kLarge) the large inputs, ascending
  const uint16_t* ordinary;  // [steps * 4]: a bit for each input that is there and not large
  int64_t looked;       // every how many rows large inputs are looked for
};

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
  for (int64_t m = (from + job.looked - 1) / job.looked * job.looked; m < to; m += job.looked) {
    __m512i most_bits = _mm512_setzero_si512();
    for (int64_t k = 0; k < K; k += 16)
      most_bits = _mm512_max_epi32(most_bits, size_bits(load_input<kType>(job.x, m * K + k, first_lanes(K - k))));
    const int32_t bits = _mm512_reduce_max_epi32(most_bits);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    job.sizes[m] = bits < 0x7f800000 && most > 1e-15f ? 1.0f / most / most : 0.0f;
  }
}

// Inputs in parts of columns, each summed over the rows in order: the same for any number of threads.
template <int kType>
void measure_inputs(const Job& job, int64_t from, int64_t to) {
  const int64_t K = job.w.columns;
  float* sums = job.sizes + job.M;
  std::fill(sums + from, sums + std::min(to, K), 0.0f);
  for (int64_t m = 0; m < job.M; m += job.looked) {
    if (job.sizes[m] == 0.0f) continue;
    const __m512 factor = _mm512_set1_ps(job.sizes[m]);
    for (int64_t k = from; k < to; k += 16) {
      const __mmask16 mask = first_lanes(K - k);
      const __m512 x = load_input<kType>(job.x, m * K + k, mask), sum = _mm512_maskz_loadu_ps(mask, sums + k);
      _mm512_mask_storeu_ps(sums + k, mask, _mm512_fmadd_ps(_mm512_mul_ps(x, x), factor, sum));
    }
  }
}

// The bits of the largest size among inputs that count.
template <int kType>
int32_t most_bits(const void* x, int64_t at, const uint16_t* ordinary, int64_t steps) {
  __m512i most = _mm512_setzero_si512();
  if (kType == kFloat32) {
    for (int64_t i = 0; i < steps * 4; ++i)
      most = _mm512_max_epi32(most, size_bits(load_input<kType>(x, at + i * 16, ordinary[i])));
    return _mm512_reduce_max_epi32(most);
  }
  for (int64_t i = 0; i < steps * 2; ++i) {
    const __mmask32 mask = ordinary[i * 2] | static_cast<__mmask32>(ordinary[i * 2 + 1]) << 16;
    const __m512i half = _mm512_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at + i * 32);
    most = _mm512_max_epu16(most, _mm512_and_si512(half, _mm512_set1_epi16(0x7fff)));
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_slli_epi32(most, 16),
                                                  _mm512_and_si512(most, _mm512_set1_epi32(0x7fff0000))));
}

// What becomes int8 with one scale for each row: the inputs of 16 rows over a span, or their large inputs.
struct Part {
  int64_t rows;              // that are there: the others become zeros
  int64_t stride;            // inputs from one row to the next
  int64_t steps, step;       // tiles, and the first of them in a row's
  int64_t at;                // of the first row's scale
  const uint16_t* ordinary;  // [steps * 4]: a bit for each input that counts
};

// Inputs of 16 rows to tiles: first the scales of all rows, then tile after tile, whose lines lie side by side.
template <int kType>
void quantize_part(const Job& job, const void* x, const Part& part, int64_t m0) {
  // Packing works in each quarter of a vector by itself.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  alignas(64) __m512i sum[16] = {};
  float inverse[16] = {};
  uint16_t kept[16] = {};  // no input of rows that are not there, or not finite
  for (int64_t row = 0; row < 16; ++row) {
    const int32_t bits = row < part.rows ? most_bits<kType>(x, row * part.stride, part.ordinary, part.steps) : 0;
    float most;
    std::memcpy(&most, &bits, sizeof most);
    const bool finite = bits < 0x7f800000;
    // Below this the inverse would overflow; such inputs are zero for all that follows.
    inverse[row] = finite && most > 1e-30f ? 127.0f / most : 0.0f;
    kept[row] = finite && row < part.rows ? 0xffff : 0;
    // What depends on inputs that are not finite becomes NaN, as it would in floating point.
    job.x_scale[part.at + row] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  }
  int8_t* to = job.tiles + (m0 / 16 * (job.layout.steps + job.layout.large) + part.step) * kTile;
  for (int64_t step = 0; step < part.steps; ++step) {
    const uint16_t* ordinary = part.ordinary + step * 4;
    for (int64_t row = 0; row < 16; ++row, to += 64) {
      const int64_t at = row * part.stride + step * kInputs;
      const __m512 factor = _mm512_set1_ps(inverse[row]);
      __m512i code[4];
      for (int64_t j = 0; j < 4; ++j) {
        const __m512 value = load_input<kType>(x, at + j * 16, ordinary[j] & kept[row]);
        code[j] = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
      }
      const __m512i low = _mm512_packs_epi32(code[0], code[1]), high = _mm512_packs_epi32(code[2], code[3]);
      const __m512i line = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
      sum[row] = _mm512_dpbusd_epi32(sum[row], _mm512_set1_epi8(1), line);
      _mm512_store_si512(to, line);
    }
  }
  for (int64_t row = 0; row < 16; ++row) job.x_sum[part.at + row] = _mm512_reduce_add_epi32(sum[row]);
}

// Quantizes 16 rows, into tiles.
template <int kType>
void quantize_rows(const Job& job, int64_t m0) {
  const int64_t K = job.w.columns, count = std::max<int64_t>(0, std::min<int64_t>(16, job.M - m0));
  const int64_t filled = job.layout.pairs * kSide, size = kType == kFloat32 ? 4 : 2;
  const char* x = static_cast<const char*>(job.x) + (count ? m0 * K * size : 0);
  for (int64_t span = 0; span < job.layout.spans; ++span) {
    const int64_t step = span * job.layout.depth;
    quantize_part<kType>(job, x + step * kInputs * size,
                         {count, K, job.layout.span_steps(span), step, span * filled + m0, job.ordinary + step * 4}, m0);
  }
  if (!job.layout.large) return;
  alignas(64) float large[16 * kLarge];
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < kLarge; ++i) {
      const int64_t at = row * K + job.picked[i];
      large[row * kLarge + i] = kType == kFloat32 ? reinterpret_cast<const float*>(x)[at]
                                                  : bf16_to_float(reinterpret_cast<const uint16_t*>(x)[at]);
    }
  }
  constexpr uint16_t kAll[] = {0xffff, 0xffff, 0xffff, 0xffff};
  quantize_part<kFloat32>(job, large, {count, kLarge, 1, job.layout.steps, job.layout.spans * filled + m0, kAll}, m0);
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

// Puts the numbers of the kLarge largest inputs first, ascending, and takes them out of the ordinary ones.
void pick_large(const float* sizes, int64_t K, uint64_t* keys, int32_t* picked, uint16_t* ordinary) {
  // Sizes are not negative, so that their bits have their order; of equal ones the first counts as larger.
  for (int64_t k = 0; k < K; ++k) {
    uint32_t bits;
    std::memcpy(&bits, sizes + k, sizeof bits);
    keys[k] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(~k);
  }
  std::nth_element(keys, keys + kLarge, keys + K, std::greater<uint64_t>());
  for (int64_t i = 0; i < kLarge; ++i) picked[i] = static_cast<int32_t>(~static_cast<uint32_t>(keys[i]));
  std::sort(picked, picked + kLarge);
  for (int64_t i = 0; i < kLarge; ++i)
    ordinary[picked[i] / 16] = static_cast<uint16_t>(ordinary[picked[i] / 16] & ~(1u << picked[i] % 16));
}

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t tiles = job.layout.pairs * 2;
  for (int64_t tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
    if (job.dtype == kFloat32) quantize_rows<kFloat32>(job, tile * 16);
    else quantize_rows<kBFloat16>(job, tile * 16);
  }
}

}  // namespace

bool int8_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, bool gated, void* out, int threads,
                 MultiplyRows multiply) {
  const int64_t K = w.columns, steps = (w.padded + kInputs - 1) / kInputs;
  Rows rows = rows_of(M, steps, kMostInt8, kInputs);
  // With few inputs, the spans are short enough.
  rows.large = K >= 4 * kLarge ? 1 : 0;
  const int64_t filled = rows.pairs * kSide, codes = filled * (steps + rows.large) * kInputs;
  const int64_t scales = filled * (rows.spans + rows.large);
  const int64_t bytes = codes + K * 8 + scales * 8 + (M + K + 16) * 4 + kLarge * 4 + steps * 8;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (!memory) return false;
  auto* keys = reinterpret_cast<uint64_t*>(memory + codes);
  auto* x_scale = reinterpret_cast<float*>(keys + K);
  auto* x_sum = reinterpret_cast<int32_t*>(x_scale + scales);
  auto* sizes = reinterpret_cast<float*>(x_sum + scales);
  auto* picked = reinterpret_cast<int32_t*>(sizes + M + K + 16);
  auto* ordinary = reinterpret_cast<uint16_t*>(picked + kLarge);
  rows.tiles = memory;
  rows.scale = x_scale;
  rows.sum = x_sum;
  rows.picked = picked;
  Job job = {w, x, dtype, M, rows, reinterpret_cast<int8_t*>(memory), x_scale, x_sum, sizes, picked, ordinary,
             std::max<int64_t>(1, M / kLooked)};
  for (int64_t i = 0; i < steps * 4; ++i) ordinary[i] = first_lanes(K - i * 16);
  if (rows.large) {
    parallel(threads, measure_rows_part, &job);
    parallel(threads, measure_inputs_part, &job);
    pick_large(sizes + M, K, keys, picked, ordinary);
  }
  parallel(threads, pack_rows, &job);
  const bool done = multiply({w, rows, M, dtype, gated, out}, threads);
  std::free(memory);
  return done;
}

}  // namespace osler
