// Eight AMX tiles of 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace osler {

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

}  // namespace osler
