// Products of many rows by tiles of int8.
#include <immintrin.h>

#include "many_rows.inc"
#include "tiles.h"
#include "unpack_hadamard.h"
#include "unpack_int8.h"

namespace osler {
namespace {

template <class Weights>
struct AmxInt8 {
  using Unpacker = Weights;
  static constexpr bool kScaled = true;
  static constexpr int64_t kRowsAtOnce = 512;  // their span takes 1.3, at most 1.4, of the 2 MB of a second-level cache

  static void begin() { configure_tiles(); }
  static void end() { _tile_release(); }

  template <class Meanwhile>
  static void multiply(const Square& s, Meanwhile meanwhile) {
    clear_sums();
    multiply_steps<Int8Tiles>(s.a, s.a_next, s.b, s.b_next, s.steps, meanwhile);
    store_sums(s.sums, 16, 16 * kSide, kSide);
  }
};

}  // namespace

bool multiply_int8_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8<Int8Unpacker<0>>>(p, threads); }

bool multiply_hadamard_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8<HadamardUnpacker>>(p, threads); }

}  // namespace osler
