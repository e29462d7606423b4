// Rows of the tower laid out in tiles, normalized on the way.
#include <immintrin.h>

#include <cmath>

#include "kernels.h"
#include "tiles.h"
#include "tower.h"
#include "vectors.h"

namespace osler {
namespace {

// What a row is multiplied by, and what is added then.
struct Norm {
  float by, plus;
};

Norm norm_of(const uint16_t* x, int64_t D, float eps) {
  __m512 sum = _mm512_setzero_ps(), squares = sum;
  for (int64_t at = 0; at < D; at += 16) sum = _mm512_add_ps(sum, load_bf16(x + at, D - at));
  const float mean = _mm512_reduce_add_ps(sum) / static_cast<float>(D);
  for (int64_t at = 0; at < D; at += 16) {
    const __m512 off = _mm512_maskz_sub_ps(first_lanes(D - at), load_bf16(x + at, D - at), _mm512_set1_ps(mean));
    squares = _mm512_fmadd_ps(off, off, squares);
  }
  const float by = 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / static_cast<float>(D) + eps);
  return {by, -mean * by};
}

void lay_rows(void* data, int part, int parts) {
  const OslerTowerRows& r = *static_cast<const OslerTowerRows*>(data);
  const int64_t steps = (r.D + 31) / 32;
  for (int64_t m = r.M * part / parts; m < r.M * (part + 1) / parts; ++m) {
    const uint16_t* x = r.x + m * r.D;
    uint16_t* to = r.out + m / 16 * steps * kTileValues + m % 16 * 32;
    const Norm norm = r.scale ? norm_of(x, r.D, r.eps) : Norm{1.0f, 0.0f};
    const __m512 by = _mm512_set1_ps(norm.by), plus = _mm512_set1_ps(norm.plus);
    for (int64_t at = 0; at < r.D; at += 32, to += kTileValues) {
      __m512 halves[2];
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t from = at + half * 16, left = r.D - from;
        halves[half] = load_bf16(x + from, left);
        if (!r.scale) continue;
        halves[half] = _mm512_fmadd_ps(_mm512_fmadd_ps(halves[half], by, plus), load_bf16(r.scale + from, left),
                                       load_bf16(r.bias + from, left));
      }
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), to_bf16(halves[0], halves[1]));
    }
  }
  _mm_sfence();
}

}  // namespace

void tower_rows(const OslerTowerRows& r, int threads) {
  OslerTowerRows rows = r;
  parallel(threads, lay_rows, &rows);
}

}  // namespace osler
