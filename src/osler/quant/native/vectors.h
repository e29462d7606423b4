// What files for AVX-512 share.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace osler {

static inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1u << std::min<int64_t>(16, std::max<int64_t>(0, count))) - 1);
}

static inline __m512 load_half(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

static inline __m512 from_bf16(__m256i half) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// The first `count` of 16 values, zeros after them.
static inline __m512 load_bf16(const uint16_t* from, int64_t count) {
  return from_bf16(_mm256_maskz_loadu_epi16(first_lanes(count), from));
}

// To bfloat16, ties to even; a NaN stays one. The instruction takes numbers below 2^-126 for zero.
static inline __m256i to_bf16(__m512 value) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(value);
#else
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even);
  const __mmask16 bad = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_mov_epi32(rounded, bad, _mm512_set1_epi32(0x7fc00000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
#endif
}

// The first half of the result is `low`.
static inline __m512i to_bf16(__m512 low, __m512 high) {
#ifdef __AVX512BF16__
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#else
  return _mm512_inserti64x4(_mm512_castsi256_si512(to_bf16(low)), to_bf16(high), 1);
#endif
}

// e to the power of x, where what is below 2^-126 may become that. Of a number and none, the second one is the greater.
static inline __m512 power(__m512 x) {
  const __m512 t = _mm512_max_ps(_mm512_set1_ps(-126.0f), _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)));
  const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0135341676f), r, _mm512_set1_ps(0.0520114612f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.241442757f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693003835f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.00000259f));
  return _mm512_scalef_ps(p, t);
}

// x / (1 + e^(-2 u)), which is 0.5 x (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
static inline __m512 gelu(__m512 x) {
  const __m512 square = _mm512_mul_ps(x, x);
  const __m512 inner = _mm512_fmadd_ps(square, _mm512_set1_ps(-2.0f * 0.7978845608f * 0.044715f),
                                       _mm512_set1_ps(-2.0f * 0.7978845608f));
  const __m512 below = _mm512_min_ps(_mm512_mul_ps(x, inner), _mm512_set1_ps(80.0f));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), power(below)));
}

}  // namespace osler
