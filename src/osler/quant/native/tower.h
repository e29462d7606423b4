// The image tower in tiles of bfloat16: norms and products.
//
// Weights lie row by row, as PyTorch and the mapped file have them, or are stored in 4 or 8 bits. They are turned into
// tiles when a layer runs, which takes a few percent of it, so that no copy of the tower is kept. Rows of activations lie one after the other, or laid
// out: as [rows / 16, rounded up to pairs][columns / 32, rounded up] tiles of [16 rows][32 columns], filled up with
// zeros in columns and with anything in rows.
#pragma once

#include <cstdint>

#include "kernels.h"

extern "C" {

// out (M, N) = act(x (M, K) times W (N, K) transposed + bias (N)) + residual (M, N); all bfloat16, sums in float32.
struct OslerTowerLinear {
  const uint16_t* tiles;         // W, as `osler_tower_turn` leaves it
  const uint16_t* bias;          // null for none
  const uint16_t* x;             // laid out
  const uint16_t* residual;      // row after row; null for none
  uint16_t* out;
  int64_t M, N, K;
  int64_t out_stride;            // values from one row to the next; 0: laid out, then there is no residual
  int32_t gelu;                  // 1: act is GELU by its tanh approximation, 0: the identity
};

// out, laid out, = the rows of x (M, D), normalized where there is a scale: (x - mean) / sqrt(variance + eps) * scale + bias.
struct OslerTowerRows {
  const uint16_t* x;
  const uint16_t *scale, *bias;  // (D); null for none
  uint16_t* out;
  int64_t M, D;
  float eps;
};
}

namespace osler {

// Writes W (N, K) as tiles[N/16, rounded up to pairs][K/32, rounded up][16 pairs of inputs][16 outputs][2].
void tower_turn(const uint16_t* w, int64_t N, int64_t K, uint16_t* tiles, int threads);

// The same of a matrix stored in 4 or 8 bits, rounded to bfloat16.
void tower_unpack(const OslerWeight& w, uint16_t* tiles, int threads);

void tower_rows(const OslerTowerRows&, int threads);

// Returns false where memory ran out.
bool tower_linear(const OslerTowerLinear&, int threads);

}  // namespace osler
