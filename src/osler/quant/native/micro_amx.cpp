// The micro-kernel of AMX for many rows: int8 tiles. While a square is multiplied, the one before it is scaled and added:
// tiles and vectors are computed by different parts of the processor.
#include <immintrin.h>

#include "many_rows.h"
#include "tiles.h"

namespace osler {
namespace {

// Adds rows from..to-1 (of 32) of the waiting square to its totals.
template <bool kFirst>
inline void add_rows(const int32_t* sums, const Square& s, int from, int to) {
  const __m512 w0 = _mm512_loadu_ps(s.w_scale), w1 = _mm512_loadu_ps(s.w_scale + 16);
  for (int row = from; row < to; ++row) {
    const __m512 x = _mm512_set1_ps(s.x_scale[row]);
    const __m512 v0 = _mm512_cvtepi32_ps(_mm512_load_si512(sums + row * kSide));
    const __m512 v1 = _mm512_cvtepi32_ps(_mm512_load_si512(sums + row * kSide + 16));
    float* total = s.total + row * kSide;
    const __m512 s0 = _mm512_mul_ps(x, w0), s1 = _mm512_mul_ps(x, w1);
    _mm512_store_ps(total, kFirst ? _mm512_mul_ps(v0, s0) : _mm512_fmadd_ps(v0, s0, _mm512_load_ps(total)));
    _mm512_store_ps(total + 16, kFirst ? _mm512_mul_ps(v1, s1) : _mm512_fmadd_ps(v1, s1, _mm512_load_ps(total + 16)));
  }
}

enum Add { kNothing, kFirstTime, kAgain };

template <int kSteps, Add kAdd>
inline void multiply_steps(const Square& s, const Late& late) {
  constexpr int kRows = kSide / (4 * kSteps);  // of the waiting square after each product of tiles
  const int32_t* sums = late.sums[late.at ^ 1];
  int row = 0;
  auto add = [&] {
    if (kAdd != kNothing) add_rows<kAdd == kFirstTime>(sums, late.square, row, row + kRows);
    row += kRows;
  };
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
#pragma GCC unroll 4
  for (int step = 0; step < kSteps; ++step) {
    const int64_t at = step * kTile8;
    _tile_loadd(4, s.a + at, 64);
    _tile_loadd(6, s.b + at, 64);
    _tile_dpbssd(0, 4, 6);
    add();
    _tile_loadd(7, s.b + s.b_next + at, 64);
    _tile_dpbssd(1, 4, 7);
    add();
    _tile_loadd(5, s.a + s.a_next + at, 64);
    _tile_dpbssd(2, 5, 6);
    add();
    _tile_dpbssd(3, 5, 7);
    add();
  }
  if (kAdd != kNothing && row < kSide) add_rows<kAdd == kFirstTime>(sums, late.square, row, kSide);
}

template <int kSteps>
inline void multiply_any(const Square& s, const Late& late) {
  if (!late.waits) multiply_steps<kSteps, kNothing>(s, late);
  else if (late.square.first) multiply_steps<kSteps, kFirstTime>(s, late);
  else multiply_steps<kSteps, kAgain>(s, late);
}

void multiply(const Square& s, Late& late) {
  switch (s.steps) {
    case 1: multiply_any<1>(s, late); break;
    case 2: multiply_any<2>(s, late); break;
    case 3: multiply_any<3>(s, late); break;
    default: multiply_any<4>(s, late); break;
  }
  int32_t* sums = late.sums[late.at];
  _tile_stored(0, sums, kSide * 4);
  _tile_stored(1, sums + 16, kSide * 4);
  _tile_stored(2, sums + 16 * kSide, kSide * 4);
  _tile_stored(3, sums + 16 * kSide + 16, kSide * 4);
  late.square = s;
  late.waits = true;
  late.at ^= 1;
}

void finish(Late& late) {
  if (!late.waits) return;
  const int32_t* sums = late.sums[late.at ^ 1];
  if (late.square.first) add_rows<true>(sums, late.square, 0, kSide);
  else add_rows<false>(sums, late.square, 0, kSide);
  late.waits = false;
}

void release() { _tile_release(); }

}  // namespace

const Micro kAmxMicro = {0, configure_tiles, multiply, finish, release};

}  // namespace osler
