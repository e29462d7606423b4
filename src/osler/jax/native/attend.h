// Attention over a cache whose slots carry their positions; activations, keys and values are float32.
//
// Dimensions: B rows, L queries, N query heads, K key heads, S slots, H width of a head (a multiple of 16).
#pragma once

#include <cstdint>

#include "kernels.h"

namespace osler {

struct Attention {
  const float* q;              // (B, L, N, H)
  const float *keys, *values;  // (B, K, S, H), of one layer
  const int32_t *positions;    // (B, L), -1 for padding, whose result does not count
  const int32_t *last;         // (B, L), the greatest position that a query sees
  const int32_t *stored;       // (B, S), the position in each slot, -1 for none
  float* out;                  // (B, L, N, H)
  int64_t B, L, N, K, S, H;
  int64_t window;              // positions that a query sees, its own included; 0 for all
  float scale;                 // of the scores
};

// Computes `out`. Returns false where memory ran out.
using Attend = bool (*)(const Attention&, int threads);

extern const Attend kAttendPortable;
#ifdef OSLER_X86
extern const Attend kAttendAvx2, kAttendAvx512;
#endif

// Returns 0, 1 for an unknown path or a shape that does not fit, 2 where memory ran out.
int attend(int path, const Attention& job, int threads);

}  // namespace osler
