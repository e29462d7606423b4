// One block of outputs with AVX-512: one vector holds a pair of inputs of 16 outputs.
#include <immintrin.h>

#include "dense.h"

namespace osler {
namespace {

constexpr int64_t kAhead = 2048;  // values that are fetched before they are needed: memory answers about so late

// Several pairs of inputs have sums of their own, so that no sum waits for the one before it.
template <int kRows, int kSums>
void dense_rows(const uint16_t* block, int64_t steps, const float* x, float* out) {
  const int64_t padded = steps * kTileInputs;
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512 total[kRows][kSums];
  for (int row = 0; row < kRows; ++row)
    for (int sum = 0; sum < kSums; ++sum) total[row][sum] = _mm512_setzero_ps();
  for (int64_t k = 0; k < padded; k += 2 * kSums) {
#pragma GCC unroll 4
    for (int sum = 0; sum < kSums; ++sum, block += 2 * kBlock) {
      _mm_prefetch(reinterpret_cast<const char*>(block + kAhead), _MM_HINT_T0);
      const __m512i pair = _mm512_loadu_si512(block);
      const __m512 low = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
      const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const float* from = x + row * padded + k + 2 * sum;
        total[row][sum] = _mm512_fmadd_ps(low, _mm512_set1_ps(from[0]), total[row][sum]);
        total[row][sum] = _mm512_fmadd_ps(high, _mm512_set1_ps(from[1]), total[row][sum]);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    __m512 all = total[row][0];
    for (int sum = 1; sum < kSums; ++sum) all = _mm512_add_ps(all, total[row][sum]);
    _mm512_storeu_ps(out + row * kBlock, all);
  }
}

void dense_block(const uint16_t* block, int64_t steps, const float* x, int count, float* out) {
  for (; count >= 8; count -= 8, x += 8 * steps * kTileInputs, out += 8 * kBlock)
    dense_rows<8, 1>(block, steps, x, out);
  for (; count >= 2; count -= 2, x += 2 * steps * kTileInputs, out += 2 * kBlock)
    dense_rows<2, 4>(block, steps, x, out);
  if (count > 0) dense_rows<1, 4>(block, steps, x, out);
}

}  // namespace

const DenseBlock kDenseAvx512 = dense_block;

}  // namespace osler
