// Products of many rows in int8, for AVX-512: lays rows and weights out for a micro-kernel, and leads it over them.
//
// Weights are unpacked once for all rows that pass over them, and stay in the second-level cache meanwhile.
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>

#include "many_rows.h"

namespace osler {
namespace {

// What is touched at a time fits into a second-level cache of 2 MB: weights 256 KB, rows 256 KB, sums 1 MB.
constexpr int64_t kPanel = 512, kDepth = 512, kRowsAtOnce = 512;

struct Job {
  const OslerWeight& w;
  const Micro& micro;
  const void* x;
  int dtype;
  int64_t M, pairs;     // rows, and pairs of tiles of rows
  int64_t steps, spans; // tiles and scales along the inputs, without those of the large ones
  int64_t large;        // 1 where there is a tile of large inputs, else 0
  int8_t* a;            // [pairs * 2][steps + large][16][64]
  float* x_scale;       // [spans + large][pairs * 32]
  int32_t* x_sum;
  float* sizes;         // (M): 1 / largest input of a row, squared; (K): how large an input is among those of its rows
  const int32_t* picked;     // (kLarge) the large inputs, ascending
  const uint16_t* ordinary;  // [steps * 4]: a bit for each input that is not large
  void* out;
  int64_t panel;        // outputs of a panel, a multiple of 32
  bool failed;
};

template <int kType>
inline __m512 load_input(const void* x, int64_t at, __mmask16 mask) {
  if (kType == kFloat32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + at);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

inline __m512i size_bits(__m512 x) {
  // As whole numbers, the bits of sizes have the order of the sizes, and infinities and NaN come last.
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1u << std::min<int64_t>(16, std::max<int64_t>(0, count))) - 1);
}

// The factors by which rows count when large inputs are looked for: none where they hold what is not finite.
template <int kType>
void measure_rows(const Job& job, int64_t from, int64_t to) {
  const int64_t K = job.w.columns;
  for (int64_t m = from; m < to; ++m) {
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
  for (int64_t m = 0; m < job.M; ++m) {
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
  int8_t* to = job.a + (m / 16 * (job.steps + job.large) + step) * kTile8 + m % 16 * 64;
  for (int64_t i = 0; i < vectors; ++i) {
    const __m512i code = finite ? _mm512_cvtps_epi32(_mm512_mul_ps(value[i], inverse)) : _mm512_setzero_si512();
    sum = _mm512_add_epi32(sum, code);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i / 4 * kTile8 + i % 4 * 16), _mm512_cvtepi32_epi8(code));
  }
  // What depends on inputs that are not finite becomes NaN, as it would in floating point.
  const int64_t at = span * job.pairs * 32 + m;
  job.x_scale[at] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  job.x_sum[at] = _mm512_reduce_add_epi32(sum);
}

// Quantizes a row, into tiles.
template <int kType>
void quantize_row(const Job& job, int64_t m) {
  const int64_t K = m < job.M ? job.w.columns : 0;
  __m512 value[kSpan / 16];
  for (int64_t span = 0; span < job.spans; ++span) {
    const int64_t from = span * kSpan, vectors = std::min(kSpan, job.steps * kStep8 - from) / 16;
    for (int64_t i = 0; i < vectors; ++i) {
      const int64_t k = from + i * 16;
      const __mmask16 wanted = first_lanes(K - k) & (job.large ? job.ordinary[k / 16] : 0xffff);
      value[i] = load_input<kType>(job.x, m * K + k, wanted);
    }
    quantize_values<kType>(job, value, vectors, from / kStep8, span, m);
  }
  if (!job.large) return;
  alignas(64) float large[kLarge] = {};
  for (int64_t i = 0; i < kLarge && K; ++i) {
    const int64_t at = m * K + job.picked[i];
    large[i] = kType == kFloat32 ? static_cast<const float*>(job.x)[at]
                                 : bf16_to_float(static_cast<const uint16_t*>(job.x)[at]);
  }
  for (int64_t i = 0; i < kLarge / 16; ++i) value[i] = _mm512_load_ps(large + i * 16);
  quantize_values<kType>(job, value, kLarge / 16, job.steps, job.spans, m);
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

// Puts the numbers of the kLarge largest inputs first, ascending, and marks all others.
void pick_large(const float* sizes, int64_t K, int64_t steps, int32_t* order, uint16_t* ordinary) {
  std::iota(order, order + K, 0);
  std::nth_element(order, order + kLarge, order + K,
                   [&](int32_t a, int32_t b) { return sizes[a] != sizes[b] ? sizes[a] > sizes[b] : a < b; });
  std::sort(order, order + kLarge);
  std::memset(ordinary, 0xff, steps * 4 * sizeof(uint16_t));
  for (int64_t i = 0; i < kLarge; ++i)
    ordinary[order[i] / 16] = static_cast<uint16_t>(ordinary[order[i] / 16] & ~(1u << order[i] % 16));
}

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t rows = job.pairs * 32;
  for (int64_t m = rows * part / parts; m < rows * (part + 1) / parts; ++m) {
    if (job.dtype == kFloat32) quantize_row<kFloat32>(job, m);
    else quantize_row<kBFloat16>(job, m);
  }
}

// Weights that will be unpacked next.
struct Next {
  int64_t block, blocks, k0, k1;
};

// Fetches a share of their codes, so that unpacking does not wait for memory.
void fetch_codes(const OslerWeight& w, const Next& next, int64_t share, int64_t shares) {
  const int64_t lines = (next.k1 - next.k0) * kBlock * w.bits / 8 / 64, all = lines * next.blocks;
  for (int64_t line = all * share / shares; line < all * (share + 1) / shares; ++line) {
    const uint8_t* block = w.codes + (next.block + line / lines) * block_bytes(w) + next.k0 * kBlock * w.bits / 8;
    _mm_prefetch(reinterpret_cast<const char*>(block + line % lines * 64), _MM_HINT_T1);
  }
}

// Writes sums (in squares, of rows m0.., outputs n0..) to the result.
void write_out(const Job& job, const float* c, int64_t squares, int64_t m0, int64_t m1, int64_t n0) {
  const int64_t N = job.w.rows;
  for (int64_t m = m0; m < std::min(m1, job.M); ++m) {
    for (int64_t half = 0; half < squares * 2; ++half) {
      const int64_t n = n0 + half * 16, count = std::min<int64_t>(16, N - n);
      if (count <= 0) break;
      const float* from = c + ((m - m0) / 32 * squares + half / 2) * kSquare + (m - m0) % 32 * 32 + half % 2 * 16;
      const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
      const __m512 value = _mm512_loadu_ps(from);
      if (job.dtype == kFloat32) {
        _mm512_mask_storeu_ps(static_cast<float*>(job.out) + m * N + n, mask, value);
        continue;
      }
      // Rounds to bfloat16, ties to even; a NaN stays one.
      const __m512i bits = _mm512_castps_si512(value);
      const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even);
      const __mmask16 bad = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
      const __m512i kept = _mm512_mask_mov_epi32(rounded, bad, _mm512_set1_epi32(0x7fc00000));
      _mm256_mask_storeu_epi16(static_cast<uint16_t*>(job.out) + m * N + n, mask,
                               _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
    }
  }
}

// Memory of one thread.
struct Room {
  uint8_t* b;       // [panel / 16][steps of kDepth][1024]
  float* scales;    // [spans of kDepth][panel]
  float* c;         // [rows / 32][panel / 32][32][32]
};

// The part of a panel that is unpacked at a time: inputs k0..k1-1, and after the last of them the large ones.
struct Part {
  int64_t k0, k1, deep, large;  // deep: tiles without that of the large inputs
  int64_t tiles() const { return deep + large; }
};

// Multiplies rows m0..m1-1 by one unpacked part of a panel.
void run_rows(const Job& job, const Room& room, Late& late, int64_t m0, int64_t m1, const Part& part,
              const Next& next) {
  const int64_t squares = job.panel / kSide, rows = job.pairs * 32, shares = (m1 - m0) / kSide * squares;
  const int64_t stride = job.steps + job.large;
  for (int64_t m = m0; m < m1; m += kSide) {
    for (int64_t square = 0; square < squares; ++square) {
      for (int64_t step = 0, count; step < part.tiles(); step += count) {
        const bool large = step == part.deep;
        count = large ? 1 : std::min(kSpan / kStep8, part.deep - step);
        const int64_t here = step / (kSpan / kStep8) + (large && part.deep % (kSpan / kStep8) ? 1 : 0);
        const int64_t span = large ? job.spans : part.k0 / kSpan + here;
        const Square s = {job.a + (m / 16 * stride + (large ? job.steps : part.k0 / kStep8 + step)) * kTile8,
                          room.b + (square * 2 * part.tiles() + step) * kTile8,
                          stride * kTile8,
                          part.tiles() * kTile8,
                          static_cast<int>(count),
                          job.x_scale + span * rows + m,
                          job.x_sum + span * rows + m,
                          room.scales + here * job.panel + square * kSide,
                          room.c + ((m - m0) / kSide * squares + square) * kSquare,
                          part.k0 == 0 && step == 0};
        job.micro.multiply(s, late);
      }
      fetch_codes(job.w, next, (m - m0) / kSide * squares + square, shares);
    }
  }
  job.micro.finish(late);
}

void unpack_panel(const Job& job, const Room& room, int64_t block0, const Part& part) {
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock, spans = (part.k1 - part.k0 + kSpan - 1) / kSpan;
  const uint8_t flip = job.micro.flip;
  for (int64_t tile = 0; tile < job.panel / kBlock; ++tile) {
    uint8_t* to = room.b + tile * part.tiles() * kTile8;
    float* scales = room.scales + tile * kBlock;
    if (block0 + tile >= blocks) {
      std::memset(to, flip, part.tiles() * kTile8);
      for (int64_t span = 0; span < spans + part.large; ++span)
        std::memset(scales + span * job.panel, 0, kBlock * sizeof(float));
      continue;
    }
    for (int64_t span = 0; span < spans; ++span) {
      const int64_t k = part.k0 + span * kSpan;
      unpack_span(job.w, block0 + tile, k, std::min(k + kSpan, part.k1), flip, to + span * kSpan * kBlock,
                  scales + span * job.panel);
    }
    // Half a tile where the inputs are no multiple of 64.
    const int64_t filled = (part.k1 - part.k0) * kBlock;
    std::memset(to + filled, flip, part.deep * kTile8 - filled);
    if (part.large)
      unpack_large(job.w, job.picked, block0 + tile, flip, to + part.deep * kTile8, scales + spans * job.panel);
  }
}

void run_panels(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t padded = job.w.padded, tiles = job.panel / kBlock;
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock, panels = (blocks + tiles - 1) / tiles;
  const int64_t rows = std::min(kRowsAtOnce, job.pairs * 32);
  const int64_t b_bytes = job.panel * (kDepth + kLarge), scale_bytes = job.panel * (kDepth / kSpan + 1) * 4;
  const int64_t c_bytes = rows * job.panel * 4, late_bytes = (sizeof(Late) + 63) / 64 * 64;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(64, b_bytes + scale_bytes + c_bytes + late_bytes));
  if (!memory) {
    job.failed = true;
    return;
  }
  const Room room = {memory, reinterpret_cast<float*>(memory + b_bytes),
                     reinterpret_cast<float*>(memory + b_bytes + scale_bytes)};
  Late& late = *new (memory + b_bytes + scale_bytes + c_bytes) Late;
  job.micro.begin();
  const int64_t last = panels * (part + 1) / parts;
  for (int64_t panel = panels * part / parts; panel < last; ++panel) {
    for (int64_t m0 = 0; m0 < job.pairs * 32; m0 += kRowsAtOnce) {
      const int64_t m1 = std::min(m0 + kRowsAtOnce, job.pairs * 32);
      for (int64_t k0 = 0; k0 < padded; k0 += kDepth) {
        const int64_t k1 = std::min(k0 + kDepth, padded);
        const bool more = k1 < padded, again = m1 < job.pairs * 32, other = panel + 1 < last;
        const Part now = {k0, k1, (k1 - k0 + kStep8 - 1) / kStep8, more ? 0 : job.large};
        unpack_panel(job, room, panel * tiles, now);
        const int64_t block = (panel + (more || again ? 0 : 1)) * tiles, from = more ? k1 : 0;
        const int64_t count = more || again || other ? std::min(tiles, blocks - block) : 0;
        run_rows(job, room, late, m0, m1, now, {block, count, from, std::min(from + kDepth, padded)});
      }
      write_out(job, room.c, job.panel / kSide, m0, m1, panel * job.panel);
    }
  }
  job.micro.end();
  std::free(memory);
}

}  // namespace

