// Products of many rows in int8: lays rows out in tiles of int8, large inputs in several parts (measure_int8.cpp), as they
// are or mixed (hadamard.h).
#include "rows_int8.h"

#include <cstdlib>
#include <limits>

#include "hadamard.h"
#include "known_weight.h"

namespace osler {
namespace {

struct Job {
  Inputs in;            // their K is filled up where they are mixed
  Rows layout;
  Places places;
  int8_t* tiles;        // what `layout` names
  float* x_scale;
  int32_t* x_sum;
  const Inputs* mixed;  // null, or the rows as they are
  float* room;          // then for 16 rows of a span for each part of the work
};

// Room for the inputs of 16 rows over a span.
int64_t room_size(const Rows& layout) { return 16 * layout.depth * kInputs; }

// 64 numbers as a line of a tile; they saturate at -128 and 127.
inline __m512i line_of(const __m512i code[4]) {
  // Packing works in each quarter of a vector by itself.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const __m512i low = _mm512_packs_epi32(code[0], code[1]), high = _mm512_packs_epi32(code[2], code[3]);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
}

inline __m512i clamp(__m512i x, __m512i most) {
  return _mm512_max_epi32(_mm512_min_epi32(x, most), _mm512_sub_epi32(_mm512_setzero_si512(), most));
}

// Mixes inputs of a row, 64 at a time, filled up with zeros.
template <int kType>
void mix_row(const Inputs& in, int64_t m, int64_t k0, int64_t k1, float* to) {
  for (int64_t k = k0; k < k1; k += kInputs, to += kInputs) {
    __m512 x[4];
    const bool whole = in.K - k >= kInputs;
    for (int64_t j = 0; j < 4; ++j)
      x[j] = load_input<kType>(in.x, m * in.K + k + j * 16, whole ? 0xffff : first_lanes(in.K - k - j * 16));
    mix_inputs(x[0], x[1]);
    mix_inputs(x[2], x[3]);
    for (int64_t j = 0; j < 4; ++j) _mm512_storeu_ps(to + j * 16, x[j]);
  }
}

void mix_row(const Inputs& in, int64_t m, int64_t k0, int64_t k1, float* to) {
  if (in.dtype == kFloat32) mix_row<kFloat32>(in, m, k0, k1, to);
  else mix_row<kBFloat16>(in, m, k0, k1, to);
}

// The inputs of 16 rows over a span.
struct Part {
  int64_t m0, count;    // the first row, and how many are there: the others become zeros
  int64_t span;
  float* room;          // where they are mixed
};

// How 16 rows become int8 over a span.
struct Rounding {
  const void* x;           // input k of a row is x[at + row * stride + k]
  int64_t at, stride;
  float inverse[16] = {};  // codes of a step of one
  uint16_t kept[16] = {};  // no input of rows that are not there, or not finite
  alignas(64) float large[16][kMostAgain];  // inputs that have further places
  alignas(64) __m512i sum[16] = {};
};

// Mixes rows, where they are mixed, and finds their scales.
template <int kType>
void find_scales(const Job& job, const Part& part, Rounding& found) {
  const Rows& layout = job.layout;
  const int64_t k0 = part.span * layout.depth * kInputs, steps = layout.span_steps(part.span);
  found.x = job.mixed ? part.room : job.in.x;
  found.stride = job.mixed ? steps * kInputs : job.in.K;
  found.at = job.mixed ? -k0 : part.m0 * job.in.K;
  float* scales = job.x_scale + part.span * layout.pairs * kSide + part.m0;
  for (int64_t row = 0; row < part.count; ++row) {
    if (job.mixed) mix_row(*job.mixed, part.m0 + row, k0, k0 + found.stride, part.room + row * found.stride);
    const int64_t at = found.at + row * found.stride;
    const int32_t bits = largest_part<kType>(layout, job.places, part.span, found.x, at, found.stride, found.large[row]);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    const bool finite = bits < 0x7f800000;
    // Below this the inverse would overflow; such inputs are zero for all that follows.
    found.inverse[row] = finite && most > 1e-30f ? 127.0f / most : 0.0f;
    found.kept[row] = finite ? 0xffff : 0;
    // What depends on inputs that are not finite becomes NaN, as it would in floating point.
    scales[row] = finite ? most / 127.0f : std::numeric_limits<float>::quiet_NaN();
  }
  std::fill(scales + part.count, scales + 16, 0.0f);
}

// Inputs of 16 rows over a span to tiles: first the scales of all rows, then tile after tile, whose lines lie side by side.
template <int kType>
void quantize_part(const Job& job, const Part& part) {
  const Rows& layout = job.layout;
  const int64_t k0 = part.span * layout.depth * kInputs, steps = layout.span_steps(part.span);
  const int64_t places = part.span * kMostAgain, further = layout.extra * kInputs;
  Rounding rounding;
  find_scales<kType>(job, part, rounding);
  int8_t* to = job.tiles + (part.m0 / 16 * layout.row_tiles() + layout.first_tile(part.span)) * kTile;
  const auto put = [&](int64_t row, __m512i line) {
    rounding.sum[row] = _mm512_dpbusd_epi32(rounding.sum[row], _mm512_set1_epi8(1), line);
    _mm512_store_si512(to, line);
    to += 64;
  };
  for (int64_t k = k0; k < k0 + steps * kInputs; k += kInputs) {
    __mmask16 there[4];
    for (int64_t j = 0; j < 4; ++j) there[j] = first_lanes(job.in.K - k - j * 16);
    for (int64_t row = 0; row < 16; ++row) {
      const __m512 factor = _mm512_set1_ps(rounding.inverse[row]);
      const int64_t at = rounding.at + row * rounding.stride + k;
      __m512i code[4];
      for (int64_t j = 0; j < 4; ++j) {
        const __m512 value = load_input<kType>(rounding.x, at + j * 16, there[j] & rounding.kept[row]);
        code[j] = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
      }
      put(row, _mm512_max_epi8(line_of(code), _mm512_set1_epi8(-127)));
    }
  }
  for (int64_t i = 0; i < further; i += kInputs) {
    for (int64_t row = 0; row < 16; ++row) {
      const __m512 factor = _mm512_set1_ps(rounding.inverse[row]);
      __m512i code[4];
      for (int64_t j = 0; j < 4; ++j) {
        const __m512i before = _mm512_loadu_si512(job.places.before + places + i + j * 16);
        const __m512 value = _mm512_maskz_loadu_ps(rounding.kept[row], rounding.large[row] + i + j * 16);
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
        const __m512i with = clamp(whole, _mm512_add_epi32(before, _mm512_set1_epi32(127)));
        code[j] = _mm512_sub_epi32(with, clamp(whole, before));
      }
      put(row, line_of(code));
    }
  }
  int32_t* sums = job.x_sum + part.span * layout.pairs * kSide + part.m0;
  for (int64_t row = 0; row < 16; ++row) sums[row] = _mm512_reduce_add_epi32(rounding.sum[row]);
}

void pack_rows(void* data, int part, int parts) {
  const Job& job = *static_cast<const Job*>(data);
  const int64_t tiles = job.layout.pairs * 2;
  float* room = job.mixed ? job.room + part * room_size(job.layout) : nullptr;
  for (int64_t tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
    const int64_t m0 = tile * 16, count = std::max<int64_t>(0, std::min<int64_t>(16, job.in.M - m0));
    for (int64_t span = 0; span < job.layout.spans; ++span) {
      if (job.in.dtype == kFloat32) quantize_part<kFloat32>(job, {m0, count, span, room});
      else quantize_part<kBFloat16>(job, {m0, count, span, room});
    }
  }
}

// The rows of `from` that are looked at, mixed.
struct Sample {
  const Inputs& from;
  int64_t looked, width;
  float* to;
};

void mix_sample(void* data, int part, int parts) {
  const Sample& sample = *static_cast<const Sample*>(data);
  const Inputs& in = sample.from;
  const int64_t from = in.M * part / parts, to = in.M * (part + 1) / parts;
  for (int64_t m = looked_from(sample.looked, from); m < to; m += sample.looked) {
    mix_row(in, m, 0, sample.width, sample.to + (m - sample.looked / 2) / sample.looked * sample.width);
  }
}

// Parts of one piece of memory, each at a multiple of 64 bytes.
class Parts {
 public:
  int64_t add(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += (bytes + 63) / 64 * 64;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

// Where the parts of a product's memory begin.
struct Memory {
  int64_t tiles, x_scale, x_sum, keys, extra, sizes, rows, again, before, portion, ordinary, sample, room, bytes;

  // `sample_rows`: that are looked at mixed; none where that is not asked.
  Memory(const Int8Product& p, const Rows& layout, int64_t sample_rows) {
    const int64_t filled = layout.pairs * kSide, width = layout.steps * kInputs, places = layout.spans * kMostAgain;
    Parts parts;
    tiles = parts.add(filled * (layout.steps + layout.spans * kMostExtra) * kInputs);
    x_scale = parts.add(filled * layout.spans * 4);
    x_sum = parts.add(filled * layout.spans * 4);
    keys = parts.add(width * 8);
    extra = parts.add(layout.spans * 8);
    sizes = parts.add(width * 4);
    rows = parts.add(p.M * 3 * 4);
    again = parts.add(places * 4);
    before = parts.add(places * 4);
    portion = parts.add(places * 4);
    ordinary = parts.add(layout.steps * 4 * 2);
    sample = parts.add(sample_rows * width * 4);
    room = parts.add(sample_rows ? p.threads * room_size(layout) * 4 : 0);
    bytes = parts.bytes();
  }
};

// Whether rounding adds little to the rows, which are asked first, and to weights.
template <class Weights>
bool fits(Measure& measure, int threads, Weights weights_error, float limit) {
  const float most = limit * limit, rows = rows_error(measure, threads);
  return rows <= most && rows + weights_error() <= most;
}

// Chooses how rows are multiplied, and finds places for it; null where both ways are too coarse.
MultiplyRows choose(const Int8Product& p, Measure& measure, float* sample) {
  find_places(measure, p.threads);
  if (!p.hadamard) return p.plain;
  if (fits(measure, p.threads, [&] { return plain_error(p.w); }, kMostError)) return p.plain;
  if (!p.w.known) return nullptr;
  const Inputs all = measure.in;
  const int64_t width = measure.layout.steps * kInputs;
  Sample mixed = {all, measure.looked, width, sample};
  parallel(p.threads, mix_sample, &mixed);
  measure.in = {sample, kFloat32, looked_rows(all.M), width};
  measure.looked = 1;
  find_places(measure, p.threads);
  const auto weights_error = [&] { return hadamard_error(p.w, p.threads); };
  return fits(measure, p.threads, weights_error, kMostHadamardError) ? p.hadamard : nullptr;
}

}  // namespace

Outcome int8_linear(const Int8Product& p) {
  if (p.hadamard && !asks(p.w)) return Outcome::kTooCoarse;
  const int64_t steps = (p.w.padded + kInputs - 1) / kInputs;
  const Rows rows = rows_of(p.M, steps, kMostInt8, kInputs);
  const Memory parts(p, rows, p.hadamard && p.w.known ? looked_rows(p.M) : 0);
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(4096, (parts.bytes + 4095) / 4096 * 4096));
  if (!memory) return Outcome::kNoMemory;
  const auto floats = [&](int64_t at) { return reinterpret_cast<float*>(memory + at); };
  const auto numbers = [&](int64_t at) { return reinterpret_cast<int32_t*>(memory + at); };
  const Inputs in = {p.x, p.dtype, p.M, p.w.columns};
  const Places places = {numbers(parts.again), numbers(parts.before), floats(parts.portion),
                         reinterpret_cast<uint16_t*>(memory + parts.ordinary)};
  float* of_rows = floats(parts.rows);
  Measure measure = {in, rows, places, of_rows, of_rows + p.M, of_rows + 2 * p.M, floats(parts.sizes),
                     reinterpret_cast<uint64_t*>(memory + parts.keys), reinterpret_cast<int64_t*>(memory + parts.extra),
                     looked_of(p.M)};
  const MultiplyRows multiply = choose(p, measure, floats(parts.sample));
  if (!multiply) {
    std::free(memory);
    return Outcome::kTooCoarse;
  }
  const bool mixed = multiply == p.hadamard;
  Job job = {in, measure.layout, places, reinterpret_cast<int8_t*>(memory + parts.tiles), floats(parts.x_scale),
             numbers(parts.x_sum), mixed ? &in : nullptr, mixed ? floats(parts.room) : nullptr};
  if (mixed) job.in.dtype = kFloat32, job.in.K = steps * kInputs;
  job.layout.tiles = memory + parts.tiles;
  job.layout.scale = job.x_scale;
  job.layout.sum = job.x_sum;
  job.layout.again = places.again;
  parallel(p.threads, pack_rows, &job);
  const bool done = multiply({p.w, job.layout, p.M, p.dtype, p.gated, p.out}, p.threads);
  std::free(memory);
  return done ? Outcome::kDone : Outcome::kNoMemory;
}

}  // namespace osler
