// Eight AMX tiles of 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "places.h"

namespace osler {

constexpr int64_t kTileValues = 512;  // bfloat16 of a tile of A or B
constexpr int64_t kTileC = 256;       // float32 of a tile of C

static inline void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  // GCC's intrinsic names only the first bytes of the configuration as read: without this the rest is left unwritten.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// One of the sums (tiles 0 to 3) += one of two tiles of A (4, 5) times one of two tiles of B (6, 7).
struct Bf16Tiles {
  template <int sum>
  __attribute__((always_inline)) static void multiply() {
    if constexpr (sum == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (sum == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (sum == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (sum == 3) _tile_dpbf16ps(3, 5, 7);
  }
};

struct Int8Tiles {
  template <int sum>
  __attribute__((always_inline)) static void multiply() {
    if constexpr (sum == 0) _tile_dpbssd(0, 4, 6);
    if constexpr (sum == 1) _tile_dpbssd(1, 4, 7);
    if constexpr (sum == 2) _tile_dpbssd(2, 5, 6);
    if constexpr (sum == 3) _tile_dpbssd(3, 5, 7);
  }
};

// Sums += A times B over some steps of four tiles that lie whole; the second ones of A and B so many bytes further.
// `meanwhile` is called in each place of each step.
//
// Loads alternate with products, the last two of the step before: so they run beside them, from the second-level cache
// too. Three of the four are loaded with the hint that they are not needed soon: so the fourth, a block of weights, stays
// in the first-level cache while all rows pass over it.
template <class Tiles, class Meanwhile>
__attribute__((always_inline)) static inline void multiply_steps(const uint8_t* a, int64_t a_next, const uint8_t* b,
                                                                 int64_t b_next, int64_t steps, Meanwhile meanwhile) {
  _tile_zero(5); _tile_zero(6); _tile_zero(7);
  for (int64_t step = 0; step < steps; ++step, a += 1024, b += 1024) {
    _tile_stream_loadd(4, a, 64);
    meanwhile(Place<0>());
    Tiles::template multiply<2>();
    meanwhile(Place<1>());
    _tile_loadd(6, b, 64);
    meanwhile(Place<2>());
    Tiles::template multiply<3>();
    meanwhile(Place<3>());
    _tile_stream_loadd(7, b + b_next, 64);
    meanwhile(Place<4>());
    Tiles::template multiply<0>();
    meanwhile(Place<5>());
    _tile_stream_loadd(5, a + a_next, 64);
    meanwhile(Place<6>());
    Tiles::template multiply<1>();
    meanwhile(Place<7>());
  }
  Tiles::template multiply<2>();
  Tiles::template multiply<3>();
}

__attribute__((always_inline)) static inline void clear_sums() {
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
}

// Stores the sums: those of the second outputs and of the second rows, and rows, so many values of four bytes apart.
__attribute__((always_inline)) static inline void store_sums(void* to, int64_t right, int64_t below, int64_t stride) {
  auto* at = static_cast<uint32_t*>(to);
  _tile_stored(0, at, stride * 4); _tile_stored(1, at + right, stride * 4);
  _tile_stored(2, at + below, stride * 4); _tile_stored(3, at + below + right, stride * 4);
}

// The other way; see `store_sums`.
__attribute__((always_inline)) static inline void load_sums(const void* from, int64_t right, int64_t below,
                                                            int64_t stride) {
  const auto* at = static_cast<const uint32_t*>(from);
  _tile_loadd(0, at, stride * 4); _tile_loadd(1, at + right, stride * 4);
  _tile_loadd(2, at + below, stride * 4); _tile_loadd(3, at + below + right, stride * 4);
}

// Two tiles of A: 16 rows each, whose steps lie apart in any way.
struct TileRows {
  const uint16_t *first, *second;
  int64_t step, stride;  // values from one step, and from one row, to the next
};

// Four tiles of C: those of the second outputs and of the second rows so many values further.
struct TileSums {
  float* at;
  int64_t right, below, stride;
};

// C (32 rows by 32 outputs) += A times B (two columns of tiles) over `steps` steps.
//
// All tiles of a step are loaded before they are multiplied: so loads run beside the products of the step before.
static inline void multiply_bf16(const TileRows& a, const uint16_t* b0, const uint16_t* b1, int64_t steps,
                                 const TileSums& c, bool first) {
  const int64_t rows = a.stride * 2;
  if (first) clear_sums();
  else load_sums(c.at, c.right, c.below, c.stride);
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(4, a.first + step * a.step, rows);
    _tile_loadd(6, b0 + step * kTileValues, 64);
    _tile_loadd(7, b1 + step * kTileValues, 64);
    _tile_loadd(5, a.second + step * a.step, rows);
    Bf16Tiles::multiply<0>();
    Bf16Tiles::multiply<1>();
    Bf16Tiles::multiply<2>();
    Bf16Tiles::multiply<3>();
  }
  store_sums(c.at, c.right, c.below, c.stride);
}

}  // namespace osler
