// What rounding adds to weights; needs AVX-512.
#include "known_weight.h"

#include <immintrin.h>

#include <algorithm>

#include "hadamard.h"
#include "vectors.h"

namespace osler {
namespace {

// Blocks of weights of which it is asked what rounding adds, as they are.
constexpr int64_t kLookedBlocks = 8;

int64_t blocks_of(const OslerWeight& w) { return (w.rows + kBlock - 1) / kBlock; }

// The mean over outputs of what is added, relative to each; outputs that are not there, and zeros, are left out.
class Mean {
 public:
  void add(__m512 added, __m512 squares) {
    const __mmask16 there = _mm512_cmp_ps_mask(squares, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    sum_ += _mm512_reduce_add_ps(_mm512_maskz_div_ps(there, added, squares));
    count_ += __builtin_popcount(there);
  }
  float value() const { return count_ ? sum_ / static_cast<float>(count_) : 0.0f; }

 private:
  float sum_ = 0.0f;
  int count_ = 0;
};

// Squares of 16 outputs: of codes of some inputs that share a scale.
__m512 squares_of(const uint8_t* codes, int64_t inputs, __m512 scale) {
  __m512i counted = _mm512_setzero_si512();
  for (int64_t k = 0; k < inputs; k += 4, codes += kBlock * 4) {
    const __m512i code = _mm512_xor_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(static_cast<char>(128)));
    const __m512i size = _mm512_min_epu8(_mm512_abs_epi8(code), _mm512_set1_epi8(127));
    counted = _mm512_dpbusd_epi32(counted, size, size);
  }
  return _mm512_mul_ps(_mm512_mul_ps(scale, scale), _mm512_cvtepi32_ps(counted));
}

// A twelfth of the square of a step of 1/127 of `most`, for so many inputs.
__m512 added_by(__m512 most, int64_t inputs) {
  const __m512 step = _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 127.0f));
  return _mm512_mul_ps(_mm512_mul_ps(step, step), _mm512_set1_ps(static_cast<float>(inputs) / 12.0f));
}

// One scale for all inputs of an output. (A product has one for each span: where there are several, less is added.)
float find_plain(const OslerWeight& w) {
  const int64_t blocks = blocks_of(w), groups = scale_groups(w), looked = std::min(blocks, kLookedBlocks);
  Mean mean;
  for (int64_t i = 0; i < looked; ++i) {
    const int64_t block = blocks * i / looked;
    const uint8_t* codes = w.codes + block * block_bytes(w);
    __m512 most = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t inputs = std::min<int64_t>(w.group, w.padded - group * w.group);
      const __m512 scale = _mm512_abs_ps(load_half(w.scale + (block * groups + group) * kBlock));
      most = _mm512_max_ps(most, scale);
      squares = _mm512_add_ps(squares, squares_of(codes, inputs, scale));
      codes += inputs * kBlock;
    }
    mean.add(added_by(_mm512_mul_ps(most, _mm512_set1_ps(127.0f)), w.columns), squares);
  }
  return mean.value();
}

// The largest size of each output among 32 inputs that were mixed, in whole numbers.
__m512 largest(MixedCodes& mixed, const uint8_t* codes) {
  for (int part = 0; part < 4; ++part) mixed.spread(codes, part / 2, part % 2);
  __m512i most = _mm512_setzero_si512();
  for (int i = 0; i < 4; ++i) {
    MixedCodes::Quads low, high;
    mixed.pair(i, low, high);
    for (const __m512i v : {low.even, low.odd, high.even, high.odd}) most = _mm512_max_epu16(most, _mm512_abs_epi16(v));
  }
  const __m512i lower = _mm512_and_si512(most, _mm512_set1_epi32(0xffff));
  return _mm512_cvtepi32_ps(_mm512_max_epi32(lower, _mm512_srli_epi32(most, 16)));
}

struct Job {
  const OslerWeight& w;
  float *scales, *errors;  // [blocks][spans][16]; (blocks)
};

void find_block(const Job& job, int64_t block) {
  const OslerWeight& w = job.w;
  const Rows rows = spans_of(w);
  const int64_t groups = scale_groups(w), span_inputs = rows.depth * kInputs;
  const uint8_t* codes = w.codes + block * block_bytes(w);
  MixedCodes mixed;
  __m512 added = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
  for (int64_t span = 0; span < rows.spans; ++span) {
    const int64_t from = span * span_inputs, to = std::min(w.padded, from + span_inputs);
    __m512 most = _mm512_setzero_ps();
    for (int64_t k = from; k < to; k += kMixed, codes += kMixed * kBlock) {
      const __m512 scale = _mm512_abs_ps(load_half(w.scale + (block * groups + k / w.group) * kBlock));
      // A step of the new codes must not be smaller than one of the stored sums, see `HadamardUnpacker`.
      const __m512 numbers = _mm512_max_ps(largest(mixed, codes), _mm512_set1_ps(127.1f));
      most = _mm512_max_ps(most, _mm512_mul_ps(numbers, _mm512_mul_ps(scale, _mm512_set1_ps(kHadamardScale))));
      squares = _mm512_add_ps(squares, squares_of(codes, kMixed, _mm512_mul_ps(scale, _mm512_set1_ps(kHadamardRoot))));
    }
    added = _mm512_add_ps(added, added_by(most, to - from));
    _mm512_storeu_ps(job.scales + (block * rows.spans + span) * kBlock, _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 127.0f)));
  }
  Mean mean;
  mean.add(added, squares);
  job.errors[block] = mean.value();
}

void find_blocks(void* data, int part, int parts) {
  const Job& job = *static_cast<const Job*>(data);
  const int64_t blocks = blocks_of(job.w);
  for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) find_block(job, block);
}

bool is_done(const int32_t& done) { return __atomic_load_n(&done, __ATOMIC_ACQUIRE); }
void set_done(int32_t& done) { __atomic_store_n(&done, 1, __ATOMIC_RELEASE); }

int64_t scales_of(const OslerWeight& w) { return blocks_of(w) * spans_of(w).spans * kBlock; }

}  // namespace

// After the scales, errors of the blocks, which are only needed until their mean is there.
int64_t known_bytes(const OslerWeight& w) {
  return static_cast<int64_t>(sizeof(KnownWeight)) + (scales_of(w) + blocks_of(w)) * 4;
}

float plain_error(const OslerWeight& w) {
  if (!w.known) return find_plain(w);
  KnownWeight& known = *known_of(w);
  if (!is_done(known.plain_done)) {
    known.plain = find_plain(w);
    set_done(known.plain_done);
  }
  return known.plain;
}

float hadamard_error(const OslerWeight& w, int threads) {
  KnownWeight& known = *known_of(w);
  if (!is_done(known.hadamard_done)) {
    const int64_t blocks = blocks_of(w);
    Job job = {w, hadamard_scales(w), hadamard_scales(w) + scales_of(w)};
    parallel(threads, find_blocks, &job);
    float sum = 0.0f;
    for (int64_t block = 0; block < blocks; ++block) sum += job.errors[block];
    known.hadamard = blocks ? sum / static_cast<float>(blocks) : 0.0f;
    set_done(known.hadamard_done);
  }
  return known.hadamard;
}

}  // namespace osler
