// Inputs times a Hadamard matrix, so that no input of a row is far larger than the others; for AVX-512.
//
// What multiplies both rows and weights changes their product by 16 alone: W H^T H x = 16 W x. Each 32 inputs are mixed by
// themselves, in two sets of 16: those whose second bit is 0, and 1. Rows take the sixteenth, before they are added, so that
// finite ones stay finite. (Ashkboos et al., "QuaRot", 2024, mix whole rows. Sets of 16 stay whole numbers of 16 bits, and
// within what shares a scale.)
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace osler {

constexpr int64_t kMixed = 32;       // inputs
constexpr float kHadamardShare = 1.0f / 16.0f;  // of the inputs of rows
constexpr float kHadamardGrowth = 4.0f;         // of the root of the sum of squares of weights

// Weights of 16 outputs and 32 inputs, codes of 8 bits with 128 for zero, to sums and differences in 16 bits, 2^11 in size at
// most. First `spread` of both kinds and halves, then `pair`, in pieces that fit between tiles.
class MixedCodes {
 public:
  // `kind`: 0 for sums of neighboring inputs, 1 for differences. `half`: of the 32 inputs.
  __attribute__((always_inline)) void spread(const uint8_t* codes, int kind, int half) {
    const __m512i signs = _mm512_set1_epi16(static_cast<short>(kind ? 0xff01 : 0x0101));
    const uint8_t* from = codes + half * 256;
    const __m512i a = _mm512_maddubs_epi16(_mm512_loadu_si512(from), signs);
    const __m512i b = _mm512_maddubs_epi16(_mm512_loadu_si512(from + 64), signs);
    const __m512i c = _mm512_maddubs_epi16(_mm512_loadu_si512(from + 128), signs);
    const __m512i d = _mm512_maddubs_epi16(_mm512_loadu_si512(from + 192), signs);
    const __m512i sum = _mm512_add_epi16(a, b), difference = _mm512_sub_epi16(a, b);
    const __m512i other_sum = _mm512_add_epi16(c, d), other_difference = _mm512_sub_epi16(c, d);
    __m512i* to = room_ + kind * 8 + half * 4;
    _mm512_store_si512(to, _mm512_add_epi16(sum, other_sum));
    _mm512_store_si512(to + 1, _mm512_add_epi16(difference, other_difference));
    _mm512_store_si512(to + 2, _mm512_sub_epi16(sum, other_sum));
    _mm512_store_si512(to + 3, _mm512_sub_epi16(difference, other_difference));
  }

  // Four inputs of 16 outputs each: the even and the odd ones.
  struct Quads {
    __m512i even, odd;
  };

  // Quads `i` (0 to 3) and `i + 4`.
  __attribute__((always_inline)) void pair(int64_t i, Quads& low, Quads& high) const {
    // Codes stand for 128 less: 2,048 in the sum of 16, nothing where as many are subtracted.
    const __m512i zero = _mm512_set1_epi16(i == 0 ? 16 * 128 : 0);
    const __m512i sums = _mm512_load_si512(room_ + i), others = _mm512_load_si512(room_ + 4 + i);
    low.even = _mm512_sub_epi16(_mm512_add_epi16(sums, others), zero);
    high.even = _mm512_sub_epi16(sums, others);
    const __m512i differences = _mm512_load_si512(room_ + 8 + i), more = _mm512_load_si512(room_ + 12 + i);
    low.odd = _mm512_add_epi16(differences, more);
    high.odd = _mm512_sub_epi16(differences, more);
  }

 private:
  alignas(64) __m512i room_[16];  // [kind][half][4]
};

// 16 inputs, x or its neighbors at a distance of a power of two, as `other` has them.
template <int kApart>
__attribute__((always_inline)) static inline __m512 mix(__m512 x, __m512 other) {
  constexpr auto sign = [](int lane) { return lane & kApart ? -1.0f : 1.0f; };
  const __m512 signs = _mm512_set_ps(sign(15), sign(14), sign(13), sign(12), sign(11), sign(10), sign(9), sign(8), sign(7),
                                     sign(6), sign(5), sign(4), sign(3), sign(2), sign(1), sign(0));
  return _mm512_fmadd_ps(x, signs, other);
}

// 32 inputs of a row, as `MixedCodes` has them of weights, and a sixteenth of that.
__attribute__((always_inline)) static inline void mix_inputs(__m512& low, __m512& high) {
  const __m512 share = _mm512_set1_ps(kHadamardShare), first = _mm512_mul_ps(low, share), second = _mm512_mul_ps(high, share);
  const __m512 sum = _mm512_add_ps(first, second), difference = _mm512_sub_ps(first, second);
  const auto mixed = [](__m512 x) {
    x = mix<1>(x, _mm512_permute_ps(x, 0xb1));
    x = mix<4>(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    return mix<8>(x, _mm512_shuffle_f32x4(x, x, 0x4e));
  };
  low = mixed(sum);
  high = mixed(difference);
}

}  // namespace osler
