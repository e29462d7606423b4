// One token through all layers of a decoder: what is asked for. Activations are bfloat16, rounded where PyTorch's are.
//
// Dimensions: D width, N query heads, K key heads, H width of a head (a multiple of 16), F width of the MLP.
#pragma once

#include "kernels.h"

extern "C" {

// A product of one input with several weights, whose outputs lie side by side.
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
  int64_t first, place;      // earlier tokens are first..place-1, this one is written at `place`
  int64_t rotation;          // 0 or 1
};

struct OslerToken {
  const OslerTokenLayer* layers;
  int64_t count, width, heads, key_heads, head_dim, mlp_width;
  const float* norm;                 // (D), after the last layer
  const uint16_t *cos[2], *sin[2];   // (H), the sine of the first half with a minus sign
  float eps, scale;                  // of the norms; of the scores
};

int osler_linear(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads);
}

namespace osler {

// Replaces x (D) by the hidden state after the last norm. Returns what `osler_linear` does.
using RunToken = int (*)(int path, const OslerToken&, uint16_t* x, int threads);

extern const RunToken kTokenPortable;
#ifdef OSLER_X86
extern const RunToken kTokenAvx2, kTokenAvx512;
#endif

}  // namespace osler
