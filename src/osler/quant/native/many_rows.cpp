// Products of many rows in int8, for AVX-512: lays rows and weights out for a micro-kernel, and leads it over them.
//
// Weights are unpacked once for all rows that pass over them, and stay in the second-level cache meanwhile.
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "many_rows.h"

namespace osler {
namespace {

// What is touched at a time fits into a second-level cache of 2 MB: weights 256 KB, rows 512 KB, sums 512 KB.
constexpr int64_t kPanel = 256, kDepth = 1024, kRowsAtOnce = 512;

struct Job {
  const OslerWeight& w;
  const Micro& micro;
  const void* x;
  int dtype;
  int64_t M, pairs;     // rows, and pairs of tiles of rows
  int64_t steps, spans; // tiles and scales along the inputs
  int8_t* a;            // [pairs * 2][steps][16][64]
  float* x_scale;       // [spans][pairs * 32]
  int32_t* x_sum;
  void* out;
  int64_t panel;        // outputs of a panel, a multiple of 32
  bool failed;
};

inline __m512 load_half(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline __m512 load_input(const Job& job, int64_t at, __mmask16 mask) {
  if (job.dtype == kFloat32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(job.x) + at);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(job.x) + at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// Quantizes up to kSpan inputs of a row, into tiles.
void quantize_span(const Job& job, int64_t m, int64_t span) {
  const int64_t K = job.w.columns, from = span * kSpan, count = std::max<int64_t>(0, std::min(kSpan, K - from));
  const int64_t end = std::min(kSpan, job.steps * kStep8 - from);
  const __m512i size = _mm512_set1_epi32(0x7fffffff);
  __m512 value[kSpan / 16];
  __m512i most_bits = _mm512_setzero_si512();
  for (int64_t i = 0; i < kSpan / 16; ++i) {
    const int64_t left = m < job.M ? std::min<int64_t>(16, std::max<int64_t>(0, count - i * 16)) : 0;
    value[i] = load_input(job, m * K + from + i * 16, static_cast<__mmask16>((1u << left) - 1));
    // As whole numbers, the bits of sizes have the order of the sizes, and infinities and NaN come last.
    most_bits = _mm512_max_epi32(most_bits, _mm512_and_si512(_mm512_castps_si512(value[i]), size));
  }
  const int32_t bits = _mm512_reduce_max_epi32(most_bits);
  float most;
  std::memcpy(&most, &bits, sizeof most);
  const bool finite = bits < 0x7f800000;
  // Below this the inverse would overflow; such inputs are zero for all that follows.
  const __m512 inverse = _mm512_set1_ps(finite && most > 1e-30f ? 127.0f / most : 0.0f);
  const int64_t at = span * job.pairs * 32 + m;
  __m512i sum = _mm512_setzero_si512();
  int8_t* to = job.a + (m / 16 * job.steps + from / kStep8) * kTile8 + m % 16 * 64;
  for (int64_t i = 0; i < end / 16; ++i) {
    const __m512i code = finite ? _mm512_cvtps_epi32(_mm512_mul_ps(value[i], inverse)) : _mm512_setzero_si512();
    sum = _mm512_add_epi32(sum, code);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i / 4 * kTile8 + i % 4 * 16), _mm512_cvtepi32_epi8(code));
  }
  // What depends on inputs that are not finite becomes NaN, as it would in floating point.
  job.x_scale[at] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  job.x_sum[at] = _mm512_reduce_add_epi32(sum);
}

void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t rows = job.pairs * 32;
  for (int64_t m = rows * part / parts; m < rows * (part + 1) / parts; ++m) {
    for (int64_t span = 0; span < job.spans; ++span) quantize_span(job, m, span);
  }
}

// The smallest scale with which all values of 16 outputs over inputs k0..k1-1 fit into -127..127.
__m512 span_scale(const OslerWeight& w, int64_t block, int64_t k0, int64_t k1) {
  const float zero = static_cast<float>(zero_point(w)), top = static_cast<float>((1 << w.bits) - 1);
  // A step of the stored codes must stay below 1 / zero point of the whole range, see `Steps`.
  const __m512 whole = _mm512_set1_ps(1.0f / 127.0f), step = _mm512_set1_ps(zero * 1.0001f / 128.0f);
  __m512 most = _mm512_setzero_ps();
  for (int64_t k = k0; k < k1; k += w.group - k % w.group) {
    const int64_t at = (block * scale_groups(w) + k / w.group) * kBlock;
    const __m512 scale = load_half(w.scale + at);
    const __m512 low = w.offset ? load_half(w.offset + at) : _mm512_mul_ps(scale, _mm512_set1_ps(-zero));
    const __m512 high = _mm512_fmadd_ps(scale, _mm512_set1_ps(top), low);
    const __m512 bound = _mm512_mul_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)), whole);
    most = _mm512_max_ps(most, _mm512_max_ps(bound, _mm512_mul_ps(_mm512_abs_ps(scale), step)));
  }
  return most;
}

