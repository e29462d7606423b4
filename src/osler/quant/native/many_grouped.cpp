// Products of many rows with weights of 8 bits by AVX-512 with VNNI: activations have a scale for each 32 inputs, as those
// of single tokens have, and results have the same bits.
//
// Six rows by two blocks stay in registers: an activation is loaded once for both. Some groups of inputs at a time, so that
// their weights stay in the first-level cache while all rows pass over them; the sums of earlier ones are kept.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "many_rows.h"
#include "results.h"

namespace osler {
namespace {

constexpr int kPanel = 6;                // rows that are multiplied at a time
constexpr int64_t kRowsAtOnce = 516;     // a multiple of that, whose activations over a depth take half a megabyte
constexpr int64_t kDepth = 24;           // groups at a time
constexpr int64_t kMostPairs = 4;        // of blocks that a thread takes at most before it asks for more
constexpr int64_t kSums = kPanel * 2 * kBlock;

// What a panel needs of a group of inputs, side by side.
struct alignas(64) PanelGroup {
  int8_t codes[kGroup / 4][kPanel][4];
  float scale[kPanel];
  union {
    int32_t start[kPanel];  // weights without offsets: the sum of the codes times what those of weights stand above zero
    float sum[kPanel];      // with offsets: the sum of the codes times the scale
  };
};

struct Job {
  const GroupedProduct& p;
  const OslerWeight& w;
  const char* x;           // of these rows
  int64_t M, groups, panels;
  char* out;
  int64_t pairs, share;    // of blocks, and how many of them are taken at a time
  PanelGroup* rows;        // [depths][panels][groups of the depth]
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};

  // The groups of a panel from a depth's first one, g0, on.
  PanelGroup* panel_at(int64_t panel, int64_t g0) const {
    return rows + g0 * panels + panel * std::min(kDepth, groups - g0);
  }
};

// 16 inputs of a row from k on, zeros past its end.
template <int kType>
inline __m512 load_inputs(const Job& job, int64_t m, int64_t k) {
  const int64_t at = m * job.w.columns + k;
  const __mmask16 there = first_lanes(job.w.columns - k);
  if (kType == kFloat32) return _mm512_maskz_loadu_ps(there, reinterpret_cast<const float*>(job.x) + at);
  return from_bf16(_mm256_maskz_loadu_epi16(there, reinterpret_cast<const uint16_t*>(job.x) + at));
}

// Lanes of 128 bits that hold four values of rows each, brought together: the four of `abcd`, then those of `ef`, in a half.
template <class Join>
inline __m256i join_lanes(__m512i abcd, __m512i ef, Join join) {
  const __m512i two = join(_mm512_shuffle_i64x2(abcd, ef, 0x44), _mm512_shuffle_i64x2(abcd, ef, 0xee));
  const __m512i one = join(two, _mm512_shuffle_i64x2(two, two, 0xb1));
  return _mm512_castsi512_si256(_mm512_shuffle_i64x2(one, one, 0x08));
}

// The largest sizes of six rows of 32 inputs, as bits of float32: lanes 0 to 5.
inline __m256i largest(const __m512 (&x)[kPanel][2]) {
  // As whole numbers, the bits of sizes have the order of the sizes, and infinities and NaN come last.
  const __m512i size = _mm512_set1_epi32(0x7fffffff);
  const auto most = [](__m512i one, __m512i other) { return _mm512_max_epi32(one, other); };
  __m512i row[kPanel];
  for (int r = 0; r < kPanel; ++r)
    row[r] = most(_mm512_and_si512(_mm512_castps_si512(x[r][0]), size), _mm512_and_si512(_mm512_castps_si512(x[r][1]), size));
  __m512i two[kPanel / 2];
  for (int i = 0; i < kPanel / 2; ++i)
    two[i] = most(_mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]), _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]));
  return join_lanes(most(_mm512_unpacklo_epi64(two[0], two[1]), _mm512_unpackhi_epi64(two[0], two[1])),
                    most(two[2], _mm512_shuffle_epi32(two[2], _MM_PERM_BADC)), most);
}

