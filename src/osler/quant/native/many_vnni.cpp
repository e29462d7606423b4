// Products of many rows by AVX-512 with VNNI: eight rows by two vectors of outputs stay in registers.
#include <immintrin.h>

#include "many_rows.inc"
#include "unpack_int8.h"

namespace osler {
namespace {

struct VnniInt8 {
  using Unpacker = Int8Unpacker<128>;
  static constexpr bool kScaled = true;
  static constexpr int64_t kRowsAtOnce = 512;
  static constexpr int kRows = 8;

  static void begin() {}
  static void end() {}

  static void multiply_some(const uint8_t* a, const uint8_t* b, int64_t b_next, int64_t steps, const int32_t* x_sum,
                            int32_t* to) {
    __m512i sum[kRows][2];
    for (int row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = _mm512_set1_epi32(-128 * x_sum[row]);
    for (int64_t step = 0; step < steps; ++step, a += kTile, b += kTile) {
      for (int quad = 0; quad < 16; ++quad) {
        const __m512i b0 = _mm512_loadu_si512(b + quad * 64), b1 = _mm512_loadu_si512(b + b_next + quad * 64);
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          const __m512i four = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(a + quad * 4 + row * 64));
          sum[row][0] = _mm512_dpbusd_epi32(sum[row][0], b0, four);
          sum[row][1] = _mm512_dpbusd_epi32(sum[row][1], b1, four);
        }
      }
    }
    for (int row = 0; row < kRows; ++row, to += kSide) {
      _mm512_store_si512(to, sum[row][0]);
      _mm512_store_si512(to + 16, sum[row][1]);
    }
  }

  template <class Meanwhile>
  static void multiply(const Square& s, Meanwhile meanwhile) {
    for (int64_t row = 0; row < kSide; row += kRows) {
      const int64_t below = row / 16 * s.a_next + row % 16 * 64, at = row * kSide;
      multiply_some(s.a + below, s.b, s.b_next, s.steps, s.x_sum + row, static_cast<int32_t*>(s.sums) + at);
    }
    for (int64_t step = 0; step < s.steps; ++step) in_all_places(meanwhile);
  }
};

}  // namespace

// Independent products that stay in registers, as many as the two units have under way.
void multiply_vectors(int64_t turns) {
  __m512i sum[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum[i] = _mm512_setzero_si512();
  const __m512i codes = _mm512_set1_epi8(3);
  for (int64_t turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], codes, codes);
      __asm__ volatile("" : "+v"(sum[i]));  // else the compiler may leave out what nobody reads
    }
  }
}

bool multiply_int8_vnni(const ManyRows& p, int threads) { return lead_rows<VnniInt8>(p, threads); }

}  // namespace osler
