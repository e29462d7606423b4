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

// Unpacks a span in pieces, most of them one vector of codes, so that tiles never wait for long: first the scale of the
// span, then its codes, then the large inputs and their scale.
//
// `kFlip`: 0 for weights as signed codes; 128 for unsigned ones, 128 more.
template <uint8_t kFlip>
class Int8Unpacker {
 public:
  // `picked`: (kLarge) the large inputs; null for none.
  Int8Unpacker(const OslerWeight& w, const int32_t* picked)
      : w_(w), groups_(scale_groups(w)), zero_(static_cast<float>(zero_point(w))), wide_(w.bits == 8) {
    for (int64_t i = 0; picked && i < kLarge; ++i) {
      const int64_t k = picked[i];
      places_[i] = {k * w.bits / 8 / 4 * 64, k / w.group * kBlock,
                    static_cast<int>(k % 4 * 8 + (w.bits == 4 && k % 8 >= 4 ? 4 : 0))};
    }
  }

  // Starts a span, and returns in how many pieces it is unpacked.
  int64_t start(const Span& span) {
    span_ = span;
    past_ = span.block >= (w_.rows + kBlock - 1) / kBlock;
    first_ = span.k0 / w_.group;
    const int64_t count = (span.k1 + w_.group - 1) / w_.group - first_;
    scaling_ = (count + kScaled - 1) / kScaled;
    last_ = first_ + count;
    group_ = first_;
    most_ = _mm512_setzero_ps();
    k_ = stop_ = span.k0;
    large_ = 0;
    return scaling_ + (span.k1 - span.k0) / (wide_ ? 4 : 8) + (span.picked ? 2 * kLarge / kRead : 0);
  }

