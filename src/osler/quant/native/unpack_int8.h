// Stored weights of 4 and 8 bits to int8 with one scale for each output and span, for AVX-512.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ahead.h"
#include "vectors.h"

namespace osler {
namespace {

// Bytes of 4-bit codes that are fetched before they are unpacked.
constexpr int64_t kAhead = 2048;

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

// `scale` and `offset`: of 16 outputs and a group of inputs, `offset` null for none.
inline Steps steps_of(const uint16_t* scale_at, const uint16_t* offset_at, float zero_point, __m512 inverse) {
  const __m512 zero = _mm512_set1_ps(zero_point), scale = load_half(scale_at);
  // inverse = 1 / (128 * scale of the span): one stands for the whole range.
  const __m512 one = _mm512_set1_ps(32768.0f), half = _mm512_set1_ps(128.0f);
  const __m512 step = _mm512_mul_ps(_mm512_mul_ps(scale, zero), _mm512_mul_ps(inverse, one));
  if (!offset_at) return {both_halves(step), _mm512_set1_epi16(128)};
  const __m512 middle = _mm512_fmadd_ps(scale, zero, load_half(offset_at));
  return {both_halves(step), both_halves(_mm512_fmadd_ps(middle, _mm512_mul_ps(inverse, one), half))};
}

// Fractions of the even and of the odd bytes to new codes.
template <uint8_t kFlip>
inline __m512i new_codes(__m512i even, __m512i odd, const Steps& s) {
  even = _mm512_adds_epi16(_mm512_mulhrs_epi16(even, s.step), s.offset);
  odd = _mm512_adds_epi16(_mm512_mulhrs_epi16(odd, s.step), s.offset);
  const __m512i upper = _mm512_set1_epi16(static_cast<short>(0xff00));
  // (odd & upper) | (even >> 8 & ~upper), then the flip of the signs.
  const __m512i codes = _mm512_ternarylogic_epi32(upper, odd, _mm512_srli_epi16(even, 8), 0xca);
  return kFlip ? _mm512_xor_si512(codes, _mm512_set1_epi8(static_cast<char>(kFlip))) : codes;
}

// Past the last output: zeros.
inline void fill_past(const Span& span, uint8_t zero) {
  std::memset(span.to, zero, (span.steps + span.extra) * kTile);
  _mm512_storeu_ps(span.scales, _mm512_setzero_ps());
}

// The weights that are needed once more, from the tiles that are there by now.
inline void copy_again(const Span& span) {
  const __m512i kept = _mm512_set1_epi32(255);
  for (int64_t i = 0; i < span.extra * kInputs; i += 4) {
    __m512i four = _mm512_setzero_si512();
    for (int j = 0; j < 4; ++j) {
      const int64_t k = span.again[i + j] - span.k0;
      const __m512i codes = _mm512_srl_epi32(_mm512_load_si512(span.to + k / 4 * 64), _mm_cvtsi64_si128(k % 4 * 8));
      four = _mm512_or_si512(four, _mm512_sll_epi32(_mm512_and_si512(codes, kept), _mm_cvtsi32_si128(8 * j)));
    }
    _mm512_store_si512(span.to + span.steps * kTile + i * kBlock, four);
  }
}

// Unpacks a span in pieces of eight inputs, in two halves, so that tiles seldom wait for long: a span's scale is found at
// once, and weights that are needed once more are copied at once.
//
// `kFlip`: 0 for weights as signed codes; 128 for unsigned ones, 128 more.
template <uint8_t kFlip>
class Int8Unpacker {
 public:
  explicit Int8Unpacker(const OslerWeight& w)
      : w_(w), groups_(scale_groups(w)), zero_(static_cast<float>(zero_point(w))), wide_(w.bits == 8) {}

  // Starts a span, and returns in how many pieces it is unpacked. Past the last output all is done: zeros.
  int64_t start(const Span& span) {
    span_ = span;
    piece_ = scaled_ = 0;
    if (span.block >= (w_.rows + kBlock - 1) / kBlock) {
      fill_past(span, kFlip);
      span_.extra = 0;
      return 0;
    }
    find_scale();
    codes_ = w_.codes + span.block * block_bytes(w_) + span.k0 * kBlock * w_.bits / 8;
    ahead_.start(w_, span, wide_ ? 2 * kAhead : kAhead);
    // Half a tile where the inputs are no multiple of 64.
    const int64_t filled = (span.k1 - span.k0) * kBlock;
    std::memset(span.to + filled, kFlip, span.steps * kTile - filled);
    return (span.k1 - span.k0) / 8;
  }

