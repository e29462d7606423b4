// Rows that become int8: what is found of them before, and what finding and rounding share; for AVX-512.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "many_rows.h"
#include "vectors.h"

namespace osler {

// Rows of inputs, side by side.
struct Inputs {
  const void* x;
  int dtype;
  int64_t M, K;
};

// The inputs that have further places, in each span.
struct Places {
  int32_t* again;       // [spans][kMostAgain]: the input that has a further place, ascending
  int32_t* before;      // [spans][kMostAgain]: 127 for each place that the input has before this one
  float* portion;       // [spans][kMostAgain]: 1 / places of the input
  uint16_t* ordinary;   // [steps * 4]: a bit for each input that is there and has one place
};

// What rows are found to be like.
struct Measure {
  Inputs in;
  Rows layout;          // its `extra` is found, too
  Places places;
  float* factors;       // (M): 1 / largest input of a row, squared; 0 where that is not finite, or not 1e-15 to 1e19
  float *squares, *errors;  // (M): of a row, 0 where it holds what is not finite; and what rounding adds to them, relative
  float* sizes;         // (K): how large an input is among those of rows
  uint64_t* keys;       // (K)
  int64_t* extra;       // (spans): tiles of further places that each needs
  int64_t looked;       // every how many rows are looked at
};

// Every how many rows are looked at: an odd number, as the rows of pictures repeat themselves after even ones.
int64_t looked_of(int64_t M);

// How many rows that are.
inline int64_t looked_rows(int64_t M) {
  const int64_t looked = looked_of(M);
  return (M - looked / 2 + looked - 1) / looked;
}

// The first row from one on that is looked at: every `looked`-th, and not the first of many, which is seldom like others.
inline int64_t looked_from(int64_t looked, int64_t from) {
  const int64_t first = looked / 2;
  return from <= first ? first : first + (from - first + looked - 1) / looked * looked;
}

// Finds the inputs that are large, and gives them places.
void find_places(Measure&, int threads);

// The mean over rows of what rounding adds to them, relative to each, as a square; after `find_places`. Rows of zeros, or
// so small that their squares are, and those that hold what is not finite are left out; infinite where others leave 1e-15 to
// 1e19: tiles of bfloat16 take those.
float rows_error(Measure&, int threads);

template <int kType>
inline __m512 load_input(const void* x, int64_t at, __mmask16 mask) {
  if (kType == kFloat32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + at);
  return from_bf16(_mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at));
}

inline __m512i size_bits(__m512 x) {
  // As whole numbers, the bits of sizes have the order of the sizes, and infinities and NaN come last.
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

// The bits of the largest size among inputs that count.
template <int kType>
int32_t most_bits(const void* x, int64_t at, const uint16_t* ordinary, int64_t steps, int64_t next) {
  __m512i most = _mm512_setzero_si512();
  if (kType == kFloat32) {
    for (int64_t i = 0; i < steps * 4; ++i)
      most = _mm512_max_epi32(most, size_bits(load_input<kType>(x, at + i * 16, ordinary[i])));
    return _mm512_reduce_max_epi32(most);
  }
  for (int64_t i = 0; i < steps * 2; ++i) {
    const __mmask32 mask = ordinary[i * 2] | static_cast<__mmask32>(ordinary[i * 2 + 1]) << 16;
    _mm_prefetch(static_cast<const char*>(x) + (at + i * 32 + next) * 2, _MM_HINT_T0);
    const __m512i half = _mm512_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at + i * 32);
    most = _mm512_max_epu16(most, _mm512_and_si512(half, _mm512_set1_epi16(0x7fff)));
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_slli_epi32(most, 16),
                                                  _mm512_and_si512(most, _mm512_set1_epi32(0x7fff0000))));
}

// Reads the inputs of a row that have further places.
template <int kType>
void read_again(const void* x, int64_t at, const int32_t* again, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i)
    to[i] = kType == kFloat32 ? static_cast<const float*>(x)[at + again[i]]
                              : bf16_to_float(static_cast<const uint16_t*>(x)[at + again[i]]);
}

// The bits of the largest part of a row's inputs over a span, of which input k is x[at + k]; reads those with further places
// into `large`. The row after it is `next` values further.
template <int kType>
int32_t largest_part(const Rows& layout, const Places& places, int64_t span, const void* x, int64_t at, int64_t next,
                     float* large) {
  const int64_t first = span * layout.depth, from = span * kMostAgain, further = layout.extra * kInputs;
  const int32_t bits = most_bits<kType>(x, at + first * kInputs, places.ordinary + first * 4, layout.span_steps(span), next);
  read_again<kType>(x, at, places.again + from, further, large);
  __m512i most_large = _mm512_setzero_si512();
  for (int64_t i = 0; i < further; i += 16) {
    const __m512 portion = _mm512_loadu_ps(places.portion + from + i);
    most_large = _mm512_max_epi32(most_large, size_bits(_mm512_mul_ps(_mm512_load_ps(large + i), portion)));
  }
  return std::max(bits, _mm512_reduce_max_epi32(most_large));
}

}  // namespace osler
