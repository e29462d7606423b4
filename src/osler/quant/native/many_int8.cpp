// Products of many rows by tiles of int8.
//
// All four tiles of a step are loaded before they are multiplied: so the loads of a step run beside the products of the
// one before, from the second-level cache too. Three of the four are loaded with the hint that they are not needed soon:
// so the fourth, a block of weights, stays in the first-level cache while all rows pass over it.
#include <immintrin.h>

#include "many_rows.inc"
#include "tiles.h"
#include "unpack_int8.h"

namespace osler {
namespace {

struct AmxInt8 {
  using Unpacker = Int8Unpacker<0>;
  static constexpr bool kScaled = true;
  static constexpr int64_t kRowsAtOnce = 512;  // their span takes at most 1.3 of the 2 MB of a second-level cache

  static void begin() { configure_tiles(); }
  static void end() { _tile_release(); }

  __attribute__((always_inline)) static void step(const uint8_t* a, int64_t a_next, const uint8_t* b, int64_t b_next) {
    _tile_stream_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_stream_loadd(7, b + b_next, 64);
    _tile_stream_loadd(5, a + a_next, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }

  static void clear() { _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); }

  static void store(void* to) {
    auto* sums = static_cast<int32_t*>(to);
    _tile_stored(0, sums, kSide * 4);
    _tile_stored(1, sums + 16, kSide * 4);
    _tile_stored(2, sums + 16 * kSide, kSide * 4);
    _tile_stored(3, sums + 16 * kSide + 16, kSide * 4);
  }

  template <class Meanwhile>
  static void multiply(const Square& s, Meanwhile meanwhile) {
    if (s.large) {
      clear();
      step(s.a_large, s.a_next, s.b_large, s.b_next);
      store(s.large);
    }
    clear();
    const uint8_t *a = s.a, *b = s.b;
    for (int64_t i = 0; i < s.steps; ++i, a += kTile, b += kTile) {
      step(a, s.a_next, b, s.b_next);
      meanwhile();
    }
    store(s.sums);
  }
};

}  // namespace

bool multiply_int8_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8>(p, threads); }

}  // namespace osler
