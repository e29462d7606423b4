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

int osler_linear(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads);
}

namespace osler {

// Replaces x (M, D) by the hidden states after the last norm. Returns what `osler_linear` does.
using RunToken = int (*)(int path, const OslerToken&, uint16_t* x, int threads);

extern const RunToken kTokenPortable;
#ifdef OSLER_X86
extern const RunToken kTokenAvx2, kTokenAvx512;
#endif

}  // namespace osler