// Sums of the codes of six rows, which lie as `quantize_group` has them: lanes 0 to 5.
inline __m256i sums_of(const __m512i (&codes)[kPanel / 2]) {
  const auto add = [](__m512i one, __m512i other) { return _mm512_add_epi32(one, other); };
  __m512 fours[kPanel / 2];
  for (int i = 0; i < kPanel / 2; ++i)
    fours[i] = _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), codes[i]));
  const auto even_and_odd = [&](__m512 one, __m512 other) {
    return add(_mm512_castps_si512(_mm512_shuffle_ps(one, other, 0x88)),
               _mm512_castps_si512(_mm512_shuffle_ps(one, other, 0xdd)));
  };
  return join_lanes(even_and_odd(fours[0], fours[1]), even_and_odd(fours[2], fours[2]), add);
}

// Where the codes of a panel come from, line by line: of the first two pairs of rows, and then with the third.
struct Order {
  alignas(64) int32_t two[3][16], third[3][16];

  Order() {
    for (int place = 0; place < kPanel * kGroup / 4; ++place) {
      const int quad = place / kPanel, row = place % kPanel, at = quad % 4 * 4 + row % 2 * 2 + quad / 4;
      two[place / 16][place % 16] = row < 2 ? at : 16 + at;
      third[place / 16][place % 16] = row < 4 ? place % 16 : 16 + at;
    }
  }
};

// Quantizes a group of inputs of six rows, with the codes, scales and sums of quantize_row.inc.
template <bool kOffset>
inline void quantize_group(const __m512 (&x)[kPanel][2], int32_t zero, const Order& order, PanelGroup& to) {
  const __m256i bits = largest(x);
  const __m256 most = _mm256_castsi256_ps(bits), by = _mm256_set1_ps(127.0f);
  // Below this the inverse would overflow; such a group is zero for all that follows.
  const __mmask8 counts = _mm256_cmp_ps_mask(most, _mm256_set1_ps(1e-30f), _CMP_GT_OQ);
  // What depends on a group that is not finite becomes NaN, as it would in floating point.
  const __mmask8 finite = _mm256_cmplt_epi32_mask(bits, _mm256_set1_epi32(0x7f800000));
  const __m256 scale = _mm256_mask_div_ps(_mm256_set1_ps(std::numeric_limits<float>::quiet_NaN()), finite, most, by);
  alignas(32) float inverse[8], scales[8];
  _mm256_store_ps(inverse, _mm256_maskz_div_ps(counts & finite, by, most));
  __m512i codes[kPanel / 2];
  for (int i = 0; i < kPanel / 2; ++i) {
    __m512i half[2];
    for (int r = 0; r < 2; ++r) {
      const __m512 factor = _mm512_set1_ps(inverse[2 * i + r]);
      const __m512 *row = x[2 * i + r];
      half[r] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(row[0], factor)),
                                   _mm512_cvtps_epi32(_mm512_mul_ps(row[1], factor)));
    }
    codes[i] = _mm512_packs_epi16(half[0], half[1]);
  }
  for (int line = 0; line < 3; ++line) {
    const __m512i four = _mm512_permutex2var_epi32(codes[0], _mm512_load_si512(order.two[line]), codes[1]);
    _mm512_store_si512(reinterpret_cast<int8_t*>(to.codes) + line * 64,
                       _mm512_permutex2var_epi32(four, _mm512_load_si512(order.third[line]), codes[2]));
  }
  _mm256_store_ps(scales, scale);
  std::memcpy(to.scale, scales, sizeof to.scale);
  const __m256i sum = sums_of(codes);
  if constexpr (kOffset) {
    alignas(32) float sums[8];
    _mm256_store_ps(sums, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)));
    std::memcpy(to.sum, sums, sizeof to.sum);
  } else {
    alignas(32) int32_t starts[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(starts), _mm256_mullo_epi32(sum, _mm256_set1_epi32(-zero)));
    std::memcpy(to.start, starts, sizeof to.start);
  }
}

