// AMX: tiles of bfloat16, for many rows at once.
//
// Weights are turned into bfloat16 tiles that stay in the second-level cache while all rows pass over them, so the
// activations keep their precision and the weights are unpacked once. Sums are float32.
//
// A panel is up to kPanel outputs by kDepth inputs. Tiles: A 16 rows by 32 inputs, B 32 inputs by 16 outputs
// (as [input pair][output][2]), C 16 rows by 16 outputs.
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "tiles.h"
#include "vectors.h"

namespace osler {
namespace {

// What is touched at a time fits into a second-level cache of 2 MB: weights 256 KB, rows 256 KB, sums 1 MB.
constexpr int64_t kPanel = 512, kDepth = 256, kRowsAtOnce = 512;
constexpr int64_t kStep = 32;         // inputs of a tile

struct Job {
  const OslerWeight& w;
  const void* x;
  int dtype;
  int64_t M, pairs;   // rows, and pairs of tiles of rows
  uint16_t* a;        // [pairs * 2][padded / 32][16][32]
  void* out;
  int64_t panel;      // outputs of a panel, a multiple of 32
  bool failed;
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

// Unpacks inputs k0..k0+depth-1 of one block of 16 outputs into tiles.
void unpack_block(const OslerWeight& w, int64_t block, int64_t k0, int64_t depth, uint16_t* tiles) {
  const int64_t scales = scale_groups(w);
  const uint8_t* codes = w.codes + block * block_bytes(w) + k0 * kBlock * w.bits / 8;
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512 zero = _mm512_set1_ps(-static_cast<float>(zero_point(w)));
  for (int64_t k = 0; k < depth; k += kStep, tiles += kTileValues) {
    const int64_t at = (block * scales + (k0 + k) / w.group) * kBlock;
    const __m512 scale = load_half(w.scale + at);
    const __m512 offset = w.offset ? load_half(w.offset + at) : _mm512_mul_ps(scale, zero);
    if (w.bits == 8) {
      for (int quad = 0; quad < 8; ++quad, codes += 64)
        unpack_quad(_mm512_loadu_si512(codes), scale, offset, tiles + quad * 64);
      continue;
    }
    for (int quad = 0; quad < 8; quad += 2, codes += 64) {
      const __m512i both = _mm512_loadu_si512(codes);
      unpack_quad(_mm512_and_si512(both, nibble), scale, offset, tiles + quad * 64);
      unpack_quad(_mm512_and_si512(_mm512_srli_epi16(both, 4), nibble), scale, offset, tiles + quad * 64 + 64);
    }
  }
}

// Lays rows out as tiles of A, as bfloat16, filled up with zeros.
void pack_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t K = job.w.columns, steps = job.w.padded / kStep;
  for (int64_t m = part; m < job.pairs * 32; m += parts) {
    uint16_t* to = job.a + (m / 16 * steps) * kTileValues + m % 16 * kStep;
    for (int64_t step = 0; step < steps; ++step, to += kTileValues) {
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

// Fetches the share of tile pair `tile` of the next rows: they come from memory or the slow last-level cache.
inline void fetch(const uint16_t* from, int64_t count, int64_t tile, int64_t tiles) {
  for (int64_t at = count * tile / tiles / 32 * 32; at < count * (tile + 2) / tiles; at += 32)
    _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// Writes tiles of C (rows m0.., outputs n0..) to the result.
void write_out(const Job& job, const float* c, int64_t tiles, int64_t m0, int64_t m1, int64_t n0) {
  const int64_t N = job.w.rows;
  for (int64_t m = m0; m < std::min(m1, job.M); ++m) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t n = n0 + tile * 16, count = std::min<int64_t>(16, N - n);
      if (count <= 0) break;
      const float* from = c + ((m - m0) / 16 * tiles + tile) * kTileC + (m - m0) % 16 * 16;
      const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
      const __m512 value = _mm512_load_ps(from);
      if (job.dtype == kFloat32) _mm512_mask_storeu_ps(static_cast<float*>(job.out) + m * N + n, mask, value);
      else _mm256_mask_storeu_epi16(static_cast<uint16_t*>(job.out) + m * N + n, mask,
                                    (__m256i)_mm512_cvtneps_pbh(value));
    }
  }
}

void run_panels(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t padded = job.w.padded, steps = padded / kStep, tiles = job.panel / 16;
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock, panels = (blocks + tiles - 1) / tiles;
  const int64_t rows = std::min(kRowsAtOnce, job.pairs * 32);
  auto* b = static_cast<uint16_t*>(std::aligned_alloc(64, job.panel * kDepth * 2));
  auto* c = static_cast<float*>(std::aligned_alloc(64, rows * job.panel * 4));
  if (!b || !c) {
    job.failed = true;
    std::free(b); std::free(c);
    return;
  }
  configure_tiles();
  for (int64_t panel = panels * part / parts; panel < panels * (part + 1) / parts; ++panel) {
    for (int64_t m0 = 0; m0 < job.pairs * 32; m0 += kRowsAtOnce) {
      const int64_t m1 = std::min(m0 + kRowsAtOnce, job.pairs * 32);
      for (int64_t k0 = 0; k0 < padded; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, padded - k0), deep = depth / kStep;
        for (int64_t tile = 0; tile < tiles; ++tile) {
          uint16_t* to = b + tile * deep * kTileValues;
          if (panel * tiles + tile < blocks) unpack_block(job.w, panel * tiles + tile, k0, depth, to);
          else std::memset(to, 0, deep * kTileValues * 2);
        }
        for (int64_t m = m0; m < m1; m += 32) {
          const uint16_t* a = job.a + (m / 16 * steps + k0 / kStep) * kTileValues;
          const uint16_t* next = a + (m + 32 < m1 ? 2 * steps * kTileValues : 0);
          for (int64_t tile = 0; tile < tiles; tile += 2) {
            multiply_bf16({a, a + steps * kTileValues, kTileValues, kStep}, b + tile * deep * kTileValues,
                          b + (tile + 1) * deep * kTileValues, deep,
                          {c + ((m - m0) / 16 * tiles + tile) * kTileC, kTileC, tiles * kTileC, 16}, k0 == 0);
            fetch(next, deep * kTileValues, tile, tiles);
            fetch(next + steps * kTileValues, deep * kTileValues, tile, tiles);
          }
        }
      }
      write_out(job, c, tiles, m0, m1, panel * job.panel);
    }
  }
  _tile_release();
  std::free(b); std::free(c);
}

}  // namespace

bool amx_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, void* out, int threads) {
  const int64_t pairs = (M + 31) / 32, blocks = (w.rows + kBlock - 1) / kBlock;
  // Panels no wider than an even share of the outputs, so that every thread has work.
  const int64_t share = (blocks * kBlock + threads - 1) / threads;
  const int64_t panel = std::min(kPanel, (share + 31) / 32 * 32);
  auto* a = static_cast<uint16_t*>(std::aligned_alloc(64, pairs * 32 * w.padded * 2));
  if (!a) return false;
  Job job = {w, x, dtype, M, pairs, a, out, panel, false};
  parallel(threads, pack_rows, &job);
  parallel(threads, run_panels, &job);
  std::free(a);
  return !job.failed;
}

}  // namespace osler