// How stored codes become int8: in 16 bits, (code - zero point) / zero point as a fraction times `step`, plus `offset`;
// the upper byte is the new code, rounded.
struct Steps {
  __m512i step, offset;
};

// A number for each output, in both halves of its 32 bits.
inline __m512i both_halves(__m512 x) {
  const __m512i low = _mm512_max_epi32(_mm512_min_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(32767)),
                                       _mm512_set1_epi32(-32768));
  return _mm512_or_si512(_mm512_slli_epi32(low, 16), _mm512_and_si512(low, _mm512_set1_epi32(0xffff)));
}

inline Steps steps_of(const OslerWeight& w, int64_t block, int64_t k, __m512 inverse) {
  const int64_t at = (block * scale_groups(w) + k / w.group) * kBlock;
  const __m512 zero = _mm512_set1_ps(static_cast<float>(zero_point(w))), scale = load_half(w.scale + at);
  // inverse = 1 / (128 * scale of the span): one stands for the whole range.
  const __m512 one = _mm512_set1_ps(32768.0f), half = _mm512_set1_ps(128.0f);
  const __m512 step = _mm512_mul_ps(_mm512_mul_ps(scale, zero), _mm512_mul_ps(inverse, one));
  if (!w.offset) return {both_halves(step), _mm512_set1_epi16(128)};
  const __m512 middle = _mm512_fmadd_ps(scale, zero, load_half(w.offset + at));
  return {both_halves(step), both_halves(_mm512_fmadd_ps(middle, _mm512_mul_ps(inverse, one), half))};
}

// Fractions of the even and of the odd bytes to new codes.
inline __m512i new_codes(__m512i even, __m512i odd, const Steps& s, __m512i flip) {
  even = _mm512_adds_epi16(_mm512_mulhrs_epi16(even, s.step), s.offset);
  odd = _mm512_adds_epi16(_mm512_mulhrs_epi16(odd, s.step), s.offset);
  const __m512i upper = _mm512_set1_epi16(static_cast<short>(0xff00));
  // (odd & upper) | (even >> 8 & ~upper), then the flip of the signs.
  const __m512i codes = _mm512_ternarylogic_epi32(upper, odd, _mm512_srli_epi16(even, 8), 0xca);
  return _mm512_xor_si512(codes, flip);
}

// Unpacks inputs k0..k1-1 of a block of outputs, at most kSpan, into tiles, and stores their scales.
void unpack_span(const OslerWeight& w, int64_t block, int64_t k0, int64_t k1, uint8_t flip, uint8_t* to, float* scales) {
  const __m512 scale = span_scale(w, block, k0, k1);
  const __m512 inverse = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(scale, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                             _mm512_set1_ps(1.0f / 128.0f), scale);
  _mm512_storeu_ps(scales, scale);
  const uint8_t* codes = w.codes + block * block_bytes(w) + k0 * kBlock * w.bits / 8;
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(flip));
  const __m512i sign = _mm512_set1_epi16(static_cast<short>(0x8000)), top = _mm512_set1_epi16(static_cast<short>(0xf000));
  const __m512i upper = _mm512_set1_epi16(static_cast<short>(0xff00));
  for (int64_t k = k0; k < k1; k += kGroup) {
    const Steps s = steps_of(w, block, k, inverse);
    if (w.bits == 8) {
#pragma GCC unroll 8
      for (int quad = 0; quad < 8; ++quad, codes += 64, to += 64) {
        const __m512i v = _mm512_loadu_si512(codes);
        // (v & mask) ^ sign
        const __m512i even = _mm512_xor_si512(_mm512_slli_epi16(v, 8), sign);
        const __m512i odd = _mm512_ternarylogic_epi32(v, upper, sign, 0x6a);
        _mm512_storeu_si512(to, new_codes(even, odd, s, flips));
      }
      continue;
    }
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair, codes += 64, to += 128) {
      const __m512i v = _mm512_loadu_si512(codes);
      const __m512i even0 = _mm512_xor_si512(_mm512_slli_epi16(v, 12), sign);
      const __m512i odd0 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 4), top, sign, 0x6a);
      const __m512i even1 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 8), top, sign, 0x6a);
      const __m512i odd1 = _mm512_ternarylogic_epi32(v, top, sign, 0x6a);
      _mm512_storeu_si512(to, new_codes(even0, odd0, s, flips));
      _mm512_storeu_si512(to + 64, new_codes(even1, odd1, s, flips));
    }
  }
}