// Quantizes the rows of some panels and lays them out; those past the end are the last one once more, and not written.
template <int kType, bool kOffset>
void pack_panels(void* data, int part, int parts) {
  const Job& job = *static_cast<Job*>(data);
  const int32_t zero = zero_point(job.w);
  const Order order;
  for (int64_t panel = job.panels * part / parts; panel < job.panels * (part + 1) / parts; ++panel) {
    for (int64_t g = 0; g < job.groups; ++g) {
      __m512 x[kPanel][2];
      for (int64_t row = 0; row < kPanel; ++row) {
        const int64_t m = std::min(panel * kPanel + row, job.M - 1);
        for (int64_t half = 0; half < 2; ++half) x[row][half] = load_inputs<kType>(job, m, g * kGroup + half * 16);
      }
      quantize_group<kOffset>(x, zero, order, job.panel_at(panel, g / kDepth * kDepth)[g % kDepth]);
    }
  }
}

// The weights of two blocks from a group on.
struct Pair {
  const uint8_t* codes;
  const uint16_t *scale, *offset;
  int64_t codes_apart, scales_apart;  // from one block to the other
};

// sums (6 rows, 2 blocks, 16) += rows times weights over some groups, `first` of which begins a scale of the weights.
template <bool kOffset>
inline void multiply_panel(const Pair& pair, const PanelGroup* x, int64_t g0, int64_t g1, int to_scale,
                           __m512 (&total)[kPanel][2]) {
  const uint8_t* codes = pair.codes;
  for (int64_t g = g0; g < g1; ++g, ++x) {
    __m512i dot[kPanel][2];
#pragma GCC unroll 6
    for (int row = 0; row < kPanel; ++row)
      dot[row][0] = dot[row][1] = kOffset ? _mm512_setzero_si512() : _mm512_set1_epi32(x->start[row]);
#pragma GCC unroll 8
    for (int quad = 0; quad < kGroup / 4; ++quad, codes += 64) {
      const __m512i one = _mm512_loadu_si512(codes), other = _mm512_loadu_si512(codes + pair.codes_apart);
#pragma GCC unroll 6
      for (int row = 0; row < kPanel; ++row) {
        int32_t four;
        std::memcpy(&four, x->codes[quad][row], 4);
        const __m512i wide = _mm512_set1_epi32(four);
        dot[row][0] = _mm512_dpbusd_epi32(dot[row][0], one, wide);
        dot[row][1] = _mm512_dpbusd_epi32(dot[row][1], other, wide);
      }
    }
    const int64_t at = (g >> to_scale) * kBlock;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512 s = load_half(pair.scale + half * pair.scales_apart + at);
#pragma GCC unroll 6
      for (int row = 0; row < kPanel; ++row) {
        const __m512 factor = _mm512_mul_ps(s, _mm512_set1_ps(x->scale[row]));
        total[row][half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[row][half]), factor, total[row][half]);
      }
      if (!kOffset) continue;
      const __m512 o = load_half(pair.offset + half * pair.scales_apart + at);
#pragma GCC unroll 6
      for (int row = 0; row < kPanel; ++row)
        total[row][half] = _mm512_fmadd_ps(o, _mm512_set1_ps(x->sum[row]), total[row][half]);
    }
  }
}

