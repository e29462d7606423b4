// Products of many rows by tiles of int8.
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

  template <class Meanwhile>
  static void multiply(const Square& s, Meanwhile meanwhile) {
    if (s.large) {
      clear_sums();
      tile_step<Int8Tiles>(s.a_large, s.a_next, s.b_large, s.b_next);
      store_sums(s.large, 16, 16 * kSide, kSide);
    }
    clear_sums();
    const uint8_t *a = s.a, *b = s.b;
    for (int64_t i = 0; i < s.steps; ++i, a += kTile, b += kTile) {
      tile_step<Int8Tiles>(a, s.a_next, b, s.b_next);
      meanwhile();
    }
    store_sums(s.sums, 16, 16 * kSide, kSide);
  }
};

}  // namespace

bool multiply_int8_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8>(p, threads); }

}  // namespace osler
