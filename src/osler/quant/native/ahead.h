// Stored weights are fetched before they are unpacked.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "many_rows.h"

namespace osler {
namespace {

// Goes over the codes of a span some bytes ahead, and at its end on to those that are unpacked after it. Their scales,
// which are read all at once, are fetched while this span is unpacked.
class Ahead {
 public:
  void start(const OslerWeight& w, const Span& span, int64_t bytes) {
    const int64_t block = block_bytes(w), unit = kBlock * w.bits / 8;
    next_ = w.codes + span.next * block + span.k0 * unit;
    end_ = w.codes + span.block * block + span.k1 * unit;
    at_ = w.codes + span.block * block + std::min(span.k0 * unit + bytes, span.k1 * unit);
    if (at_ == end_) at_ = next_;
    scales_ = (span.next - span.block) * scale_groups(w) * kBlock;
  }

  // Of a vector of codes.
  void codes() {
    _mm_prefetch(reinterpret_cast<const char*>(at_), _MM_HINT_T1);
    at_ += 64;
    if (at_ == end_) at_ = next_;
  }

  // Of a group, by the place of those of this span; null for none.
  void scales(const uint16_t* at) const {
    if (at) _mm_prefetch(reinterpret_cast<const char*>(at + scales_), _MM_HINT_T1);
  }

 private:
  const uint8_t *at_ = nullptr, *end_ = nullptr, *next_ = nullptr;
  int64_t scales_ = 0;
};

}  // namespace
}  // namespace osler
