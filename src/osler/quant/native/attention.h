// Attention in one pass, by tiles of bfloat16 or by vectors: of prompts, and of the image tower.
#pragma once

#include <cstdint>

extern "C" {

// out = softmax(q k^T * scale) v for each of the batch and each head, over the keys that a query sees; all bfloat16. Heads
// of queries share keys in groups. Strides are values from one of the batch, head and row to the next.
struct OslerAttention {
  const uint16_t *q, *k, *v;
  uint16_t* out;
  const int32_t *first, *last;          // (B, L): a query sees keys first..last-1, which lie in 0..S-1; null: all
  int64_t B, L, S, heads, key_heads, H;  // H at most 256, a multiple of 8
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];
  float scale;
};
}

namespace osler {

constexpr int64_t kMostHead = 256;

static inline const uint16_t* row_of(const uint16_t* of, const int64_t (&stride)[3], int64_t b, int64_t head, int64_t row) {
  return of + b * stride[0] + head * stride[1] + row * stride[2];
}

// Returns false where memory ran out.
bool tile_attend(const OslerAttention&, int threads);

// The same without tiles.
bool vector_attend(const OslerAttention&, int threads);

// The same by pairs of bfloat16, where queries see all keys: values beside those that are seen are multiplied by zero.
bool pair_attend(const OslerAttention&, int threads);
bool prefers_pairs();  // whether this processor has them, and is faster so

}  // namespace osler
