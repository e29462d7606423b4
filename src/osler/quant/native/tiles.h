// Eight AMX tiles of 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>

#include <cstdint>

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
  const int64_t rows = a.stride * 2, bytes = c.stride * 4;
  float *c1 = c.at + c.right, *c2 = c.at + c.below, *c3 = c2 + c.right;
  if (first) {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  } else {
    _tile_loadd(0, c.at, bytes); _tile_loadd(1, c1, bytes); _tile_loadd(2, c2, bytes); _tile_loadd(3, c3, bytes);
  }
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(4, a.first + step * a.step, rows);
    _tile_loadd(6, b0 + step * kTileValues, 64);
    _tile_loadd(7, b1 + step * kTileValues, 64);
    _tile_loadd(5, a.second + step * a.step, rows);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c.at, bytes); _tile_stored(1, c1, bytes); _tile_stored(2, c2, bytes); _tile_stored(3, c3, bytes);
}

}  // namespace osler
