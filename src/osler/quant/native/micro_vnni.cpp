// The micro-kernel of AVX-512 with VNNI for many rows: twelve rows by two vectors of outputs stay in registers.
#include <immintrin.h>

#include "many_rows.h"

namespace osler {
namespace {

template <int kRows>
void multiply_rows(const Square& s, int64_t row0) {
  const int8_t* a = s.a + row0 / 16 * s.a_next + row0 % 16 * 64;
  __m512i sum[kRows][2];
  for (int row = 0; row < kRows; ++row)
    sum[row][0] = sum[row][1] = _mm512_set1_epi32(-128 * s.x_sum[row0 + row]);
  for (int step = 0; step < s.steps; ++step) {
    const int8_t* x = a + step * kTile8;
    const uint8_t* b = s.b + step * kTile8;
    for (int quad = 0; quad < 16; ++quad, x += 4, b += 64) {
      const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + s.b_next);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const __m512i four = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + row * 64));
        sum[row][0] = _mm512_dpbusd_epi32(sum[row][0], b0, four);
        sum[row][1] = _mm512_dpbusd_epi32(sum[row][1], b1, four);
      }
    }
  }
  for (int half = 0; half < 2; ++half) {
    const __m512 w_scale = _mm512_loadu_ps(s.w_scale + half * 16);
    for (int row = 0; row < kRows; ++row) {
      float* total = s.total + (row0 + row) * kSide + half * 16;
      const __m512 scale = _mm512_mul_ps(w_scale, _mm512_set1_ps(s.x_scale[row0 + row]));
      const __m512 value = _mm512_cvtepi32_ps(sum[row][half]);
      _mm512_storeu_ps(total, s.first ? _mm512_mul_ps(value, scale)
                                      : _mm512_fmadd_ps(value, scale, _mm512_loadu_ps(total)));
    }
  }
}

void multiply(const Square& s, Late&) {
  // Rows of one tile at a time.
  for (int64_t row = 0; row < kSide; row += 16) {
    multiply_rows<8>(s, row);
    multiply_rows<8>(s, row + 8);
  }
}

void finish(Late&) {}
void nothing() {}

}  // namespace

const Micro kVnniMicro = {128, nothing, multiply, finish, nothing};

}  // namespace osler