  // The first half of the next piece.
  __attribute__((always_inline)) void first() {
    if (piece_ == scaled_) scale_group();
    uint8_t* to = span_.to + piece_ * 128;
    if (wide_) {
      ahead_.codes(piece_ * 128);
      const __m512i v = _mm512_loadu_si512(codes_ + piece_ * 128);
      store_quad(to, _mm512_slli_epi16(v, 8), v, 0xff00);
    } else {
      ahead_.codes(piece_ * 64);
      const __m512i v = _mm512_loadu_si512(codes_ + piece_ * 64);
      store_quad(to, _mm512_slli_epi16(v, 12), _mm512_slli_epi16(v, 4), 0xf000);
    }
  }

  __attribute__((always_inline)) void second() {
    uint8_t* to = span_.to + piece_ * 128 + 64;
    if (wide_) {
      ahead_.codes(piece_ * 128 + 64);
      const __m512i v = _mm512_loadu_si512(codes_ + piece_ * 128 + 64);
      store_quad(to, _mm512_slli_epi16(v, 8), v, 0xff00);
    } else {
      const __m512i v = _mm512_loadu_si512(codes_ + piece_ * 64);
      store_quad(to, _mm512_slli_epi16(v, 8), v, 0xf000);
    }
    ++piece_;
  }

  void finish() { copy_again(span_); }

 private:
  // Four inputs of 16 outputs: the codes of the even and of the odd bytes, at the top of 16 bits; other bits are not `kept`.
  __attribute__((always_inline)) void store_quad(uint8_t* to, __m512i even, __m512i odd, int kept) const {
    const __m512i top = _mm512_set1_epi16(static_cast<short>(kept)), sign = _mm512_set1_epi16(static_cast<short>(0x8000));
    // (v & top) ^ sign
    even = _mm512_ternarylogic_epi32(even, top, sign, 0x6a);
    odd = _mm512_ternarylogic_epi32(odd, top, sign, 0x6a);
    _mm512_store_si512(to, new_codes<kFlip>(even, odd, steps_));
  }

  // The smallest scale with which all values of 16 outputs over the span fit into -127..127.
  void find_scale() {
    const float top = static_cast<float>((1 << w_.bits) - 1);
    // A step of the stored codes must stay below 1 / zero point of the whole range, see `Steps`.
    const __m512 whole = _mm512_set1_ps(1.0f / 127.0f), step = _mm512_set1_ps(zero_ * 1.0001f / 128.0f);
    const int64_t block = span_.block * groups_, first = block + span_.k0 / w_.group;
    const int64_t last = block + (span_.k1 + w_.group - 1) / w_.group;
    __m512 most = _mm512_setzero_ps();
    for (int64_t group = first; group < last; ++group) {
      const __m512 scale = load_half(w_.scale + group * kBlock);
      const __m512 low = w_.offset ? load_half(w_.offset + group * kBlock) : _mm512_mul_ps(scale, _mm512_set1_ps(-zero_));
      const __m512 high = _mm512_fmadd_ps(scale, _mm512_set1_ps(top), low);
      const __m512 bound = _mm512_mul_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)), whole);
      most = _mm512_max_ps(most, _mm512_max_ps(bound, _mm512_mul_ps(_mm512_abs_ps(scale), step)));
    }
    _mm512_storeu_ps(span_.scales, most);
    inverse_ = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(most, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                   _mm512_set1_ps(1.0f / 128.0f), most);
    scale_ = w_.scale + first * kBlock;
    offset_ = w_.offset ? w_.offset + first * kBlock : nullptr;
  }

  // The steps of the inputs up to the next group.
  __attribute__((always_inline)) void scale_group() {
    steps_ = steps_of(scale_, offset_, zero_, inverse_);
    ahead_.group(scale_, offset_);
    const int64_t k = span_.k0 + piece_ * 8;
    scaled_ += (w_.group - k % w_.group) / 8;
    scale_ += kBlock;
    if (offset_) offset_ += kBlock;
  }

  const OslerWeight& w_;
  const int64_t groups_;
  const float zero_;
  const bool wide_;
  Span span_ = {};
  int64_t piece_ = 0, scaled_ = 0;         // the next piece, and the first one without steps
  const uint8_t* codes_ = nullptr;         // of the span
  const uint16_t *scale_ = nullptr, *offset_ = nullptr;
  Ahead ahead_;
  __m512 inverse_;
  Steps steps_;
};

}  // namespace
}  // namespace osler
