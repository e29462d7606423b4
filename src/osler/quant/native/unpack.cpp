// Stored weights of 4 and 8 bits to int8 with one scale for each output and span, for AVX-512.
#include <immintrin.h>

#include <cstring>

#include "many_rows.h"
#include "vectors.h"

namespace osler {
namespace {

// Bytes of 4-bit codes that are fetched before they are unpacked.
constexpr int64_t kAhead = 2048;

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

// Unpacks one group of inputs, k to k + 31.
void unpack_group(const OslerWeight& w, const Span& span, int64_t k) {
  const __m512 scale = _mm512_loadu_ps(span.scales);
  const __m512 inverse = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(scale, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                             _mm512_set1_ps(1.0f / 128.0f), scale);
  const uint8_t* codes = w.codes + span.block * block_bytes(w) + k * kBlock * w.bits / 8;
  uint8_t* to = span.to + (k - span.k0) * kBlock;
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(span.flip));
  const __m512i sign = _mm512_set1_epi16(static_cast<short>(0x8000));
  const __m512i top = _mm512_set1_epi16(static_cast<short>(0xf000));
  const __m512i upper = _mm512_set1_epi16(static_cast<short>(0xff00));
  const Steps s = steps_of(w, span.block, k, inverse);
  if (w.bits == 8) {
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; ++quad, codes += 64, to += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead * 2, _MM_HINT_T1);
      const __m512i v = _mm512_loadu_si512(codes);
      // (v & mask) ^ sign
      const __m512i even = _mm512_xor_si512(_mm512_slli_epi16(v, 8), sign);
      const __m512i odd = _mm512_ternarylogic_epi32(v, upper, sign, 0x6a);
      _mm512_storeu_si512(to, new_codes(even, odd, s, flips));
    }
    return;
  }
#pragma GCC unroll 4
  for (int pair = 0; pair < 4; ++pair, codes += 64, to += 128) {
    _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead, _MM_HINT_T1);
    const __m512i v = _mm512_loadu_si512(codes);
    const __m512i even0 = _mm512_xor_si512(_mm512_slli_epi16(v, 12), sign);
    const __m512i odd0 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 4), top, sign, 0x6a);
    const __m512i even1 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 8), top, sign, 0x6a);
    const __m512i odd1 = _mm512_ternarylogic_epi32(v, top, sign, 0x6a);
    _mm512_storeu_si512(to, new_codes(even0, odd0, s, flips));
    _mm512_storeu_si512(to + 64, new_codes(even1, odd1, s, flips));
  }
}

// Unpacks the large inputs into a tile, and stores their scales.
void unpack_large(const OslerWeight& w, const Span& span) {
  uint8_t* to = span.to + span.steps * kTile;
  const __m512i kept = _mm512_set1_epi32((1 << w.bits) - 1), byte = _mm512_set1_epi32(255);
  __m512 value[kLarge], most = _mm512_setzero_ps();
  const uint8_t* codes = w.codes + span.block * block_bytes(w);
  const __m512 zero = _mm512_set1_ps(static_cast<float>(-zero_point(w)));
  for (int64_t i = 0; i < kLarge; ++i) {
    const int64_t k = span.picked[i], at = (span.block * scale_groups(w) + k / w.group) * kBlock;
    const int shift = static_cast<int>(k % 4 * 8 + (w.bits == 4 && k % 8 >= 4 ? 4 : 0));
    const __m512i four = _mm512_loadu_si512(codes + k * w.bits / 8 / 4 * 64);
    const __m512i code = _mm512_and_si512(_mm512_srl_epi32(four, _mm_cvtsi32_si128(shift)), kept);
    const __m512 scale = load_half(w.scale + at);
    const __m512 offset = w.offset ? load_half(w.offset + at) : _mm512_mul_ps(scale, zero);
    value[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, offset);
    most = _mm512_max_ps(most, _mm512_abs_ps(value[i]));
  }
  const __m512 inverse = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(most, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                             _mm512_set1_ps(127.0f), most);
  _mm512_storeu_ps(span.scales + kSide, _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 127.0f)));
  for (int64_t i = 0; i < kLarge; i += 4) {
    __m512i four = _mm512_set1_epi8(static_cast<char>(span.flip));
    for (int64_t j = 0; j < 4; ++j) {
      const __m512i code = _mm512_and_si512(_mm512_cvtps_epi32(_mm512_mul_ps(value[i + j], inverse)), byte);
      four = _mm512_xor_si512(four, _mm512_sll_epi32(code, _mm_cvtsi32_si128(static_cast<int>(8 * j))));
    }
    _mm512_storeu_si512(to + i * 16, four);
  }
}

}  // namespace

void unpack_piece(const OslerWeight& w, const Span& s, int64_t piece) {
  const bool past = s.block >= (w.rows + kBlock - 1) / kBlock, last = piece + 1 == unpack_pieces(s);
  const int64_t filled = past ? 0 : (s.k1 - s.k0) * kBlock, all = (s.steps + (past && s.picked ? 1 : 0)) * kTile;
  if (piece == 0) {
    _mm512_storeu_ps(s.scales, past ? _mm512_setzero_ps() : span_scale(w, s.block, s.k0, s.k1));
    if (past) _mm512_storeu_ps(s.scales + kSide, _mm512_setzero_ps());
    // Half a tile where the inputs are no multiple of 64.
    std::memset(s.to + filled, s.flip, all - filled);
  } else if (!past && !last) {
    unpack_group(w, s, s.k0 + (piece - 1) * kGroup);
  } else if (!past && s.picked) {
    unpack_large(w, s);
  }
}

}  // namespace osler
