// Products of many rows: how the parts work together.
//
// A tile has 1024 bytes: A 16 rows by 64 bytes of inputs, B as many inputs by 16 outputs (as [16][16 outputs][4 bytes]).
// A square is 32 rows by 32 outputs. It is multiplied over a whole span of inputs before its sums are stored, as storing
// takes the tile unit as long as multiplying. Meanwhile the vector units do what else there is to do: they write the
// square before, and unpack the weights that come next. They do so a little after every step: tiles that were begun
// keep their unit busy for about two steps, and wait for longer work.
//
// In int8, activations have one scale for each row and span, weights one for each output and span.
#pragma once

#include "kernels.h"

namespace osler {

constexpr int64_t kTile = 1024;      // bytes
constexpr int64_t kInputs = 64;      // of a tile of int8
constexpr int64_t kSide = 32;        // rows and outputs of a square
constexpr int64_t kSquare = kSide * kSide;
constexpr int64_t kLarge = 64;       // large inputs that have a scale of their own: a tile of int8
constexpr int64_t kMostInt8 = 40;    // tiles of a span of int8

struct Square {
  const uint8_t* a;        // [2][steps of the row][16][64], the second tile `a_next` bytes further
  const uint8_t* b;        // [2][steps of the span][16][16][4], alike
  int64_t a_next, b_next;
  int64_t steps;
  void* sums;              // (32 rows, 32 outputs), int32 or float32
  const uint8_t *a_large, *b_large;  // a tile of large inputs, whose second one lies as far away
  void* large;             // their sums; null for none
  const int32_t *x_sum, *x_large;    // (32): sums of the codes of the rows, of large inputs
};

// A part of a block of 16 outputs that is unpacked into tiles.
struct Span {
  int64_t block;           // past the last one: zeros
  int64_t k0, k1;          // inputs, up to `padded`
  int64_t steps;           // tiles
  const int32_t* picked;   // (kLarge) large inputs, whose tile follows the others; null for none
  uint8_t* to;
  float* scales;           // (16), and `kSide` further those of the large inputs
  int64_t next;            // the block whose same inputs are unpacked after it
};

// Rows laid out in tiles.
struct Rows {
  const uint8_t* tiles;    // [pairs * 2][steps + large][16][64]
  int64_t pairs;           // of tiles of rows
  int64_t steps, spans, depth;  // tiles of a row, spans, and tiles of a span
  int64_t inputs;          // of a tile
  int64_t large;           // 1 where there is a tile of large inputs, else 0
  const float* scale;      // [spans + large][pairs * 32]
  const int32_t* sum;
  const int32_t* picked;   // (kLarge) the large inputs, ascending

  int64_t span_steps(int64_t span) const { return span + 1 < spans ? depth : steps - span * depth; }
};

// Spans of even length.
inline Rows rows_of(int64_t M, int64_t steps, int64_t most, int64_t inputs) {
  Rows rows = {};
  rows.pairs = (M + kSide - 1) / kSide;
  rows.steps = steps;
  rows.spans = (steps + most - 1) / most;
  rows.depth = (steps + rows.spans - 1) / rows.spans;
  rows.spans = (steps + rows.depth - 1) / rows.depth;
  rows.inputs = inputs;
  return rows;
}

struct ManyRows {
  const OslerWeight& w;
  const Rows& rows;
  int64_t M;
  int dtype;               // of the result
  bool gated;              // the result is gelu(first half of the outputs) * second half
  void* out;
};

// Multiplies; returns false where memory ran out.
using MultiplyRows = bool (*)(const ManyRows&, int threads);
bool multiply_int8_vnni(const ManyRows&, int threads);
void multiply_vectors(int64_t turns);  // the peak of VNNI, see `osler_peak`
#ifdef OSLER_AMX
bool multiply_int8_amx(const ManyRows&, int threads);

// As `int8_linear`, by tiles of bfloat16.
bool bf16_linear(const OslerWeight&, const void* x, int dtype, int64_t M, bool gated, void* out, int threads);
#endif

// out (M, N), or (M, N / 2) if gated, = x (M, K) times W transposed; return false where memory ran out.
bool int8_linear(const OslerWeight&, const void* x, int dtype, int64_t M, bool gated, void* out, int threads,
                 MultiplyRows);

}  // namespace osler