bool int8_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, void* out, int threads,
                 const Micro& micro) {
  const int64_t pairs = (M + 31) / 32, blocks = (w.rows + kBlock - 1) / kBlock, K = w.columns;
  // Panels no wider than an even share of the outputs, so that every thread has work.
  const int64_t share = (blocks * kBlock + threads - 1) / threads;
  const int64_t panel = std::min(kPanel, (share + 31) / 32 * 32);
  const int64_t steps = (w.padded + kStep8 - 1) / kStep8, spans = (w.padded + kSpan - 1) / kSpan;
  // With few inputs, the spans are short enough.
  const int64_t large = K >= 4 * kLarge ? 1 : 0;
  const int64_t codes = pairs * 32 * (steps + large) * kStep8, scales = pairs * 32 * (spans + large);
  const int64_t bytes = codes + scales * 8 + (M + K + 16) * 4 + K * 4 + steps * 8;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!memory) return false;
  auto* x_scale = reinterpret_cast<float*>(memory + codes);
  auto* x_sum = reinterpret_cast<int32_t*>(x_scale + scales);
  auto* sizes = reinterpret_cast<float*>(x_sum + scales);
  auto* order = reinterpret_cast<int32_t*>(sizes + M + K + 16);
  auto* ordinary = reinterpret_cast<uint16_t*>(order + K);
  Job job = {w, micro, x, dtype, M, pairs, steps, spans, large, reinterpret_cast<int8_t*>(memory), x_scale, x_sum,
             sizes, order, ordinary, out, panel, false};
  if (large) {
    parallel(threads, measure_rows_part, &job);
    parallel(threads, measure_inputs_part, &job);
    pick_large(sizes + M, K, steps, order, ordinary);
  }
  parallel(threads, pack_rows, &job);
  parallel(threads, run_panels, &job);
  std::free(memory);
  return !job.failed;
}

}  // namespace osler
