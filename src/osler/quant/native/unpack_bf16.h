// Stored weights of 4 and 8 bits to tiles of bfloat16, for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "ahead.h"
#include "vectors.h"

namespace osler {
namespace {

// Unpacks a span in pieces of one vector of codes, so that tiles never wait for long.
class Bf16Unpacker {
 public:
  explicit Bf16Unpacker(const OslerWeight& w, const int32_t*) : w_(w), wide_(w.bits == 8) {}

  // Starts a span, and returns in how many pieces it is unpacked.
  int64_t start(const Span& span) {
    k_ = scaled_ = span.k0;
    to_ = reinterpret_cast<uint16_t*>(span.to);
    past_ = span.block >= (w_.rows + kBlock - 1) / kBlock;
    if (past_) {
      std::memset(span.to, 0, span.steps * kTile);
    } else {
      codes_ = w_.codes + span.block * block_bytes(w_) + k_ * kBlock * w_.bits / 8;
      const int64_t at = (span.block * scale_groups(w_) + k_ / w_.group) * kBlock;
      scale_at_ = w_.scale + at;
      offset_at_ = w_.offset ? w_.offset + at : nullptr;
      ahead_.start(w_, span, kAhead);
    }
    return (span.k1 - span.k0) / (wide_ ? 4 : 8);
  }

  // The next piece.
  __attribute__((always_inline)) void next() {
    if (past_) return;
    if (k_ == scaled_) scale_group();
    ahead_.codes();
    const __m512i codes = _mm512_loadu_si512(codes_);
    codes_ += 64;
    if (wide_) {
      unpack_quad(codes);
      k_ += 4;
      return;
    }
    const __m512i nibble = _mm512_set1_epi8(15);
    unpack_quad(_mm512_and_si512(codes, nibble));
    unpack_quad(_mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble));
    k_ += 8;
  }

 private:
  static constexpr int64_t kAhead = 4096;  // bytes of codes that are fetched before they are unpacked

  // The scales of the inputs up to the next group.
  void scale_group() {
    ahead_.scales(scale_at_);
    ahead_.scales(offset_at_);
    scale_ = load_half(scale_at_);
    const __m512 zero = _mm512_set1_ps(-static_cast<float>(zero_point(w_)));
    offset_ = offset_at_ ? load_half(offset_at_) : _mm512_mul_ps(scale_, zero);
    scaled_ += w_.group - scaled_ % w_.group;
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
  __attribute__((always_inline)) void unpack_quad(__m512i codes) {
    _mm512_store_si512(to_, pairs_of(value_of(codes, 0), value_of(codes, 8)));
    _mm512_store_si512(to_ + 32, pairs_of(value_of(codes, 16), value_of(codes, 24)));
    to_ += 64;
  }

  const OslerWeight& w_;
  const bool wide_;
  bool past_ = false;
  int64_t k_ = 0, scaled_ = 0;  // the next input, and the first one without scales
  const uint8_t* codes_ = nullptr;
  const uint16_t *scale_at_ = nullptr, *offset_at_ = nullptr;
  uint16_t* to_ = nullptr;
  Ahead ahead_;
  __m512 scale_, offset_;
};

}  // namespace
}  // namespace osler
