// Products with bfloat16 weights that lie in tiles, as AMX and vectors of 16 outputs read them.
//
// A matrix W (N outputs, K inputs) is tiles[N/16][K/32][16][16][2]: 32 inputs of 16 outputs, pairs of inputs side by
// side; N is filled up to whole blocks of 16 and K to a multiple of 32, with zeros.
//
// Dimensions: M rows of inputs, N outputs, K inputs.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace osler {

constexpr int64_t kTileInputs = 32, kTileSize = 512;  // inputs and values of a tile
constexpr int64_t kManyRows = 16;                     // from here on tiles of rows pay

struct DenseWeight {
  const uint16_t* tiles;
  int64_t rows, columns, steps;  // N, K, and K / 32, rounded up
};

// Fills out[count][16] with the outputs of one block; x holds `count` rows of steps * 32 inputs, filled up with zeros.
using DenseBlock = void (*)(const uint16_t* block, int64_t steps, const float* x, int count, float* out);
extern const DenseBlock kDensePortable;
#ifdef OSLER_X86
extern const DenseBlock kDenseAvx2, kDenseAvx512;
#endif
#ifdef OSLER_AMX
// Multiplies by tiles; inputs are rounded to bfloat16. Returns false where memory ran out.
bool amx_dense(const DenseWeight&, const void* x, int dtype, int64_t M, void* out, int threads);
#endif

// out (M, N) = x (M, K) times W transposed. Returns 0, 1 for an unknown path or type, 2 where memory ran out.
int dense_linear(int path, const DenseWeight& w, const void* x, int dtype, int64_t M, void* out, int threads);

}  // namespace osler
