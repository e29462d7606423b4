// Looks at some rows before they become int8: which inputs are large, and what rounding would add; needs AVX-512.
//
// A row's step over a span is its largest input over 127, where an input of n places counts an n-th. Places go, one after
// another, to the input that is largest for those it has.
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "rows_int8.h"

namespace osler {
namespace {

// Rows among which large inputs are looked for, at least: what is large in one is so in nearly all.
constexpr int64_t kLooked = 64;

// The factors by which rows count when large inputs are looked for: none where they hold what is not finite.
template <int kType>
void measure_rows(const Measure& job, int64_t from, int64_t to) {
  const int64_t K = job.in.K;
  for (int64_t m = looked_from(job.looked, from); m < to; m += job.looked) {
    __m512i most_bits = _mm512_setzero_si512();
    __m512 squares = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += 16) {
      const __m512 x = load_input<kType>(job.in.x, m * K + k, first_lanes(K - k));
      most_bits = _mm512_max_epi32(most_bits, size_bits(x));
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    const int32_t bits = _mm512_reduce_max_epi32(most_bits);
    const bool finite = bits < 0x7f800000;
    job.squares[m] = finite ? _mm512_reduce_add_ps(squares) : 0.0f;
    float most;
    std::memcpy(&most, &bits, sizeof most);
    job.factors[m] = finite && most > 1e-15f && most < 1e19f ? 1.0f / most / most : 0.0f;
  }
}

// Inputs in parts of columns, fourth powers summed over the rows in order: the same for any number of threads. (The
// largest alone would follow single rows, squares would hardly see them: either leaves larger steps.)
template <int kType>
void measure_inputs(const Measure& job, int64_t from, int64_t to) {
  const int64_t K = job.in.K;
  float* sums = job.sizes;
  std::fill(sums + from, sums + std::min(to, K), 0.0f);
  for (int64_t m = looked_from(job.looked, 0); m < job.in.M; m += job.looked) {
    if (job.factors[m] == 0.0f) continue;
    const __m512 factor = _mm512_set1_ps(job.factors[m]);
    for (int64_t k = from; k < to; k += 16) {
      const __mmask16 mask = first_lanes(K - k);
      const __m512 x = load_input<kType>(job.in.x, m * K + k, mask), sum = _mm512_maskz_loadu_ps(mask, sums + k);
      const __m512 square = _mm512_mul_ps(_mm512_mul_ps(x, x), factor);
      _mm512_mask_storeu_ps(sums + k, mask, _mm512_fmadd_ps(square, square, sum));
    }
  }
}

// What rounding adds to rows, relative to their squares: a twelfth of a step's square to each input.
template <int kType>
void measure_errors(const Measure& job, int64_t from, int64_t to) {
  const Rows& layout = job.layout;
  alignas(64) float large[kMostAgain];
  for (int64_t m = looked_from(job.looked, from); m < to; m += job.looked) {
    job.errors[m] = std::numeric_limits<float>::infinity();
    if (job.factors[m] == 0.0f) continue;
    float added = 0.0f;
    for (int64_t span = 0; span < layout.spans; ++span) {
      const int32_t bits = largest_part<kType>(layout, job.places, span, job.in.x, m * job.in.K, job.in.K, large);
      float most;
      std::memcpy(&most, &bits, sizeof most);
      const int64_t k0 = span * layout.depth * kInputs;
      const int64_t inputs = std::min(job.in.K - k0, layout.span_steps(span) * kInputs);
      added += static_cast<float>(inputs) * (most / 127.0f) * (most / 127.0f) / 12.0f;
    }
    if (std::isfinite(job.squares[m])) job.errors[m] = added / job.squares[m];
  }
}

using Part = void (*)(const Measure&, int64_t from, int64_t to);

// Runs a function of one type over the rows, or over the inputs in sixteens.
template <Part float32, Part bfloat16, bool kRows>
void run_part(void* data, int part, int parts) {
  const Measure& job = *static_cast<const Measure*>(data);
  const int64_t unit = kRows ? 1 : 16, units = ((kRows ? job.in.M : job.in.K) + unit - 1) / unit;
  const int64_t from = units * part / parts * unit, to = units * (part + 1) / parts * unit;
  (job.in.dtype == kFloat32 ? float32 : bfloat16)(job, from, to);
}

// How many tiles of further places a span needs, so that no input is much larger than most for those that it has. (Among
// ordinary ones, a row's largest is three to four times as large as most.)
int64_t tiles_for(const float* sizes, int64_t count, float* room) {
  std::copy(sizes, sizes + count, room);
  std::nth_element(room, room + count / 2, room + count);
  const float bound = std::max(5.0f * room[count / 2], 1e-6f);
  int64_t needed = 0;
  for (int64_t k = 0; k < count; ++k) needed += static_cast<int64_t>(std::min(1e4f, sizes[k] / bound));
  return std::clamp<int64_t>((needed + kInputs - 1) / kInputs, 1, kMostExtra);
}

// Gives `number` places of a span of inputs away, where `at` says.
void give_places(const Measure& job, int64_t k0, int64_t k1, int64_t number, int64_t at) {
  const float* sizes = job.sizes;
  const Places& places = job.places;
  uint64_t* keys = job.keys;
  // Sizes are not negative, so that their bits have their order; of equal ones the first counts as larger.
  for (int64_t k = k0; k < k1; ++k) {
    uint32_t bits;
    std::memcpy(&bits, sizes + k, sizeof bits);
    keys[k] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(~k);
  }
  // Before a smaller input has its turn, all places are given away.
  const int64_t wanted = std::min(number, k1 - k0);
  std::partial_sort(keys + k0, keys + k0 + wanted, keys + k1, std::greater<uint64_t>());
  int32_t input[kMostAgain];
  float now[kMostAgain];
  int held[kMostAgain];
  for (int64_t i = 0; i < wanted; ++i) {
    input[i] = static_cast<int32_t>(~static_cast<uint32_t>(keys[k0 + i]));
    now[i] = sizes[input[i]];
    held[i] = 1;
  }
  for (int64_t i = 0; i < number; ++i) {
    const int64_t most = std::max_element(now, now + wanted) - now;
    now[most] = sizes[input[most]] / static_cast<float>(++held[most]);
  }
  std::pair<int32_t, int> order[kMostAgain];
  for (int64_t i = 0; i < wanted; ++i) order[i] = {input[i], held[i]};
  std::sort(order, order + wanted);
  for (int64_t i = 0; i < wanted; ++i) {
    const auto [k, count] = order[i];
    for (int place = 1; place < count; ++place, ++at) {
      places.again[at] = k;
      places.before[at] = 127 * place;
      places.portion[at] = 1.0f / static_cast<float>(count);
    }
    if (count > 1) places.ordinary[k / 16] = static_cast<uint16_t>(places.ordinary[k / 16] & ~(1u << k % 16));
  }
}

// The spans of a part of the work, and their inputs.
template <class Do>
void each_span(const Measure& job, int part, int parts, Do act) {
  const int64_t spans = job.layout.spans, inputs = job.layout.depth * kInputs;
  for (int64_t span = spans * part / parts; span < spans * (part + 1) / parts; ++span)
    act(span, span * inputs, std::min(job.in.K, (span + 1) * inputs));
}

void count_part(void* data, int part, int parts) {
  const Measure& job = *static_cast<const Measure*>(data);
  each_span(job, part, parts, [&](int64_t span, int64_t k0, int64_t k1) {
    for (int64_t k = k0; k < k1; ++k) job.sizes[k] = std::sqrt(std::sqrt(job.sizes[k]));
    job.extra[span] = tiles_for(job.sizes + k0, k1 - k0, reinterpret_cast<float*>(job.keys + k0));
  });
}

void give_part(void* data, int part, int parts) {
  const Measure& job = *static_cast<const Measure*>(data);
  each_span(job, part, parts, [&](int64_t span, int64_t k0, int64_t k1) {
    give_places(job, k0, k1, job.layout.extra * kInputs, span * kMostAgain);
  });
}

}  // namespace

int64_t looked_of(int64_t M) { return M < 2 * kLooked ? 1 : (M / kLooked - 1) | 1; }

void find_places(Measure& job, int threads) {
  const int64_t K = job.in.K;
  for (int64_t i = 0; i < job.layout.steps * 4; ++i) job.places.ordinary[i] = first_lanes(K - i * 16);
  job.layout.extra = 0;
  if (K < kMeasured) return;
  parallel(threads, run_part<measure_rows<kFloat32>, measure_rows<kBFloat16>, true>, &job);
  parallel(threads, run_part<measure_inputs<kFloat32>, measure_inputs<kBFloat16>, false>, &job);
  parallel(threads, count_part, &job);
  for (int64_t i = 0; i < job.layout.spans; ++i) job.layout.extra = std::max(job.layout.extra, job.extra[i]);
  parallel(threads, give_part, &job);
}

float rows_error(Measure& job, int threads) {
  parallel(threads, run_part<measure_errors<kFloat32>, measure_errors<kBFloat16>, true>, &job);
  float sum = 0.0f;
  int64_t count = 0;
  for (int64_t m = looked_from(job.looked, 0); m < job.in.M; m += job.looked) {
    if (job.squares[m] == 0.0f) continue;
    sum += job.errors[m];
    ++count;
  }
  return count ? sum / static_cast<float>(count) : 0.0f;
}

}  // namespace osler
