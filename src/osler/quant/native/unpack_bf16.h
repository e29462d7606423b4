// Stored weights of 4 and 8 bits to tiles of bfloat16, for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "ahead.h"
#include "vectors.h"

namespace osler {
namespace {

// Unpacks a span in pieces of two halves, eight inputs, so that tiles never wait for long.
class Bf16Unpacker {
 public:
  explicit Bf16Unpacker(const OslerWeight& w) : w_(w), wide_(w.bits == 8) {}

  // Starts a span, and returns in how many pieces it is unpacked. Past the last output all is done: zeros.
  int64_t start(const Span& span) {
    to_ = reinterpret_cast<uint16_t*>(span.to);
    k0_ = span.k0;
    piece_ = scaled_ = 0;
    if (span.block >= (w_.rows + kBlock - 1) / kBlock) {
      std::memset(span.to, 0, span.steps * kTile);
      return 0;
    }
    codes_ = w_.codes + span.block * block_bytes(w_) + span.k0 * kBlock * w_.bits / 8;
    const int64_t at = (span.block * scale_groups(w_) + span.k0 / w_.group) * kBlock;
    scale_at_ = w_.scale + at;
    offset_at_ = w_.offset ? w_.offset + at : nullptr;
    ahead_.start(w_, span, kAhead);
    return (span.k1 - span.k0) / 8;
  }

  // The first half of the next piece.
  __attribute__((always_inline)) void first() {
    if (piece_ == scaled_) scale_group();
    uint16_t* to = to_ + piece_ * 128;
    if (wide_) {
      ahead_.codes(piece_ * 128);
      unpack_quad(to, _mm512_loadu_si512(codes_ + piece_ * 128));
    } else {
      ahead_.codes(piece_ * 64);
      unpack_quad(to, _mm512_and_si512(_mm512_loadu_si512(codes_ + piece_ * 64), _mm512_set1_epi8(15)));
    }
  }

  __attribute__((always_inline)) void second() {
    uint16_t* to = to_ + piece_ * 128 + 64;
    if (wide_) {
      ahead_.codes(piece_ * 128 + 64);
      unpack_quad(to, _mm512_loadu_si512(codes_ + piece_ * 128 + 64));
    } else {
      const __m512i high = _mm512_srli_epi16(_mm512_loadu_si512(codes_ + piece_ * 64), 4);
      unpack_quad(to, _mm512_and_si512(high, _mm512_set1_epi8(15)));
    }
    ++piece_;
  }

  void finish() {}

 private:
  static constexpr int64_t kAhead = 4096;  // bytes of codes that are fetched before they are unpacked

  // The scales of the inputs up to the next group.
  __attribute__((always_inline)) void scale_group() {
    ahead_.group(scale_at_, offset_at_);
    scale_ = load_half(scale_at_);
    const __m512 zero = _mm512_set1_ps(-static_cast<float>(zero_point(w_)));
    offset_ = offset_at_ ? load_half(offset_at_) : _mm512_mul_ps(scale_, zero);
    const int64_t k = k0_ + piece_ * 8;
    scaled_ += (w_.group - k % w_.group) / 8;
    scale_at_ += kBlock;
    if (offset_at_) offset_at_ += kBlock;
  }

  // Two vectors of float32 as pairs of bfloat16: low, high, low, high ...
  static __m512i pairs_of(__m512 low, __m512 high) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, to_bf16(low, high));
  }

  __attribute__((always_inline)) __m512 value_of(__m512i codes, int shift) const {
    const __m512i code = _mm512_and_si512(_mm512_srli_epi32(codes, shift), _mm512_set1_epi32(255));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale_, offset_);
  }

  // Four inputs of 16 outputs, one code a byte.
  __attribute__((always_inline)) void unpack_quad(uint16_t* to, __m512i codes) const {
    _mm512_store_si512(to, pairs_of(value_of(codes, 0), value_of(codes, 8)));
    _mm512_store_si512(to + 32, pairs_of(value_of(codes, 16), value_of(codes, 24)));
  }

  const OslerWeight& w_;
  const bool wide_;
  int64_t k0_ = 0, piece_ = 0, scaled_ = 0;  // the first input; the next piece, and the first one without scales
  const uint8_t* codes_ = nullptr;           // of the span
  const uint16_t *scale_at_ = nullptr, *offset_at_ = nullptr;
  uint16_t* to_ = nullptr;
  Ahead ahead_;
  __m512 scale_, offset_;
};

}  // namespace
}  // namespace osler
