// AVX2 with FMA and F16C: products of bytes by pairs, exact.
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "kernels.h"

namespace osler {
namespace {

#include "quantize_row.inc"

// Four products of an unsigned code and a signed activation, summed into each of eight lanes.
template <int kBits>
inline __m256i add_dot(__m256i total, __m256i code, __m256i x) {
  const __m256i ones = _mm256_set1_epi16(1);
  if (kBits == 4) return _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_maddubs_epi16(code, x), ones));
  // A pair of full bytes would overflow 16 bits. As signed codes, with the sign moved to the activation, it cannot:
  // 2 * 128 * 127 < 2^15.
  const __m256i sized = _mm256_xor_si256(code, _mm256_set1_epi8(-128));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(sized), _mm256_sign_epi8(x, sized));
  return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones));
}

inline __m256 load_half(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline __m256i load(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

template <int kBits>
void dot_row(const OslerWeight& w, const Activations& a, int64_t block, int64_t m, float* out) {
  const uint8_t* codes = w.codes + block * block_bytes(w);
  const int64_t scales = scale_groups(w);
  const uint16_t* scale = w.scale + block * scales * kBlock;
  const uint16_t* offset = w.offset ? w.offset + block * scales * kBlock : nullptr;
  const int8_t* x = a.codes + m * a.padded;
  __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int64_t g = 0; g < a.groups; ++g, x += kGroup) {
    const int32_t sum = a.sum[m * a.groups + g];
    // For 8 bits the codes are multiplied as signed ones: they need the zero point only where there are offsets.
    const int start = kBits == 4 ? (offset ? 0 : -8 * sum) : (offset ? 128 * sum : 0);
    __m256i dot_low = _mm256_set1_epi32(start), dot_high = dot_low;
    for (int quad = 0; quad < kGroup / 4; quad += kBits == 4 ? 2 : 1, codes += 64) {
      const __m256i first = _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(x + quad * 4));
      const __m256i v_low = load(codes), v_high = load(codes + 32);
      if (kBits == 8) {
        dot_low = add_dot<8>(dot_low, v_low, first);
        dot_high = add_dot<8>(dot_high, v_high, first);
        continue;
      }
      const __m256i second = _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(x + quad * 4 + 4));
      dot_low = add_dot<4>(dot_low, _mm256_and_si256(v_low, nibble), first);
      dot_high = add_dot<4>(dot_high, _mm256_and_si256(v_high, nibble), first);
      dot_low = add_dot<4>(dot_low, _mm256_and_si256(_mm256_srli_epi16(v_low, 4), nibble), second);
      dot_high = add_dot<4>(dot_high, _mm256_and_si256(_mm256_srli_epi16(v_high, 4), nibble), second);
    }
    const int64_t at = g * kGroup / w.group * kBlock;
    const float x_scale = a.scale[m * a.groups + g];
    const __m256 factor = _mm256_set1_ps(x_scale);
    low = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_low), _mm256_mul_ps(load_half(scale + at), factor), low);
    high = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_high), _mm256_mul_ps(load_half(scale + at + 8), factor), high);
    if (offset) {
      const __m256 weight = _mm256_set1_ps(x_scale * static_cast<float>(sum));
      low = _mm256_fmadd_ps(load_half(offset + at), weight, low);
      high = _mm256_fmadd_ps(load_half(offset + at + 8), weight, high);
    }
  }
  _mm256_storeu_ps(out, low);
  _mm256_storeu_ps(out + 8, high);
}

void dot_block(const OslerWeight& w, const Activations& a, int64_t block, int64_t m0, int count, float* out) {
  for (int row = 0; row < count; ++row) {
    if (w.bits == 4) dot_row<4>(w, a, block, m0 + row, out + row * kBlock);
    else dot_row<8>(w, a, block, m0 + row, out + row * kBlock);
  }
}

}  // namespace

const Path kAvx2 = {"avx2", dot_block, quantize_row};

}  // namespace osler