// Fetches the codes of a share of the next weights, so that unpacking does not wait for memory.
void fetch_codes(const OslerWeight& w, int64_t block, int64_t k0, int64_t k1, int64_t share, int64_t shares) {
  const int64_t bytes = (k1 - k0) * kBlock * w.bits / 8;
  const uint8_t* from = w.codes + block * block_bytes(w) + k0 * kBlock * w.bits / 8;
  for (int64_t at = bytes * share / shares / 64 * 64; at < bytes * (share + 1) / shares; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
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

// Multiplies rows m0..m1-1 by one unpacked part of a panel, k0..k1-1.
void run_rows(const Job& job, const Room& room, Late& late, int64_t m0, int64_t m1, int64_t k0, int64_t k1,
              int64_t next_block, int64_t next_k0, int64_t next_k1) {
  const int64_t squares = job.panel / kSide, deep = (k1 - k0 + kStep8 - 1) / kStep8, rows = job.pairs * 32;
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock, shares = (m1 - m0) / kSide * squares;
  for (int64_t m = m0; m < m1; m += kSide) {
    for (int64_t square = 0; square < squares; ++square) {
      for (int64_t step = 0; step < deep; step += kSpan / kStep8) {
        const int64_t span = k0 / kSpan + step / (kSpan / kStep8);
        const Square s = {job.a + (m / 16 * job.steps + k0 / kStep8 + step) * kTile8,
                          room.b + (square * 2 * deep + step) * kTile8,
                          job.steps * kTile8,
                          deep * kTile8,
                          static_cast<int>(std::min(kSpan / kStep8, deep - step)),
                          job.x_scale + span * rows + m,
                          job.x_sum + span * rows + m,
                          room.scales + step / (kSpan / kStep8) * job.panel + square * kSide,
                          room.c + ((m - m0) / kSide * squares + square) * kSquare,
                          k0 == 0 && step == 0};
        job.micro.multiply(s, late);
      }
      if (next_k1 <= next_k0) continue;
      const int64_t share = (m - m0) / kSide * squares + square;
      for (int64_t tile = share * squares * 2 / shares; tile < (share + 1) * squares * 2 / shares; ++tile) {
        if (next_block + tile < blocks) fetch_codes(job.w, next_block + tile, next_k0, next_k1, 0, 1);
      }
    }
  }
  job.micro.finish(late);
}

void unpack_panel(const Job& job, const Room& room, int64_t block0, int64_t k0, int64_t k1) {
  const int64_t tiles = job.panel / kBlock, deep = (k1 - k0 + kStep8 - 1) / kStep8;
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    uint8_t* to = room.b + tile * deep * kTile8;
    for (int64_t k = k0; k < k1; k += kSpan) {
      float* scales = room.scales + (k - k0) / kSpan * job.panel + tile * kBlock;
      uint8_t* part = to + (k - k0) / kStep8 * kTile8;
      const int64_t stop = std::min(k + kSpan, k1);
      if (block0 + tile < blocks) {
        unpack_span(job.w, block0 + tile, k, stop, job.micro.flip, part, scales);
      } else {
        std::memset(scales, 0, kBlock * sizeof(float));
        std::memset(part, job.micro.flip, (stop - k) * kBlock);
      }
    }
    // Half a tile where the inputs are no multiple of 64.
    std::memset(to + (k1 - k0) * kBlock, job.micro.flip, deep * kTile8 - (k1 - k0) * kBlock);
  }
}

void run_panels(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t padded = job.w.padded, tiles = job.panel / kBlock;
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock, panels = (blocks + tiles - 1) / tiles;
  const int64_t rows = std::min(kRowsAtOnce, job.pairs * 32);
  const int64_t b_bytes = job.panel * kDepth, scale_bytes = job.panel * (kDepth / kSpan) * 4;
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
        unpack_panel(job, room, panel * tiles, k0, k1);
        const bool more = k1 < padded, again = m1 < job.pairs * 32, other = panel + 1 < last;
        const int64_t next = (panel + (more || again ? 0 : 1)) * tiles, next_k0 = more ? k1 : 0;
        const int64_t next_k1 = more || again || other ? std::min(next_k0 + kDepth, padded) : 0;
        run_rows(job, room, late, m0, m1, k0, k1, next, next_k0, next_k1);
      }
      write_out(job, room.c, job.panel / kSide, m0, m1, panel * job.panel);
    }
  }
  job.micro.end();
  std::free(memory);
}

}  // namespace

bool int8_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, void* out, int threads, const Micro& micro) {
  const int64_t pairs = (M + 31) / 32, blocks = (w.rows + kBlock - 1) / kBlock;
  // Panels no wider than an even share of the outputs, so that every thread has work.
  const int64_t share = (blocks * kBlock + threads - 1) / threads;
  const int64_t panel = std::min(kPanel, (share + 31) / 32 * 32);
  const int64_t steps = (w.padded + kStep8 - 1) / kStep8, spans = (w.padded + kSpan - 1) / kSpan;
  const int64_t codes = pairs * 32 * steps * kStep8, scales = pairs * 32 * spans;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(64, codes + (scales * 8 + 63) / 64 * 64));
  if (!memory) return false;
  auto* x_scale = reinterpret_cast<float*>(memory + codes);
  Job job = {w, micro, x, dtype, M, pairs, steps, spans, reinterpret_cast<int8_t*>(memory), x_scale,
             reinterpret_cast<int32_t*>(x_scale + scales), out, panel, false};
  parallel(threads, pack_rows, &job);
  parallel(threads, run_panels, &job);
  std::free(memory);
  return !job.failed;
}

}  // namespace osler
