// What the two ways of attention by tiles share: `tile_attend.cpp` and `attend_whole.cpp`.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "attention.h"
#include "tiles.h"

namespace osler {

constexpr int64_t kHeadStep = 32;  // values of a row of a head that a tile holds
constexpr int64_t kWhole = 64;     // queries that pass over all keys at a time, see `attend_whole`
constexpr int64_t kWholeKeys = 256;
constexpr int64_t kWholeSteps = 4;  // of the widest heads that it takes

// Numbers of bfloat16, as bits, whose products, sums and weights lose nothing: 2^30, 2^-30.
constexpr uint16_t kLargest = 0x4e80, kLeast = 0x3080;

// A head's keys and values in tiles, and what a thread computes in, which both ways share.
struct AttendRoom {
  uint16_t *keys, *values;  // [keys / 16][steps], [columns][padded / 32] tiles
  bool moderate;            // whether `attend_whole` may take them
  uint16_t *q, *weights;
  float *scores, *sums;
};

// What `attend_whole` needs of it.
constexpr int64_t kWholeWeights = kWholeKeys * kWhole, kWholeScores = 64 * kWhole;

struct AttendJob {
  const OslerAttention& a;
  int64_t steps, columns;  // of H: 32 values for scores; 16 for results, of which the one after H counts the weights
  int64_t padded, parts;   // S, filled up to a multiple of 32; parts of the queries of a head
  std::atomic<int64_t> next{0};  // item that nobody has taken: a thread that others hold up takes fewer
  std::atomic<bool> failed{false};
};

// The greatest numbers so far, by their sizes, as bits; and whether one of them is too large.
inline __m512i most_of(__m512i most, __m512i values) {
  return _mm512_max_epu16(most, _mm512_and_si512(values, _mm512_set1_epi16(0x7fff)));
}
inline bool exceeds(__m512i most) { return _mm512_cmpgt_epu16_mask(most, _mm512_set1_epi16(kLargest)); }

// Of queries first..first+count-1 of a head (count at most kWhole) over all keys. Returns false, and writes nothing,
// where weights without a common factor leave the range of numbers.
bool attend_whole(const AttendJob&, int64_t b, int64_t head, int64_t first, int64_t count, const AttendRoom&);

}  // namespace osler
