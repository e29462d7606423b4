// The micro-kernel of AMX for many rows: int8 tiles. While a square is multiplied, the one before it is scaled and
// added: tiles and vectors are computed by different parts of the processor.
#include <immintrin.h>

#include "many_rows.h"
#include "tiles.h"

namespace osler {
namespace {

// The square that waits to be added, its addresses in registers.
struct Waiting {
  const int32_t* sums;
  const float* x_scale;
  float* total;
  __m512 w0, w1;
};

// Adds rows from..to-1 (of 32) of the waiting square to its totals. Inlined: a call would cost more than the rows.
template <bool kFirst>
__attribute__((always_inline)) inline void add_rows(const Waiting& s, int from, int to) {
  for (int row = from; row < to; ++row) {
    const __m512 x = _mm512_set1_ps(s.x_scale[row]);
    const __m512 v0 = _mm512_cvtepi32_ps(_mm512_load_si512(s.sums + row * kSide));
    const __m512 v1 = _mm512_cvtepi32_ps(_mm512_load_si512(s.sums + row * kSide + 16));
    float* total = s.total + row * kSide;
    const __m512 s0 = _mm512_mul_ps(x, s.w0), s1 = _mm512_mul_ps(x, s.w1);
    _mm512_store_ps(total, kFirst ? _mm512_mul_ps(v0, s0) : _mm512_fmadd_ps(v0, s0, _mm512_load_ps(total)));
    _mm512_store_ps(total + 16, kFirst ? _mm512_mul_ps(v1, s1) : _mm512_fmadd_ps(v1, s1, _mm512_load_ps(total + 16)));
  }
}

Waiting waiting(const Late& late) {
  const Square& s = late.square;
  return {late.sums, s.x_scale, s.total, _mm512_loadu_ps(s.w_scale), _mm512_loadu_ps(s.w_scale + 16)};
}

void finish(Late& late) {
  if (!late.waits) return;
  if (late.square.first) add_rows<true>(waiting(late), 0, kSide);
  else add_rows<false>(waiting(late), 0, kSide);
  late.waits = false;
}

inline void store_sums(int32_t* sums) {
  _tile_stored(0, sums, kSide * 4);
  _tile_stored(1, sums + 16, kSide * 4);
  _tile_stored(2, sums + 16 * kSide, kSide * 4);
  _tile_stored(3, sums + 16 * kSide + 16, kSide * 4);
}

enum Add { kNothing, kFirstTime, kAgain };

template <Add kAdd>
__attribute__((always_inline)) inline void add_some(const Waiting& s, int from, int to) {
  if (kAdd != kNothing) add_rows<kAdd == kFirstTime>(s, from, to);
}

template <int kSteps, Add kAdd>
void multiply_steps(const Square& s, const Late& late, int32_t* sums) {
  constexpr int kParts = 4 * kSteps;  // of the waiting square: one after each product of tiles
  const Waiting w = kAdd == kNothing ? Waiting{} : waiting(late);
  const int8_t *a0 = s.a, *a1 = s.a + s.a_next;
  const uint8_t *b0 = s.b, *b1 = s.b + s.b_next;
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
#pragma GCC unroll 8
  for (int step = 0; step < kSteps; ++step) {
    const int64_t at = step * kTile8;
    const int part = 4 * step, rows = kSide;
    _tile_loadd(4, a0 + at, 64);
    _tile_loadd(6, b0 + at, 64);
    _tile_dpbssd(0, 4, 6);
    add_some<kAdd>(w, rows * part / kParts, rows * (part + 1) / kParts);
    _tile_loadd(7, b1 + at, 64);
    _tile_dpbssd(1, 4, 7);
    add_some<kAdd>(w, rows * (part + 1) / kParts, rows * (part + 2) / kParts);
    _tile_loadd(5, a1 + at, 64);
    _tile_dpbssd(2, 5, 6);
    add_some<kAdd>(w, rows * (part + 2) / kParts, rows * (part + 3) / kParts);
    _tile_dpbssd(3, 5, 7);
    add_some<kAdd>(w, rows * (part + 3) / kParts, rows * (part + 4) / kParts);
  }
  store_sums(sums);
}

template <int kSteps>
inline void multiply_any(const Square& s, const Late& late, int32_t* sums) {
  if (!late.waits) multiply_steps<kSteps, kNothing>(s, late, sums);
  else if (late.square.first) multiply_steps<kSteps, kFirstTime>(s, late, sums);
  else multiply_steps<kSteps, kAgain>(s, late, sums);
}

// The last span of a row may have any number of tiles: added first, then multiplied.
void multiply_short(const Square& s, Late& late) {
  finish(late);
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  for (int step = 0; step < s.steps; ++step) {
    const int64_t at = step * kTile8;
    _tile_loadd(4, s.a + at, 64);
    _tile_loadd(6, s.b + at, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, s.b + s.b_next + at, 64);
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, s.a + s.a_next + at, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  store_sums(late.sums);
}

void multiply(const Square& s, Late& late) {
  switch (s.steps) {
    case 1: multiply_any<1>(s, late, late.sums); break;
    case 8: multiply_any<8>(s, late, late.sums); break;
    default: multiply_short(s, late); break;
  }
  late.square = s;
  late.waits = true;
}

void release() { _tile_release(); }

}  // namespace

const Micro kAmxMicro = {0, configure_tiles, multiply, finish, release};

}  // namespace osler
