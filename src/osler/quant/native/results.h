// How sums become results of a product.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels.h"
#include "vectors.h"

namespace osler {
namespace {

// How 32 sums of a row become results: as they are, or gelu(first 16) * the others, rounded as PyTorch rounds each step.
// `begin` takes the first 16, `write` and `write_line` what it returned.
template <bool gated, int dtype>
struct ResultOf {
  static constexpr bool kGated = gated;
  static constexpr int64_t kSize = dtype == kFloat32 ? 4 : 2;

  __attribute__((always_inline)) static __m512 begin(__m512 first) {
    if constexpr (!gated) return first;
    else if constexpr (dtype == kFloat32) return gelu(first);
    else return from_bf16(to_bf16(gelu(from_bf16(to_bf16(first)))));
  }

  __attribute__((always_inline)) static void write(char* to, __mmask32 mask, __m512 one, __m512 other) {
    const auto first = static_cast<__mmask16>(mask), second = static_cast<__mmask16>(mask >> 16);
    if constexpr (!gated && dtype == kFloat32) {
      _mm512_mask_storeu_ps(to, first, one);
      _mm512_mask_storeu_ps(to + 64, second, other);
    } else if constexpr (!gated) {
      _mm512_mask_storeu_epi16(to, mask, to_bf16(one, other));
    } else if constexpr (dtype == kFloat32) {
      _mm512_mask_storeu_ps(to, first, _mm512_mul_ps(one, other));
    } else {
      _mm256_mask_storeu_epi16(to, first, gated_half(one, other));
    }
  }

  // A whole line of the cache, past it: 32 outputs, or the second 16 gated ones behind those that were kept.
  __attribute__((always_inline)) static void write_line(char* to, __m256i* half, bool second, __m512 one, __m512 other) {
    if constexpr (!gated) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), to_bf16(one, other));
    } else if (second) {
      const __m512i line = _mm512_castsi256_si512(_mm256_load_si256(half));
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to - 32), _mm512_inserti64x4(line, gated_half(one, other), 1));
    } else {
      _mm256_store_si256(half, gated_half(one, other));
    }
  }

  static __m256i gated_half(__m512 one, __m512 other) {
    return to_bf16(_mm512_mul_ps(one, from_bf16(to_bf16(other))));
  }
};

}  // namespace
}  // namespace osler
