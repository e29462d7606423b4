// Stored weights are fetched before they are unpacked.
#pragma once

#include <immintrin.h>

#include "many_rows.h"

namespace osler {
namespace {

// Goes over the codes of a span some bytes ahead, and at its end on to those that are unpacked after it. Their scales,
// which are read all at once, are fetched while this span is unpacked.
class Ahead {
 public:
  void start(const OslerWeight& w, const Span& span, int64_t bytes) {
    const int64_t block = block_bytes(w), unit = kBlock * w.bits / 8, length = (span.k1 - span.k0) * unit;
    from_ = w.codes + span.block * block + span.k0 * unit + bytes;
    next_ = w.codes + span.next * block + span.k0 * unit + bytes - length;
    last_ = length - bytes;
    scales_ = (span.next - span.block) * scale_groups(w) * kBlock;
  }

  // Of a vector of codes, by its place in the span.
  __attribute__((always_inline)) void codes(int64_t at) const {
    _mm_prefetch(reinterpret_cast<const char*>((at < last_ ? from_ : next_) + at), _MM_HINT_T1);
  }

  // Of a group, by those of its scales and offsets in this span; null for none.
  __attribute__((always_inline)) void group(const uint16_t* scale, const uint16_t* offset) const {
    _mm_prefetch(reinterpret_cast<const char*>(scale + scales_), _MM_HINT_T1);
    if (offset) _mm_prefetch(reinterpret_cast<const char*>(offset + scales_), _MM_HINT_T1);
  }

 private:
  const uint8_t *from_ = nullptr, *next_ = nullptr;
  int64_t last_ = 0, scales_ = 0;
};

}  // namespace
}  // namespace osler
