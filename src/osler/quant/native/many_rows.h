// Products of many rows: how the parts work together.
//
// A tile has 1024 bytes: A 16 rows by 64 bytes of inputs, B as many inputs by 16 outputs (as [16][16 outputs][4 bytes]).
// A square is 32 rows by 32 outputs. It is multiplied over a whole span of inputs before its sums are stored, as storing
// takes the tile unit as long as multiplying. Meanwhile the vector units do what else there is to do, a little in each place
// of a step (see places.h): they write the square before, and unpack the weights that come next.
//
// In int8, activations have one scale for each row and span, weights one for each output and span. Large inputs would make
// the steps of all others coarse. So their values are cut into parts that fit: each has places of its own in tiles that
// follow those of the span, with the same weights once more.
#pragma once

#include "kernels.h"

namespace osler {

constexpr int64_t kTile = 1024;      // bytes
constexpr int64_t kInputs = 64;      // of a tile of int8
constexpr int64_t kSide = 32;        // rows and outputs of a square
constexpr int64_t kSquare = kSide * kSide;
constexpr int64_t kMostExtra = 4;    // tiles of a span for parts of large inputs
constexpr int64_t kMostAgain = kMostExtra * kInputs;
constexpr int64_t kMostInt8 = 40;    // tiles of a span of int8, without those
constexpr int64_t kMeasured = 4 * kInputs;  // inputs from which on large ones are looked for: fewer are short enough

struct Square {
  const uint8_t* a;        // [2][steps of the row][16][64], the second tile `a_next` bytes further
  const uint8_t* b;        // [2][steps of the span][16][16][4], alike
  int64_t a_next, b_next;
  int64_t steps;
  const float* before;     // (32 rows, 32 outputs): sums that go on, null for none; of float32 alone
  void* sums;              // alike, int32 or float32
  const int32_t* x_sum;    // (32): sums of the codes of the rows
};

// A part of a block of 16 outputs that is unpacked into tiles.
struct Span {
  int64_t block;           // past the last one: zeros
  int64_t k0, k1;          // inputs, up to `padded`
  int64_t steps;           // tiles
  int64_t extra;           // further tiles
  const int32_t* again;    // (extra * kInputs) the inputs whose weights fill them
  uint8_t* to;
  float* scales;           // (16)
  int64_t next;            // the block whose same inputs are unpacked after it
};

// Rows laid out in tiles.
struct Rows {
  const uint8_t* tiles;    // [pairs * 2][spans][tiles of the span, and `extra`][16][64]
  int64_t pairs;           // of tiles of rows
  int64_t steps, spans, depth;  // tiles of a row, spans, and tiles of a span
  int64_t inputs;          // of a tile
  int64_t extra;           // tiles of a span that hold inputs once more
  const float* scale;      // [spans][pairs * 32]
  const int32_t* sum;
  const int32_t* again;    // [spans][kMostAgain] the inputs that have another place, `extra` tiles of them

  int64_t span_steps(int64_t span) const { return span + 1 < spans ? depth : steps - span * depth; }
  int64_t row_tiles() const { return steps + spans * extra; }
  int64_t first_tile(int64_t span) const { return span * (depth + extra); }
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

// Those of a weight in int8.
inline Rows spans_of(const OslerWeight& w) { return rows_of(0, (w.padded + kInputs - 1) / kInputs, kMostInt8, kInputs); }

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
bool multiply_hadamard_amx(const ManyRows&, int threads);  // rows and weights of 8 bits, both mixed, see hadamard.h

// As `int8_linear`, by tiles of bfloat16; returns false where memory ran out.
bool bf16_linear(const OslerWeight&, const void* x, int dtype, int64_t M, bool gated, void* out, int threads);
#endif

// out (M, N) = act(x (M, K) times W transposed + bias (N)), or (M, N / 2) if gated.
struct GroupedProduct {
  const OslerWeight& w;  // of 8 bits
  const void* x;
  int dtype;             // of x and out
  int64_t M;
  bool gated;            // then without bias and act
  const void* bias;      // as x, null for none
  bool gelu;             // act is GELU by its tanh approximation, else the identity
  void* out;
};

// Multiplies activations that have a scale for each 32 inputs; returns false where memory ran out.
bool grouped_linear(const GroupedProduct&, int threads);

// What rounding activations and weights of 8 bits to int8 may add, relative to their size: as they are, where it is 1.0 to
// 1.2% for normal ones, and mixed. What it costs a network is in benchmarks/quantisation.md.
constexpr float kMostError = 0.013f;
constexpr float kMostHadamardError = 0.017f;

enum class Outcome { kDone, kNoMemory, kTooCoarse };

// out (M, N), or (M, N / 2) if gated, = x (M, K) times W transposed.
struct Int8Product {
  const OslerWeight& w;
  const void* x;
  int dtype;             // of x and out
  int64_t M;
  bool gated;
  void* out;
  int threads;
  MultiplyRows plain;
  MultiplyRows hadamard;  // null: rounding may add anything, and only `plain` multiplies
};

// With `hadamard`, asks first what rounding would add, by some of the rows (`looked_of`): as they are, then mixed, which finding a weight's
// scales anew each time would not pay for: so only where they can be kept (`known`). Too coarse, and nothing done, where
// both are beyond their limits; and unasked where weights have offsets or few inputs.
Outcome int8_linear(const Int8Product&);

}  // namespace osler
