// Tiles of 16 rows of 64 bytes computed by vectors, so that kernels for AMX are tested on processors with AVX-512 alone.
// `build_kernels(tiles=...)` includes it before each source. Every processor with tiles has VNNI, so that it may be used.
#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace osler_simulated {

struct Tile {
  __m512i row[16];
};

inline thread_local Tile tiles[8];

inline void fill(Tile& tile, int byte) { std::memset(&tile, byte, sizeof tile); }

inline void load(Tile& tile, const void* from, int64_t stride) {
  for (int64_t i = 0; i < 16; ++i) tile.row[i] = _mm512_loadu_si512(static_cast<const char*>(from) + i * stride);
}

inline void store(const Tile& tile, void* to, int64_t stride) {
  for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(static_cast<char*>(to) + i * stride, tile.row[i]);
}

// `c` += `a` times `b`: `multiply(sum, four bytes of a in all lanes, row of b)`.
template <class Multiply>
void add_product(Tile& c, const Tile& a, const Tile& b, Multiply multiply) {
  for (int m = 0; m < 16; ++m) {
    alignas(64) int32_t quads[16];
    _mm512_store_si512(quads, a.row[m]);
    for (int k = 0; k < 16; ++k) c.row[m] = multiply(c.row[m], _mm512_set1_epi32(quads[k]), b.row[k]);
  }
}

inline __m512i bf16(__m512i sum, __m512i a, __m512i b) {
  return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)a, (__m512bh)b));
}

// The vectors' instruction takes the first factor as unsigned: 128 more, which the second term takes away.
__attribute__((target("avx512vnni"))) inline __m512i both_signed(__m512i sum, __m512i a, __m512i b) {
  const __m512i middle = _mm512_set1_epi8(-128);
  const __m512i more = _mm512_dpbusd_epi32(_mm512_setzero_si512(), middle, b);
  return _mm512_sub_epi32(_mm512_dpbusd_epi32(sum, _mm512_xor_si512(a, middle), b), more);
}

__attribute__((target("avx512vnni"))) inline __m512i second_unsigned(__m512i sum, __m512i a, __m512i b) {
  return _mm512_dpbusd_epi32(sum, b, a);
}

inline void clear_all() {
  for (auto& tile : tiles) fill(tile, 0);
}

// Numbers that nobody should use any more: NaN in float32.
inline void release_all() {
  for (auto& tile : tiles) fill(tile, 0xff);
}

}  // namespace osler_simulated

#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#define _tile_loadconfig(config) osler_simulated::clear_all()
#define _tile_release() osler_simulated::release_all()
#define _tile_zero(t) osler_simulated::fill(osler_simulated::tiles[t], 0)
#define _tile_loadd(t, from, stride) osler_simulated::load(osler_simulated::tiles[t], from, stride)
#define _tile_stream_loadd(t, from, stride) _tile_loadd(t, from, stride)
#define _tile_stored(t, to, stride) osler_simulated::store(osler_simulated::tiles[t], to, stride)
#define OSLER_PRODUCT(c, a, b, multiply) \
  osler_simulated::add_product(osler_simulated::tiles[c], osler_simulated::tiles[a], osler_simulated::tiles[b], \
                               [](auto... v) { return osler_simulated::multiply(v...); })
#define _tile_dpbf16ps(c, a, b) OSLER_PRODUCT(c, a, b, bf16)
#define _tile_dpbssd(c, a, b) OSLER_PRODUCT(c, a, b, both_signed)
#define _tile_dpbsud(c, a, b) OSLER_PRODUCT(c, a, b, second_unsigned)
#endif
