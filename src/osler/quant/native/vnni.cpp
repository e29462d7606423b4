// AVX-512 with VNNI: one instruction multiplies 64 codes by 64 activations.
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "kernels.h"
#include "vectors.h"

namespace osler {
namespace {

#include "quantize_row.inc"

// Bytes that are fetched before they are needed: memory answers about so late (the best of 0 to 4096, measured).
template <int kBits>
constexpr int kAhead = kBits == 4 ? 4096 : 2048;

inline __m512i quad_of(const int8_t* x) { return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x)); }

template <int kBits, int kRows>
void dot_rows(const OslerWeight& w, const Activations& a, int64_t block, int64_t m0, float* out) {
  const uint8_t* codes = w.codes + block * block_bytes(w);
  const int64_t scales = scale_groups(w);
  const uint16_t* scale = w.scale + block * scales * kBlock;
  const uint16_t* offset = w.offset ? w.offset + block * scales * kBlock : nullptr;
  const int8_t* x = a.codes + m0 * a.padded;
  const float* x_scale = a.scale + m0 * a.groups;
  const int32_t* x_sum = a.sum + m0 * a.groups;
  const __m512i nibble = _mm512_set1_epi8(15);
  const int zero = offset ? 0 : zero_point(w);
  __m512 total[kRows];
  for (int row = 0; row < kRows; ++row) total[row] = _mm512_setzero_ps();
  for (int64_t g = 0; g < a.groups; ++g, x += kGroup) {
    __m512i dot[kRows];
    for (int row = 0; row < kRows; ++row) dot[row] = _mm512_set1_epi32(-zero * x_sum[row * a.groups + g]);
#pragma GCC unroll 8
    for (int quad = 0; quad < kGroup / 4; quad += kBits == 4 ? 2 : 1, codes += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead<kBits>, _MM_HINT_T0);
      const __m512i v = _mm512_loadu_si512(codes);
      if (kBits == 8) {
        for (int row = 0; row < kRows; ++row)
          dot[row] = _mm512_dpbusd_epi32(dot[row], v, quad_of(x + row * a.padded + quad * 4));
        continue;
      }
      const __m512i first = _mm512_and_si512(v, nibble), second = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
      for (int row = 0; row < kRows; ++row) {
        dot[row] = _mm512_dpbusd_epi32(dot[row], first, quad_of(x + row * a.padded + quad * 4));
        dot[row] = _mm512_dpbusd_epi32(dot[row], second, quad_of(x + row * a.padded + quad * 4 + 4));
      }
    }
    const int64_t at = g * kGroup / w.group * kBlock;
    const __m512 s = load_half(scale + at);
    for (int row = 0; row < kRows; ++row) {
      const __m512 factor = _mm512_mul_ps(s, _mm512_set1_ps(x_scale[row * a.groups + g]));
      total[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[row]), factor, total[row]);
    }
    if (offset) {
      const __m512 o = load_half(offset + at);
      for (int row = 0; row < kRows; ++row) {
        const float weight = x_scale[row * a.groups + g] * static_cast<float>(x_sum[row * a.groups + g]);
        total[row] = _mm512_fmadd_ps(o, _mm512_set1_ps(weight), total[row]);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) _mm512_storeu_ps(out + row * kBlock, total[row]);
}

template <int kBits>
void dot_bits(const OslerWeight& w, const Activations& a, int64_t block, int64_t m0, int count, float* out) {
  switch (count) {
    case 1: return dot_rows<kBits, 1>(w, a, block, m0, out);
    case 2: return dot_rows<kBits, 2>(w, a, block, m0, out);
    case 3: return dot_rows<kBits, 3>(w, a, block, m0, out);
    case 4: return dot_rows<kBits, 4>(w, a, block, m0, out);
    case 5: return dot_rows<kBits, 5>(w, a, block, m0, out);
    case 6: return dot_rows<kBits, 6>(w, a, block, m0, out);
    case 7: return dot_rows<kBits, 7>(w, a, block, m0, out);
    default: return dot_rows<kBits, 8>(w, a, block, m0, out);
  }
}

void dot_block(const OslerWeight& w, const Activations& a, int64_t block, int64_t m0, int count, float* out) {
  if (w.bits == 4) dot_bits<4>(w, a, block, m0, count, out);
  else dot_bits<8>(w, a, block, m0, count, out);
}

}  // namespace

const Path kVnni = {"avx512-vnni", dot_block, quantize_row};

}  // namespace osler
