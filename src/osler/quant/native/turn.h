// Rows of bfloat16 into a tile of B: 16 rows of 32 values become 16 pairs of values, each of 16 rows.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace osler {

// The values wanted..31 of a row, and rows from `rows` on, become zeros.
static inline void turn_tile(const uint16_t* from, int64_t stride, int64_t rows, int64_t wanted, uint16_t* tile) {
  const __mmask32 mask = wanted >= 32 ? 0xffffffffu : (1u << std::max<int64_t>(0, wanted)) - 1;
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = i < rows ? _mm512_maskz_loadu_epi16(mask, from + i * stride) : _mm512_setzero_si512();
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4g + c], lane l: column 4l + c of rows 4g..4g+3.
  for (int c = 0; c < 4; ++c) {
    const __m512i low = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), high = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    const __m512i high2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    _mm512_store_si512(tile + c * 32, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_store_si512(tile + (8 + c) * 32, _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_store_si512(tile + (4 + c) * 32, _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_store_si512(tile + (12 + c) * 32, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

}  // namespace osler
