// Tokens of one row through all layers of a decoder: what is asked for. Activations are bfloat16, rounded where
// PyTorch's are. A few tokens may go together: the weights are then read once, and each token gets the bits that it gets
// alone, so that guesses can be checked together.
//
// Dimensions: M tokens, D width, N query heads, K key heads, H width of a head (a multiple of 16), F width of the MLP.
#pragma once

#include "kernels.h"

extern "C" {

// A product of the same input with several weights, whose outputs lie side by side.
struct OslerProduct {
  const OslerWeight* parts[3];
  int64_t count;
};

struct OslerTokenLayer {
  OslerProduct qkv, out, gate_up, down;
  const float* norms[4];     // (D): before and after attention, before and after the MLP
  const float* qk_scale;     // (N + K, H), null where queries and keys are not normalized
  uint16_t *keys, *values;   // (K, capacity, H)
  int64_t capacity;
  int64_t place;             // where the first token is written, the next ones after it
  int64_t window;            // tokens that one sees at most, itself included
  int64_t rotation;          // 0 or 1
};

struct OslerToken {
  const OslerTokenLayer* layers;
  int64_t count, width, heads, key_heads, head_dim, mlp_width;
  const float* norm;                 // (D), after the last layer
  const uint16_t *cos[2], *sin[2];   // (M, H), the sine of the first half with a minus sign
  float eps, scale;                  // of the norms; of the scores
  int64_t tokens;                    // M
};

// Rows of a prompt between the products. Activations are bfloat16, rounded where PyTorch's are.
//
// Queries, keys and values of (B, L) tokens, (B L, (N + 2 K) H), become (B, N + 2 K, L, H): queries and keys are
// normalized and rotated.
struct OslerHeads {
  const uint16_t* qkv;
  const float* qk_scale;        // (N + K, H), null where queries and keys are not normalized
  const uint16_t *cos, *sin;    // (B L, H), the sine of the first half with a minus sign
  uint16_t* out;
  int64_t B, L, turned, values, head_dim;  // turned: N + K, values: K
  float eps;
};

// out (M, D) = x (M, D) / root mean square * scale (D), to which `stream` (M, D) is added after rounding if not null.
// If `then` is not null, then (M, D) = out / root mean square * then_scale (D).
struct OslerNorm {
  const uint16_t *x, *stream;
  const float* scale;
  uint16_t* out;
  int64_t M, D;
  float eps;
  const float* then_scale;
  uint16_t* then;
};

int osler_linear(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads);
}

namespace osler {

// Replaces x (M, D) by the hidden states after the last norm. Returns what `osler_linear` does.
using RunToken = int (*)(int path, const OslerToken&, uint16_t* x, int threads);

// out (M, F) = gelu(first half of both (M, 2 F)) * second half.
struct Gate {
  const void* both;
  void* out;
  int dtype;
  int64_t M, F;
};

// What is compiled for each path. `heads` and `norm` return 0, 1 for a shape that does not fit, 2 where memory ran out.
struct TokenCode {
  RunToken token;
  int (*heads)(const OslerHeads&, int threads);
  int (*norm)(const OslerNorm&, int threads);
  void (*gate)(const Gate&, int threads);
};

extern const TokenCode kTokenPortable;
#ifdef OSLER_X86
extern const TokenCode kTokenAvx2, kTokenAvx512;
#endif

}  // namespace osler
