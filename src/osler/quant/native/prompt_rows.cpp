// Norms and heads of a prompt with the instructions for bfloat16 that every processor with tiles has. Bits are those of
// token.inc, whose sums run in the same 16 lanes, but for results below 2^-126.
#include "prompt_rows.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace osler {
namespace {

constexpr int64_t kMostHead = 512;

inline void store(uint16_t* to, int64_t count, __m512 value) {
  _mm256_mask_storeu_epi16(to, first_lanes(count), to_bf16(value));
}

inline __m512 rounded(__m512 x) { return from_bf16(to_bf16(x)); }

// 1 / root mean square, by the sums of squares of whole vectors and of what is left.
inline float factor_of(__m512 sums, float rest, int64_t D, float eps) {
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sums);
  float half[8], quarter[4];
  for (int i = 0; i < 8; ++i) half[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) quarter[i] = half[i] + half[i + 4];
  const float sum = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
  return 1.0f / std::sqrt((sum + rest) / static_cast<float>(D) + eps);
}

inline float row_factor(const uint16_t* x, int64_t D, float eps) {
  __m512 sums = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + 16 <= D; i += 16) {
    const __m512 value = load_bf16(x + i, 16);
    sums = _mm512_fmadd_ps(value, value, sums);
  }
  float rest = 0.0f;
  for (; i < D; ++i) rest += bf16_to_float(x[i]) * bf16_to_float(x[i]);
  return factor_of(sums, rest, D, eps);
}

inline void scale_row(const uint16_t* x, const uint16_t* stream, const float* scale, float factor, int64_t D,
                      uint16_t* out) {
  const __m512 by = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < D; i += 16) {
    const int64_t count = D - i;
    const __m512 scales = _mm512_maskz_loadu_ps(first_lanes(count), scale + i);
    __m512 value = _mm512_mul_ps(_mm512_mul_ps(load_bf16(x + i, count), by), scales);
    if (stream) value = _mm512_add_ps(load_bf16(stream + i, count), rounded(value));
    store(out + i, count, value);
  }
}

void norm_part(void* data, int part, int parts) {
  const OslerNorm& p = *static_cast<const OslerNorm*>(data);
  for (int64_t m = p.M * part / parts; m < p.M * (part + 1) / parts; ++m) {
    const uint16_t* x = p.x + m * p.D;
    uint16_t* out = p.out + m * p.D;
    scale_row(x, p.stream ? p.stream + m * p.D : nullptr, p.scale, row_factor(x, p.D, p.eps), p.D, out);
    // The row is still in the first-level cache.
    if (p.then) scale_row(out, nullptr, p.then_scale, row_factor(out, p.D, p.eps), p.D, p.then + m * p.D);
  }
}

struct Angles {
  float cos[kMostHead], sin[kMostHead];
};

// Normalizes a head if there is a scale, and rotates it.
inline void place_head(const uint16_t* from, const float* scale, const Angles& angles, int64_t H, float eps,
                       uint16_t* to) {
  const __m512 by = _mm512_set1_ps(scale ? row_factor(from, H, eps) : 1.0f);
  const auto value = [&](int64_t h) {
    const __m512 x = load_bf16(from + h, 16);
    return scale ? rounded(_mm512_mul_ps(_mm512_mul_ps(x, by), _mm512_loadu_ps(scale + h))) : x;
  };
  const auto turned = [&](__m512 x, __m512 other, int64_t h) {
    return _mm512_add_ps(rounded(_mm512_mul_ps(x, _mm512_loadu_ps(angles.cos + h))),
                         rounded(_mm512_mul_ps(other, _mm512_loadu_ps(angles.sin + h))));
  };
  for (int64_t h = 0; h < H / 2; h += 16) {
    const __m512 x = value(h), other = value(h + H / 2);
    store(to + h, 16, turned(x, other, h));
    store(to + h + H / 2, 16, turned(other, x, h + H / 2));
  }
}

void heads_part(void* data, int part, int parts) {
  const OslerHeads& p = *static_cast<const OslerHeads*>(data);
  const int64_t H = p.head_dim, J = p.turned + p.values, M = p.B * p.L;
  Angles angles;
  for (int64_t m = M * part / parts; m < M * (part + 1) / parts; ++m) {
    for (int64_t h = 0; h < H; h += 16) {
      _mm512_storeu_ps(angles.cos + h, load_bf16(p.cos + m * H + h, 16));
      _mm512_storeu_ps(angles.sin + h, load_bf16(p.sin + m * H + h, 16));
    }
    for (int64_t j = 0; j < J; ++j) {
      const uint16_t* from = p.qkv + (m * J + j) * H;
      uint16_t* to = p.out + ((m / p.L * J + j) * p.L + m % p.L) * H;
      if (j < p.turned) place_head(from, p.qk_scale ? p.qk_scale + j * H : nullptr, angles, H, p.eps, to);
      else std::copy(from, from + H, to);
    }
  }
}

}  // namespace

bool fits_prompt_rows(const OslerHeads& p) {
  return p.head_dim % 32 == 0 && p.head_dim <= kMostHead && p.B >= 0 && p.L >= 0;
}

void prompt_heads(const OslerHeads& p, int threads) { parallel(threads, heads_part, const_cast<OslerHeads*>(&p)); }

void prompt_norm(const OslerNorm& p, int threads) { parallel(threads, norm_part, const_cast<OslerNorm*>(&p)); }

}  // namespace osler