// Multiplies all rows of a share of pairs by some groups of inputs after the others.
template <class Result>
class Worker {
 public:
  explicit Worker(const Job& job) : job_(job) {
    const int64_t bytes = job.groups > kDepth ? job.share * job.panels * kSums * 4 : 64;
    sums_ = static_cast<float*>(std::aligned_alloc(64, bytes));
  }
  ~Worker() { std::free(sums_); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  bool ready() const { return sums_; }

  // Multiplies pairs first..last-1.
  void run(int64_t first, int64_t last) {
    for (int64_t g0 = 0; g0 < job_.groups; g0 += kDepth) {
      const int64_t g1 = std::min(job_.groups, g0 + kDepth);
      for (int64_t pair = first; pair < last; ++pair) {
        if (pair + 1 < last) fetch(pair + 1, g0);
        else if (g1 < job_.groups) fetch(first, g1);
        else fetch(std::min(last, job_.pairs - 1), 0);
        if (job_.w.offset) run_pair<true>(pair, first, g0, g1);
        else run_pair<false>(pair, first, g0, g1);
      }
    }
  }

 private:
  Pair pair_of(int64_t pair, int64_t g0) const {
    const OslerWeight& w = job_.w;
    const int64_t blocks = (w.rows + kBlock - 1) / kBlock, bytes = block_bytes(w), scales = scale_groups(w) * kBlock;
    const int64_t one = Result::kGated ? pair : pair * 2;
    // After an odd number of blocks, the last one is multiplied twice and written once.
    const int64_t apart = Result::kGated ? blocks / 2 : std::min<int64_t>(1, blocks - 1 - one);
    return {w.codes + one * bytes + g0 * kGroup * kBlock, w.scale + one * scales,
            w.offset ? w.offset + one * scales : nullptr, apart * bytes, apart * scales};
  }

  // Says whose weights are fetched from now on, beside the panels.
  void fetch(int64_t pair, int64_t g0) {
    const Pair next = pair_of(pair, g0);
    next_ = next.codes;
    apart_ = next.codes_apart;
    left_ = std::min(kDepth, job_.groups - g0) * kGroup * kBlock;
  }

  void fetch_some() {
    for (int64_t line = 0; line < (kDepth * kGroup * kBlock / 64 + job_.panels - 1) / job_.panels && left_ > 0; ++line) {
      _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(next_ + apart_), _MM_HINT_T1);
      next_ += 64;
      left_ -= 64;
    }
  }

  template <bool kOffset>
  void run_pair(int64_t pair, int64_t first, int64_t g0, int64_t g1) {
    const OslerWeight& w = job_.w;
    const Pair of = pair_of(pair, g0);
    const int64_t wide = Result::kGated ? kBlock : 2 * kBlock, outputs = Result::kGated ? w.rows / 2 : w.rows;
    const int64_t n = pair * wide, stride = outputs * Result::kSize, count = outputs - n;
    const __mmask32 mask = count >= wide ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
    char* out = job_.out + n * Result::kSize;
    float* sums = sums_ + (pair - first) * job_.panels * kSums;
    // A scale stands for one, two or four groups, or for all.
    const int to_scale = w.group < w.padded ? __builtin_ctz(static_cast<unsigned>(w.group / kGroup)) : 62;
    for (int64_t panel = 0; panel < job_.panels; ++panel, sums += kSums) {
      const int64_t m = panel * kPanel, count_rows = std::min<int64_t>(kPanel, job_.M - m);
      fetch_some();
      if (g1 == job_.groups) {
        for (int64_t row = 0; row < count_rows; ++row)
          _mm_prefetch(out + (m + row) * stride, _MM_HINT_T0);
      }
      __m512 total[kPanel][2];
#pragma GCC unroll 6
      for (int row = 0; row < kPanel; ++row) {
        total[row][0] = g0 ? _mm512_load_ps(sums + row * 2 * kBlock) : _mm512_setzero_ps();
        total[row][1] = g0 ? _mm512_load_ps(sums + row * 2 * kBlock + kBlock) : _mm512_setzero_ps();
      }
      multiply_panel<kOffset>(of, job_.panel_at(panel, g0), g0, g1, to_scale, total);
      if (g1 < job_.groups) {
#pragma GCC unroll 6
        for (int row = 0; row < kPanel; ++row) {
          _mm512_store_ps(sums + row * 2 * kBlock, total[row][0]);
          _mm512_store_ps(sums + row * 2 * kBlock + kBlock, total[row][1]);
        }
        continue;
      }
      if (job_.p.bias) add_bias(n, count, total);
      if (job_.p.gelu) {
        for (int row = 0; row < kPanel; ++row) {
          total[row][0] = osler::gelu(total[row][0]);
          total[row][1] = osler::gelu(total[row][1]);
        }
      }
#pragma GCC unroll 6
      for (int row = 0; row < kPanel; ++row) {
        if (row < count_rows) Result::write(out + (m + row) * stride, mask, Result::begin(total[row][0]), total[row][1]);
      }
    }
  }

