// The micro-kernel of AMX for many rows: tiles of int8.
//
// All four tiles of a step are loaded before they are multiplied: so the loads of a step run beside the products of the
// one before, from the second-level cache too.
#include <immintrin.h>

#include "many_rows.h"
#include "tiles.h"

namespace osler {
namespace {

constexpr int64_t kUnroll = 4;

__attribute__((always_inline)) inline void multiply_step(const uint8_t* a, int64_t a_next, const uint8_t* b,
                                                         int64_t b_next) {
  _tile_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_loadd(7, b + b_next, 64);
  _tile_loadd(5, a + a_next, 64);
  _tile_dpbssd(0, 4, 6);
  _tile_dpbssd(1, 4, 7);
  _tile_dpbssd(2, 5, 6);
  _tile_dpbssd(3, 5, 7);
}

void multiply(const Square& s, Side& side) {
  const int64_t by = s.back ? -kTile : kTile, first = s.back ? (s.steps - 1) * kTile : 0;
  const uint8_t *a = s.a + first, *b = s.b + first;
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  int64_t step = 0;
  for (; step + kUnroll <= s.steps; step += kUnroll) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kUnroll; ++i, a += by, b += by) multiply_step(a, s.a_next, b, s.b_next);
    side.advance(step + kUnroll, s.steps);
  }
  for (; step < s.steps; ++step, a += by, b += by) multiply_step(a, s.a_next, b, s.b_next);
  int32_t* sums = s.sums;
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + kTileC, 64);
  _tile_stored(2, sums + 2 * kTileC, 64);
  _tile_stored(3, sums + 3 * kTileC, 64);
  side.advance(1, 1);
}

void release() { _tile_release(); }

}  // namespace

const Micro kAmxMicro = {0, configure_tiles, multiply, release};

}  // namespace osler
