// Stored weights of 8 bits to int8 after a Hadamard matrix, with one scale for each output and span, for AVX-512.
#pragma once

#include <algorithm>

#include "hadamard.h"
#include "known_weight.h"
#include "unpack_int8.h"

namespace osler {
namespace {

// As `Int8Unpacker`: four pieces make 32 inputs, which are spread in the first two and put together in the others.
class HadamardUnpacker {
 public:
  explicit HadamardUnpacker(const OslerWeight& w) : w_(w), groups_(scale_groups(w)), rows_(spans_of(w)) {}

  int64_t start(const Span& span) {
    span_ = span;
    piece_ = scaled_ = 0;
    if (span.block >= (w_.rows + kBlock - 1) / kBlock) {
      fill_past(span, 0);
      span_.extra = 0;
      return 0;
    }
    const int64_t number = span.k0 / (rows_.depth * kInputs);
    const __m512 scales = _mm512_loadu_ps(hadamard_scales(w_) + (span.block * rows_.spans + number) * kBlock);
    _mm512_storeu_ps(span.scales, scales);
    // A step of the stored sums is at most one of the new codes, so that as a fraction it fits into 16 bits.
    inverse_ = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(scales, _mm512_set1_ps(1e-30f), _CMP_GT_OQ),
                                   _mm512_set1_ps(32768.0f), scales);
    scale_ = w_.scale + (span.block * groups_ + span.k0 / w_.group) * kBlock;
    codes_ = w_.codes + span.block * block_bytes(w_) + span.k0 * kBlock;
    ahead_.start(w_, span, 2 * kAhead);
    // Half a tile where the inputs are no multiple of 64.
    const int64_t filled = (span.k1 - span.k0) * kBlock;
    std::memset(span.to + filled, 0, span.steps * kTile - filled);
    return (span.k1 - span.k0) / 8;
  }

  // The first half of the next piece.
  __attribute__((always_inline)) void first() {
    if (piece_ == scaled_) scale_group();
    if (piece_ % 4 < 2) spread(0);
    else put_pair(piece_ % 4 * 2 - 4);
  }

  __attribute__((always_inline)) void second() {
    if (piece_ % 4 < 2) spread(1);
    else put_pair(piece_ % 4 * 2 - 3);
    ++piece_;
  }

  void finish() { copy_again(span_); }

 private:
  __attribute__((always_inline)) void spread(int half) {
    const int kind = piece_ % 4;
    const int64_t at = piece_ / 4 * kMixed * kBlock;
    if (kind == 0)
      for (int64_t line = 0; line < 4; ++line) ahead_.codes(at + half * 256 + line * 64);
    mixed_.spread(codes_ + at, kind, half);
  }

  // Quads `i` and `i + 4` of 32 inputs.
  __attribute__((always_inline)) void put_pair(int64_t i) {
    uint8_t* to = span_.to + piece_ / 4 * kMixed * kBlock + i * 64;
    MixedCodes::Quads low, high;
    mixed_.pair(i, low, high);
    _mm512_store_si512(to, codes_of(low));
    _mm512_store_si512(to + 256, codes_of(high));
  }

  __attribute__((always_inline)) __m512i codes_of(const MixedCodes::Quads& quads) const {
    const __m512i even = _mm512_mulhrs_epi16(quads.even, step_), odd = _mm512_mulhrs_epi16(quads.odd, step_);
    // (even & 255) | (odd << 8)
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(255), even, _mm512_slli_epi16(odd, 8), 0xca);
  }

  // The step of the inputs up to the next group.
  __attribute__((always_inline)) void scale_group() {
    step_ = both_halves(_mm512_mul_ps(load_half(scale_), inverse_));
    ahead_.group(scale_, nullptr);
    const int64_t k = span_.k0 + piece_ * 8;
    scaled_ += (w_.group - k % w_.group) / 8;
    scale_ += kBlock;
  }

  const OslerWeight& w_;
  const int64_t groups_;
  const Rows rows_;
  Span span_ = {};
  int64_t piece_ = 0, scaled_ = 0;         // the next piece, and the first one without a step
  const uint8_t* codes_ = nullptr;         // of the span
  const uint16_t* scale_ = nullptr;
  Ahead ahead_;
  MixedCodes mixed_;
  __m512 inverse_;
  __m512i step_;
};

}  // namespace
}  // namespace osler