  // The next piece.
  __attribute__((always_inline)) void next() {
    if (k_ == stop_) return past_ ? fill() : k_ == span_.k1 ? unpack_large() : find_scale();
    if (k_ == scaled_) scale_group();
    ahead_.codes();
    const __m512i v = _mm512_loadu_si512(codes_);
    const __m512i sign = _mm512_set1_epi16(static_cast<short>(0x8000));
    if (wide_) {
      // (v & mask) ^ sign
      const __m512i even = _mm512_xor_si512(_mm512_slli_epi16(v, 8), sign);
      const __m512i odd = _mm512_ternarylogic_epi32(v, _mm512_set1_epi16(static_cast<short>(0xff00)), sign, 0x6a);
      _mm512_store_si512(to_, new_codes<kFlip>(even, odd, steps_));
      k_ += 4;
      to_ += 64;
    } else {
      const __m512i top = _mm512_set1_epi16(static_cast<short>(0xf000));
      const __m512i even0 = _mm512_xor_si512(_mm512_slli_epi16(v, 12), sign);
      const __m512i odd0 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 4), top, sign, 0x6a);
      const __m512i even1 = _mm512_ternarylogic_epi32(_mm512_slli_epi16(v, 8), top, sign, 0x6a);
      const __m512i odd1 = _mm512_ternarylogic_epi32(v, top, sign, 0x6a);
      _mm512_store_si512(to_, new_codes<kFlip>(even0, odd0, steps_));
      _mm512_store_si512(to_ + 64, new_codes<kFlip>(even1, odd1, steps_));
      k_ += 8;
      to_ += 128;
    }
    codes_ += 64;
  }

 private:
  struct Place {
    int64_t codes, scale;  // offsets in a block
    int shift;             // of its bits in four bytes
  };

  // Past the last output: zeros, all at once.
  void fill() {
    if (large_++) return;
    std::memset(span_.to, kFlip, (span_.steps + (span_.picked ? 1 : 0)) * kTile);
    _mm512_storeu_ps(span_.scales, _mm512_setzero_ps());
    _mm512_storeu_ps(span_.scales + kSide, _mm512_setzero_ps());
  }

  // The smallest scale with which all values of 16 outputs over the span fit into -127..127: some groups at a time.
  void find_scale() {
    const float top = static_cast<float>((1 << w_.bits) - 1);
    // A step of the stored codes must stay below 1 / zero point of the whole range, see `Steps`.
    const __m512 whole = _mm512_set1_ps(1.0f / 127.0f), step = _mm512_set1_ps(zero_ * 1.0001f / 128.0f);
    const int64_t first = span_.block * groups_, to = std::min(last_, group_ + kScaled);
    for (; group_ < to; ++group_) {
      const int64_t at = (first + group_) * kBlock;
      const __m512 scale = load_half(w_.scale + at);
      const __m512 low = w_.offset ? load_half(w_.offset + at) : _mm512_mul_ps(scale, _mm512_set1_ps(-zero_));
      const __m512 high = _mm512_fmadd_ps(scale, _mm512_set1_ps(top), low);
      const __m512 bound = _mm512_mul_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)), whole);
      most_ = _mm512_max_ps(most_, _mm512_max_ps(bound, _mm512_mul_ps(_mm512_abs_ps(scale), step)));
    }
    if (group_ < last_) return;
    _mm512_storeu_ps(span_.scales, most_);
    inverse_ = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(most_, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                   _mm512_set1_ps(1.0f / 128.0f), most_);
    // Half a tile where the inputs are no multiple of 64.
    const int64_t filled = (span_.k1 - span_.k0) * kBlock;
    std::memset(span_.to + filled, kFlip, span_.steps * kTile - filled);
    stop_ = span_.k1;
    scaled_ = span_.k0;
    to_ = span_.to;
    codes_ = w_.codes + span_.block * block_bytes(w_) + span_.k0 * kBlock * w_.bits / 8;
    ahead_.start(w_, span_, wide_ ? 2 * kAhead : kAhead);
    scale_ = w_.scale + (first + first_) * kBlock;
    offset_ = w_.offset ? w_.offset + (first + first_) * kBlock : nullptr;
  }

  // The steps of the inputs up to the next group.
  void scale_group() {
    steps_ = steps_of(scale_, offset_, zero_, inverse_);
    ahead_.scales(scale_);
    ahead_.scales(offset_);
    scaled_ += w_.group - scaled_ % w_.group;
    scale_ += kBlock;
    if (offset_) offset_ += kBlock;
  }

  // A few of the large inputs: first their values, then their codes by the scale that all of them share.
  void unpack_large() {
    const int64_t i0 = large_ % kLarge;
    if (large_ == 0) most_ = _mm512_setzero_ps();
    if (large_ < kLarge) {
      const __m512i kept = _mm512_set1_epi32((1 << w_.bits) - 1);
      const uint8_t* codes = w_.codes + span_.block * block_bytes(w_);
      const int64_t scales = span_.block * groups_ * kBlock;
      for (int64_t i = i0; i < i0 + kRead; ++i) {
        const Place& place = places_[i];
        const __m512i four = _mm512_loadu_si512(codes + place.codes);
        const __m512i code = _mm512_and_si512(_mm512_srl_epi32(four, _mm_cvtsi32_si128(place.shift)), kept);
        const __m512 scale = load_half(w_.scale + scales + place.scale);
        const __m512 offset = w_.offset ? load_half(w_.offset + scales + place.scale)
                                        : _mm512_mul_ps(scale, _mm512_set1_ps(-zero_));
        value_[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, offset);
        most_ = _mm512_max_ps(most_, _mm512_abs_ps(value_[i]));
      }
    } else {
      if (i0 == 0) {
        _mm512_storeu_ps(span_.scales + kSide, _mm512_mul_ps(most_, _mm512_set1_ps(1.0f / 127.0f)));
        inverse_ = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(most_, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                       _mm512_set1_ps(127.0f), most_);
      }
      __m512i four = _mm512_set1_epi8(static_cast<char>(kFlip));
      for (int64_t j = 0; j < kRead; ++j) {
        const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(value_[i0 + j], inverse_));
        const __m512i byte = _mm512_and_si512(code, _mm512_set1_epi32(255));
        four = _mm512_xor_si512(four, _mm512_sll_epi32(byte, _mm_cvtsi32_si128(static_cast<int>(8 * j))));
      }
      _mm512_storeu_si512(span_.to + span_.steps * kTile + i0 * kBlock, four);
    }
    large_ += kRead;
  }

  static constexpr int64_t kScaled = 4, kRead = 4;  // groups, and large inputs, of a piece

  const OslerWeight& w_;
  const int64_t groups_;
  const float zero_;
  const bool wide_;
  Span span_ = {};
  bool past_ = false;
  int64_t first_ = 0, last_ = 0, group_ = 0, scaling_ = 0;  // groups of the span, the next one; pieces of all
  int64_t k_ = 0, stop_ = 0, scaled_ = 0;  // the next input, where other pieces follow, the first one without steps
  int64_t large_ = 0;                      // large inputs done, twice
  uint8_t* to_ = nullptr;
  const uint8_t* codes_ = nullptr;
  const uint16_t *scale_ = nullptr, *offset_ = nullptr;
  Ahead ahead_;
  __m512 most_, inverse_;
  Steps steps_;
  __m512 value_[kLarge];
  Place places_[kLarge] = {};
};

}  // namespace
}  // namespace osler