  __m512 bias_from(int64_t n, int64_t count) const {
    if constexpr (Result::kSize == 4) return _mm512_maskz_loadu_ps(first_lanes(count), static_cast<const float*>(job_.p.bias) + n);
    else return load_bf16(static_cast<const uint16_t*>(job_.p.bias) + n, count);
  }

  void add_bias(int64_t n, int64_t count, __m512 (&total)[kPanel][2]) const {
    const __m512 one = bias_from(n, count);
    const __m512 other = count > kBlock ? bias_from(n + kBlock, count - kBlock) : _mm512_setzero_ps();
    for (int row = 0; row < kPanel; ++row) {
      total[row][0] = _mm512_add_ps(total[row][0], one);
      total[row][1] = _mm512_add_ps(total[row][1], other);
    }
  }

  const Job& job_;
  const uint8_t* next_ = nullptr;  // weights that are fetched
  int64_t apart_ = 0, left_ = 0;
  float* sums_;  // [pairs of a share][panels][6][2][16], where inputs take several depths
};

template <class Result>
void run_shares(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  Worker<Result> worker(job);
  if (!worker.ready()) {
    job.failed = true;
    return;
  }
  for (int64_t first; (first = job.next.fetch_add(job.share)) < job.pairs;)
    worker.run(first, std::min(first + job.share, job.pairs));
}

template <int kType>
void pack_typed(Job& job, int threads) {
  parallel(threads, job.w.offset ? pack_panels<kType, true> : pack_panels<kType, false>, &job);
}

template <bool gated>
void run_typed(Job& job, int threads) {
  parallel(threads, job.p.dtype == kFloat32 ? run_shares<ResultOf<gated, kFloat32>> : run_shares<ResultOf<gated, kBFloat16>>,
           &job);
}

}  // namespace

bool grouped_linear(const GroupedProduct& p, int threads) {
  const OslerWeight& w = p.w;
  const int64_t size = p.dtype == kFloat32 ? 4 : 2, groups = w.padded / kGroup, most = std::min(p.M, kRowsAtOnce);
  const int64_t blocks = (w.rows + kBlock - 1) / kBlock, pairs = p.gated ? blocks / 2 : (blocks + 1) / 2;
  const int64_t rows = (most + kPanel - 1) / kPanel * groups * static_cast<int64_t>(sizeof(PanelGroup));
  auto* memory = static_cast<PanelGroup*>(std::aligned_alloc(64, rows));
  if (!memory) return false;
  const int64_t share = std::clamp<int64_t>(pairs / (4 * threads), 1, kMostPairs);
  bool done = true;
  for (int64_t m = 0; m < p.M && done; m += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, p.M - m);
    Job job = {p, w, static_cast<const char*>(p.x) + m * w.columns * size, count, groups, (count + kPanel - 1) / kPanel,
               static_cast<char*>(p.out) + m * (p.gated ? w.rows / 2 : w.rows) * size, pairs, share, memory};
    if (p.dtype == kFloat32) pack_typed<kFloat32>(job, threads);
    else pack_typed<kBFloat16>(job, threads);
    if (p.gated) run_typed<true>(job, threads);
    else run_typed<false>(job, threads);
    done = !job.failed;
  }
  std::free(memory);
  return done;
}

}  // namespace osler
