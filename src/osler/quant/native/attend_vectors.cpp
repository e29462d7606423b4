// Attention by vectors of float32.
#include "attend_vectors.inc"

namespace osler {
namespace {

struct Float32 {
  static constexpr int64_t kPair = 1;  // numbers of a word

  static uint32_t word_of(const uint16_t* from) { return static_cast<uint32_t>(*from) << 16; }

  // Up to 16 values of a key; null for zeros.
  static __m512i words_of(const uint16_t* values, const uint16_t*, int64_t count) {
    return values ? _mm512_castps_si512(load_bf16(values, count)) : _mm512_setzero_si512();
  }

  __attribute__((always_inline)) static __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }

  // Weights of 32 keys.
  __attribute__((always_inline)) static void store_weights(__m512 low, __m512 high, uint32_t* to) {
    _mm512_store_ps(to, low);
    _mm512_store_ps(to + 16, high);
  }
};

}  // namespace

bool vector_attend(const OslerAttention& a, int threads) { return attend_by<Float32>(a, threads); }

}  // namespace osler
