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

// Sums (tiles 0 to 3) += two tiles of A (4, 5) times two tiles of B (6, 7).
struct Bf16Tiles {
  __attribute__((always_inline)) static void multiply() {
    _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
  }
};

struct Int8Tiles {
  __attribute__((always_inline)) static void multiply() {
    _tile_dpbssd(0, 4, 6); _tile_dpbssd(1, 4, 7); _tile_dpbssd(2, 5, 6); _tile_dpbssd(3, 5, 7);
  }
};

// One step of four tiles that lie whole; the second ones of A and B so many bytes further.
//
// All tiles are loaded before they are multiplied: so the loads of a step run beside the products of the one before,
// from the second-level cache too. Three of the four are loaded with the hint that they are not needed soon: so the
// fourth, a block of weights, stays in the first-level cache while all rows pass over it.
template <class Tiles>
__attribute__((always_inline)) static inline void tile_step(const uint8_t* a, int64_t a_next, const uint8_t* b,
                                                            int64_t b_next) {
  _tile_stream_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_stream_loadd(7, b + b_next, 64);
  _tile_stream_loadd(5, a + a_next, 64);
  Tiles::multiply();
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
    Bf16Tiles::multiply();
  }
  store_sums(c.at, c.right, c.below, c.stride);
}

}  // namespace osler
