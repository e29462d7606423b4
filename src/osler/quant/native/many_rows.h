// Products of many rows in int8: what the micro-kernels are given.
//
// Weights are turned into int8 with one scale for each output and kSpan inputs, activations into int8 with one scale
// for each row and kSpan inputs. Sums over kSpan inputs are whole numbers, then float32.
//
// Tiles: A 16 rows by 64 inputs, B 64 inputs by 16 outputs (as [16][16 outputs][4 inputs]), 1024 bytes each.
// A square is 32 rows by 32 outputs: two tiles of A, two of B.
#pragma once

#include "kernels.h"

namespace osler {

constexpr int64_t kSpan = 512;     // inputs that share a scale
constexpr int64_t kLarge = 64;     // large inputs that have a scale of their own: a tile
constexpr int64_t kStep8 = 64;     // inputs of a tile
constexpr int64_t kTile8 = 1024;   // bytes of a tile
constexpr int64_t kSide = 32;      // rows and outputs of a square
constexpr int64_t kSquare = kSide * kSide;

// One square over at most kSpan inputs.
struct Square {
  const int8_t* a;         // [2][steps of the row][16][64], the second tile `a_next` bytes further
  const uint8_t* b;        // [2][steps of the panel][16][16][4], alike
  int64_t a_next, b_next;
  int steps;               // 1 to 8
  const float* x_scale;    // (32): of the rows
  const int32_t* x_sum;    // (32): sums of the codes of the rows
  const float* w_scale;    // (32): of the outputs
  float* total;            // (32, 32), to which the square is added
  bool first;              // whether `total` holds nothing yet
};

// Where a micro-kernel keeps what it has multiplied and not yet added.
struct alignas(64) Late {
  int32_t sums[kSquare];
  Square square;
  bool waits = false;
};

struct Micro {
  uint8_t flip;                                  // 0: weights as signed codes; 128: as unsigned ones, 128 more
  void (*begin)();                               // once on each thread
  void (*multiply)(const Square&, Late&);
  void (*finish)(Late&);                         // adds what still waits
  void (*end)();
};

extern const Micro kVnniMicro;
#ifdef OSLER_AMX
extern const Micro kAmxMicro;
#endif

// Unpacks inputs k0..k1-1 of a block of outputs, at most kSpan, into tiles, and stores their scales (16).
void unpack_span(const OslerWeight&, int64_t block, int64_t k0, int64_t k1, uint8_t flip, uint8_t* to, float* scales);
// Unpacks the kLarge inputs `picked` of a block of outputs into one tile, and stores their scales.
void unpack_large(const OslerWeight&, const int32_t* picked, int64_t block, uint8_t flip, uint8_t* to, float* scales);

// out (M, N) = x (M, K) times W transposed, both as int8; returns false where memory ran out.
bool int8_linear(const OslerWeight&, const void* x, int dtype, int64_t M, void* out, int threads, const Micro&);

}  // namespace osler
