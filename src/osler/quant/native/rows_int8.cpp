// Products of many rows in int8: lays rows out in tiles of int8, large inputs apart.
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>

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
  const uint16_t* ordinary;  // [steps * 4]: a bit for each input that is not large
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

template <int kType>
void quantize_values(const Job& job, const __m512* value, int64_t vectors, int64_t step, int64_t span, int64_t m) {
  __m512i most_bits = _mm512_setzero_si512();
  for (int64_t i = 0; i < vectors; ++i) most_bits = _mm512_max_epi32(most_bits, size_bits(value[i]));
  const int32_t bits = _mm512_reduce_max_epi32(most_bits);
  float most;
  std::memcpy(&most, &bits, sizeof most);
  const bool finite = bits < 0x7f800000;
  // Below this the inverse would overflow; such inputs are zero for all that follows.
  const __m512 inverse = _mm512_set1_ps(finite && most > 1e-30f ? 127.0f / most : 0.0f);
  __m512i sum = _mm512_setzero_si512();
  int8_t* to = job.tiles + (m / 16 * (job.layout.steps + job.layout.large) + step) * kTile + m % 16 * 64;
  // Packing works in each quarter of a vector by itself.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  for (int64_t i = 0; i < vectors; i += 4, to += kTile) {
    __m512i code[4];
    for (int64_t j = 0; j < 4; ++j)
      code[j] = finite ? _mm512_cvtps_epi32(_mm512_mul_ps(value[i + j], inverse)) : _mm512_setzero_si512();
    sum = _mm512_add_epi32(sum, _mm512_add_epi32(_mm512_add_epi32(code[0], code[1]), _mm512_add_epi32(code[2], code[3])));
    const __m512i low = _mm512_packs_epi32(code[0], code[1]), high = _mm512_packs_epi32(code[2], code[3]);
    _mm512_store_si512(to, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high)));
  }
  // What depends on inputs that are not finite becomes NaN, as it would in floating point.
  const int64_t at = span * job.layout.pairs * 32 + m;
  job.x_scale[at] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  job.x_sum[at] = _mm512_reduce_add_epi32(sum);
}

// Quantizes a row, into tiles.
template <int kType>
void quantize_row(const Job& job, int64_t m) {
  const int64_t K = m < job.M ? job.w.columns : 0;
  __m512 value[kMostInt8 * kInputs / 16];
  for (int64_t span = 0; span < job.layout.spans; ++span) {
    const int64_t from = span * job.layout.depth * kInputs, vectors = job.layout.span_steps(span) * kInputs / 16;
    const uint16_t* ordinary = job.ordinary + from / 16;
    const int64_t whole = std::max<int64_t>(0, std::min(vectors, (K - from) / 16));
    for (int64_t i = 0; i < whole; ++i) value[i] = load_input<kType>(job.x, m * K + from + i * 16, ordinary[i]);
    for (int64_t i = whole; i < vectors; ++i) {
      const int64_t k = from + i * 16;
      value[i] = load_input<kType>(job.x, m * K + k, first_lanes(K - k) & ordinary[i]);
    }
    quantize_values<kType>(job, value, vectors, from / kInputs, span, m);
  }
  if (!job.layout.large) return;
  alignas(64) float large[kLarge] = {};
  for (int64_t i = 0; i < kLarge && K; ++i) {
    const int64_t at = m * K + job.picked[i];
    large[i] = kType == kFloat32 ? static_cast<const float*>(job.x)[at]
                                 : bf16_to_float(static_cast<const uint16_t*>(job.x)[at]);
  }
  for (int64_t i = 0; i < kLarge / 16; ++i) value[i] = _mm512_load_ps(large + i * 16);
  quantize_values<kType>(job, value, kLarge / 16, job.layout.steps, job.layout.spans, m);
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
void pick_large(const float* sizes, int64_t K, int32_t* order, uint16_t* ordinary) {
  std::iota(order, order + K, 0);
  std::nth_element(order, order + kLarge, order + K,
                   [&](int32_t a, int32_t b) { return sizes[a] != sizes[b] ? sizes[a] > sizes[b] : a < b; });
  std::sort(order, order + kLarge);
  for (int64_t i = 0; i < kLarge; ++i)
    ordinary[order[i] / 16] = static_cast<uint16_t>(ordinary[order[i] / 16] & ~(1u << order[i] % 16));
}

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t rows = job.layout.pairs * 32;
  for (int64_t m = rows * part / parts; m < rows * (part + 1) / parts; ++m) {
    if (job.dtype == kFloat32) quantize_row<kFloat32>(job, m);
    else quantize_row<kBFloat16>(job, m);
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
  const int64_t bytes = codes + scales * 8 + (M + K + 16) * 4 + K * 4 + steps * 8;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (!memory) return false;
  auto* x_scale = reinterpret_cast<float*>(memory + codes);
  auto* x_sum = reinterpret_cast<int32_t*>(x_scale + scales);
  auto* sizes = reinterpret_cast<float*>(x_sum + scales);
  auto* order = reinterpret_cast<int32_t*>(sizes + M + K + 16);
  auto* ordinary = reinterpret_cast<uint16_t*>(order + K);
  rows.tiles = memory;
  rows.scale = x_scale;
  rows.sum = x_sum;
  rows.picked = order;
  Job job = {w, x, dtype, M, rows, reinterpret_cast<int8_t*>(memory), x_scale, x_sum, sizes, order, ordinary,
             std::max<int64_t>(1, M / kLooked)};
  std::memset(ordinary, 0xff, steps * 4 * sizeof(uint16_t));
  if (rows.large) {
    parallel(threads, measure_rows_part, &job);
    parallel(threads, measure_inputs_part, &job);
    pick_large(sizes + M, K, order, ordinary);
  }
  parallel(threads, pack_rows, &job);
  const bool done = multiply({w, rows, M, dtype, gated, out}, threads);
  std::free(memory);
  return done;
}

}  // namespace osler
