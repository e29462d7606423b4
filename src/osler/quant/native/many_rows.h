// Products of many rows in int8: how the parts work together.
//
// A tile has 1024 bytes: A 16 rows by 64 inputs, B 64 inputs by 16 outputs (as [16][16 outputs][4 inputs]). A square is 32 rows by 32 outputs. It is multiplied over a whole span of inputs before its sums are
// stored, as storing takes the tile unit as long as multiplying. Meanwhile the vector units do what else there is to
// do, in small pieces: they scale and write the square before, and unpack the weights that come next.
//
// Activations have one scale for each row and span, weights one for each output and span.
#pragma once

#include "kernels.h"

namespace osler {

constexpr int64_t kTile = 1024;      // bytes
constexpr int64_t kInputs = 64;      // of a tile
constexpr int64_t kSide = 32;        // rows and outputs of a square
constexpr int64_t kSquare = kSide * kSide;
constexpr int64_t kLarge = 64;       // large inputs that have a scale of their own: a tile of int8
constexpr int64_t kMostSteps = 40;   // tiles of a span
constexpr int64_t kRowsAtOnce = 512; // their span takes at most 1.3 of the 2 MB of a second-level cache

// What vectors do while tiles are multiplied.
struct Side {
  void (*run)(void* data, int64_t piece);
  void* data;
  int64_t pieces, done;

  // Does what belongs to the first `at` of `of` parts of the tiles' work.
  void advance(int64_t at, int64_t of) {
    for (const int64_t to = pieces * at / of; done < to; ++done) run(data, done);
  }
};

struct Square {
  const uint8_t* a;        // [2][steps of the row][16][64], the second tile `a_next` bytes further
  const uint8_t* b;        // [2][steps of the span][16][16][4], alike
  int64_t a_next, b_next;
  int64_t steps;
  bool back;               // begins with the last step: what is in the first-level cache from the square before
  const int32_t* x_sum;    // (32): sums of the codes of the rows
  int32_t* sums;           // [2][2][16][16]: halves of the rows and outputs
};

struct Micro {
  uint8_t flip;            // 0 for weights as signed codes; 128 for unsigned ones, 128 more
  void (*begin)();         // once on each thread
  void (*multiply)(const Square&, Side&);
  void (*end)();
};

extern const Micro kVnniMicro;
#ifdef OSLER_AMX
extern const Micro kAmxMicro;
#endif

// A part of a block of 16 outputs that is unpacked into tiles.
struct Span {
  int64_t block;           // past the last one: zeros
  int64_t k0, k1;          // inputs, up to `padded`
  int64_t steps;           // tiles
  const int32_t* picked;   // (kLarge) large inputs, whose tile follows the others; null for none
  uint8_t flip;
  uint8_t* to;
  float* scales;           // (16), and `kSide` further those of the large inputs
};

// Unpacking a span takes this many pieces, in order.
inline int64_t unpack_pieces(const Span& s) { return (s.k1 - s.k0) / kGroup + 2; }
void unpack_piece(const OslerWeight&, const Span&, int64_t piece);

// Rows laid out in tiles.
struct Rows {
  uint8_t* tiles;          // [pairs * 2][steps + large][16][64]
  int64_t pairs;           // of tiles of rows
  int64_t steps, spans, depth;  // tiles of a row, spans, and tiles of a span
  int64_t large;           // 1 where there is a tile of large inputs, else 0
  const float* scale;      // [spans + large][pairs * 32]
  const int32_t* sum;
  const int32_t* picked;   // (kLarge) the large inputs, ascending

  int64_t span_steps(int64_t span) const { return span + 1 < spans ? depth : steps - span * depth; }
};

// Spans of even length.
inline Rows rows_of(int64_t M, int64_t steps) {
  Rows rows = {};
  rows.pairs = (M + kSide - 1) / kSide;
  rows.steps = steps;
  rows.spans = (steps + kMostSteps - 1) / kMostSteps;
  rows.depth = (steps + rows.spans - 1) / rows.spans;
  rows.spans = (steps + rows.depth - 1) / rows.depth;
  return rows;
}

struct ManyRows {
  const OslerWeight& w;
  const Rows& rows;
  const Micro& micro;
  int64_t M;
  int dtype;               // of the result
  bool gated;              // the result is gelu(first half of the outputs) * second half
  void* out;
};

// Multiplies; returns false where memory ran out.
bool multiply_rows(const ManyRows&, int threads);

// out (M, N), or (M, N / 2) if gated, = x (M, K) times W transposed; return false where memory ran out.
bool int8_linear(const OslerWeight&, const void* x, int dtype, int64_t M, bool gated, void* out, int threads,
                 const Micro&);

}  // namespace osler
