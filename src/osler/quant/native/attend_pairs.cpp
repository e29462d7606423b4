// Attention by vectors of pairs of bfloat16, weights of the values rounded to it: on AMD's processors twice the products.
#include <cpuid.h>

#include <cstring>

#include "attend_vectors.inc"

namespace osler {
namespace {

struct BFloat16 {
  static constexpr int64_t kPair = 2;  // numbers of a word

  static uint32_t word_of(const uint16_t* from) {
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }

  // Up to 16 values of two keys each; null for zeros.
  static __m512i words_of(const uint16_t* one, const uint16_t* other, int64_t count) {
    const auto load = [&](const uint16_t* from) {
      const __m256i half = from ? _mm256_maskz_loadu_epi16(first_lanes(count), from) : _mm256_setzero_si256();
      return _mm512_cvtepu16_epi32(half);
    };
    return _mm512_or_si512(load(one), _mm512_slli_epi32(load(other), 16));
  }

  __attribute__((always_inline)) static __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }

  // Weights of 32 keys.
  __attribute__((always_inline)) static void store_weights(__m512 low, __m512 high, uint32_t* to) {
    _mm512_store_si512(to, to_bf16(low, high));
  }
};

}  // namespace

// Intel's do fewer of these products than of float32's.
bool prefers_pairs() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return false;
  if (b != signature_AMD_ebx || c != signature_AMD_ecx || d != signature_AMD_edx) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

bool pair_attend(const OslerAttention& a, int threads) { return attend_by<BFloat16>(a, threads); }

}  // namespace osler
