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

// C (32 rows by 32 outputs) += A (two tiles of rows) * B (two tiles of outputs) over `steps` steps.
static inline void multiply_bf16(const uint16_t* a0, const uint16_t* a1, const uint16_t* b0, const uint16_t* b1,
                                 int64_t steps, float* c, int64_t next, bool first) {
  if (first) {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  } else {
    _tile_loadd(0, c, 64); _tile_loadd(1, c + kTileC, 64);
    _tile_loadd(2, c + next, 64); _tile_loadd(3, c + next + kTileC, 64);
  }
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t at = step * kTileValues;
    _tile_loadd(4, a0 + at, 64);
    _tile_loadd(6, b0 + at, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b1 + at, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a1 + at, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, 64); _tile_stored(1, c + kTileC, 64);
  _tile_stored(2, c + next, 64); _tile_stored(3, c + next + kTileC, 64);
}

}  // namespace osler
