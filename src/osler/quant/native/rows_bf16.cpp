// Products of many rows in tiles of bfloat16: activations keep their precision, and sums are float32.
#include <cstdlib>
#include <cstring>

#include "many_rows.h"
#include "vectors.h"

namespace osler {
namespace {

constexpr int64_t kStep = 32;       // inputs of a tile
constexpr int64_t kAhead = 2048;    // bytes of 4-bit codes that are fetched before they are unpacked

struct Job {
  const OslerWeight& w;
  const void* x;
  int dtype;
  int64_t M;
  const Rows& rows;
};

// Two vectors of float32 as pairs of bfloat16: low, high, low, high ...
inline __m512i pairs_of(__m512 low, __m512 high) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// Four inputs of 16 outputs, one code a byte.
inline void unpack_quad(__m512i codes, __m512 scale, __m512 offset, uint16_t* tile) {
  const __m512i byte = _mm512_set1_epi32(255);
  const __m512 k0 = _mm512_cvtepi32_ps(_mm512_and_si512(codes, byte));
  const __m512 k1 = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(codes, 8), byte));
  const __m512 k2 = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(codes, 16), byte));
  const __m512 k3 = _mm512_cvtepi32_ps(_mm512_srli_epi32(codes, 24));
  _mm512_store_si512(tile, pairs_of(_mm512_fmadd_ps(k0, scale, offset), _mm512_fmadd_ps(k1, scale, offset)));
  _mm512_store_si512(tile + 32, pairs_of(_mm512_fmadd_ps(k2, scale, offset), _mm512_fmadd_ps(k3, scale, offset)));
}

// Lays rows out as tiles of A, filled up with zeros.
void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t K = job.w.columns, steps = job.rows.steps, rows = job.rows.pairs * kSide;
  for (int64_t m = rows * part / parts; m < rows * (part + 1) / parts; ++m) {
    auto* to = reinterpret_cast<uint16_t*>(job.rows.tiles + m / 16 * steps * kTile) + m % 16 * kStep;
    for (int64_t step = 0; step < steps; ++step, to += kTile / 2) {
      const int64_t from = step * kStep, count = std::min(kStep, K - from);
      if (m >= job.M) {
        std::memset(to, 0, kStep * 2);
      } else if (job.dtype == kBFloat16) {
        std::memcpy(to, static_cast<const uint16_t*>(job.x) + m * K + from, count * 2);
        std::memset(to + count, 0, (kStep - count) * 2);
      } else {
        const float* x = static_cast<const float*>(job.x) + m * K + from;
        for (int64_t i = 0; i < kStep; ++i) to[i] = i < count ? float_to_bf16(x[i]) : 0;
      }
    }
  }
}

}  // namespace

void unpack_bf16(const OslerWeight& w, const Span& s, int64_t piece) {
  const int64_t k = s.k0 + piece * kStep;
  if (k >= s.k1) return;
  auto* tile = reinterpret_cast<uint16_t*>(s.to + piece * kTile);
  if (s.block >= (w.rows + kBlock - 1) / kBlock) {
    std::memset(tile, 0, kTile);
    return;
  }
  const uint8_t* codes = w.codes + s.block * block_bytes(w) + k * kBlock * w.bits / 8;
  const int64_t at = (s.block * scale_groups(w) + k / w.group) * kBlock;
  const __m512 scale = load_half(w.scale + at), zero = _mm512_set1_ps(-static_cast<float>(zero_point(w)));
  const __m512 offset = w.offset ? load_half(w.offset + at) : _mm512_mul_ps(scale, zero);
  if (w.bits == 8) {
    for (int quad = 0; quad < 8; ++quad, codes += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead * 2, _MM_HINT_T1);
      unpack_quad(_mm512_loadu_si512(codes), scale, offset, tile + quad * 64);
    }
    return;
  }
  const __m512i nibble = _mm512_set1_epi8(15);
  for (int quad = 0; quad < 8; quad += 2, codes += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead, _MM_HINT_T1);
    const __m512i both = _mm512_loadu_si512(codes);
    unpack_quad(_mm512_and_si512(both, nibble), scale, offset, tile + quad * 64);
    unpack_quad(_mm512_and_si512(_mm512_srli_epi16(both, 4), nibble), scale, offset, tile + quad * 64 + 64);
  }
}

bool bf16_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, bool gated, void* out, int threads) {
  Rows rows = rows_of(M, w.padded / kStep);
  rows.tiles = static_cast<uint8_t*>(std::aligned_alloc(64, rows.pairs * 2 * rows.steps * kTile));
  if (!rows.tiles) return false;
  Job job = {w, x, dtype, M, rows};
  parallel(threads, pack_rows, &job);
  const bool done = multiply_rows({w, rows, kBFloat16Micro, unpack_bf16, M, dtype, gated, out}, threads);
  std::free(rows.tiles);
  return done;
}

}  // namespace osler
