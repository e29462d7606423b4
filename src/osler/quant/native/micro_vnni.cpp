// The micro-kernel of AVX-512 with VNNI for many rows: eight rows by two vectors of outputs stay in registers.
#include <immintrin.h>

#include "many_rows.h"

namespace osler {
namespace {

constexpr int kRows = 8;

void multiply_some(const Square& s, int64_t row0) {
  const uint8_t* a = s.a + row0 / 16 * s.a_next + row0 % 16 * 64;
  __m512i sum[kRows][2];
  for (int row = 0; row < kRows; ++row)
    sum[row][0] = sum[row][1] = _mm512_set1_epi32(-128 * s.x_sum[row0 + row]);
  for (int64_t step = 0; step < s.steps; ++step) {
    const uint8_t *x = a + step * kTile, *b = s.b + step * kTile;
    for (int quad = 0; quad < 16; ++quad, x += 4, b += 64) {
      const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + s.b_next);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const __m512i four = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + row * 64));
        sum[row][0] = _mm512_dpbusd_epi32(sum[row][0], b0, four);
        sum[row][1] = _mm512_dpbusd_epi32(sum[row][1], b1, four);
      }
    }
  }
  auto* to = s.sums + row0 / 16 * 512 + row0 % 16 * 16;
  for (int row = 0; row < kRows; ++row, to += 16) {
    _mm512_storeu_si512(to, sum[row][0]);
    _mm512_storeu_si512(to + 256, sum[row][1]);
  }
}

void multiply(const Square& s, Side& side) {
  for (int64_t row = 0; row < kSide; row += kRows) {
    multiply_some(s, row);
    side.advance(row + kRows, kSide);
  }
}

void nothing() {}

}  // namespace

const Micro kVnniMicro = {128, nothing, multiply, nothing};

}  // namespace osler
