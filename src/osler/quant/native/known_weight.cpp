// What rounding adds to weights; needs AVX-512.
#include "known_weight.h"

#include <immintrin.h>

#include <algorithm>
#include <limits>
#include <mutex>

#include "hadamard.h"
#include "vectors.h"

namespace osler {
namespace {

// Blocks of weights of which it is asked what rounding adds, as they are.
constexpr int64_t kLookedBlocks = 8;

int64_t blocks_of(const OslerWeight& w) { return (w.rows + kBlock - 1) / kBlock; }

// What is added to outputs, relative to each; those that are not there, and zeros, are left out.
struct Found {
  float sum = 0.0f, count = 0.0f;

  void add(__m512 added, __m512 squares) {
    const __mmask16 there = _mm512_cmp_ps_mask(squares, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    sum += _mm512_reduce_add_ps(_mm512_maskz_div_ps(there, added, squares));
    count += static_cast<float>(__builtin_popcount(there));
  }
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
  Found found;
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
    found.add(added_by(_mm512_mul_ps(most, _mm512_set1_ps(127.0f)), w.columns), squares);
  }
  return found.count ? found.sum / found.count : std::numeric_limits<float>::infinity();
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
  float* scales;           // [blocks][spans][16]
  Found* found;            // (blocks)
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
      most = _mm512_max_ps(most, _mm512_mul_ps(numbers, scale));
      squares = _mm512_add_ps(squares, squares_of(codes, kMixed, _mm512_mul_ps(scale, _mm512_set1_ps(kHadamardGrowth))));
    }
    added = _mm512_add_ps(added, added_by(most, to - from));
    _mm512_storeu_ps(job.scales + (block * rows.spans + span) * kBlock, _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 127.0f)));
  }
  job.found[block] = {};
  job.found[block].add(added, squares);
}

void find_blocks(void* data, int part, int parts) {
  const Job& job = *static_cast<const Job*>(data);
  const int64_t blocks = blocks_of(job.w);
  for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; ++block) find_block(job, block);
}

// Does what is not done yet, once for all threads.
template <class Do>
void once(int32_t& done, Do act) {
  static std::mutex one_at_a_time;
  if (__atomic_load_n(&done, __ATOMIC_ACQUIRE)) return;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  if (done) return;
  act();
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
}

int64_t scales_of(const OslerWeight& w) { return blocks_of(w) * spans_of(w).spans * kBlock; }

}  // namespace

int64_t known_bytes(const OslerWeight& w) {
  return static_cast<int64_t>(sizeof(KnownWeight) + scales_of(w) * sizeof(float) + blocks_of(w) * sizeof(Found));
}

float plain_error(const OslerWeight& w) {
  if (!w.known) return find_plain(w);
  KnownWeight& known = *known_of(w);
  once(known.plain_done, [&] { known.plain = find_plain(w); });
  return known.plain;
}

float hadamard_error(const OslerWeight& w, int threads) {
  KnownWeight& known = *known_of(w);
  once(known.hadamard_done, [&] {
    Job job = {w, hadamard_scales(w), reinterpret_cast<Found*>(hadamard_scales(w) + scales_of(w))};
    parallel(threads, find_blocks, &job);
    Found all;
    for (int64_t block = 0; block < blocks_of(w); ++block) {
      all.sum += job.found[block].sum;
      all.count += job.found[block].count;
    }
    known.hadamard = all.count ? all.sum / all.count : 0.0f;
  });
  return known.hadamard;
}

}  // namespace osler
