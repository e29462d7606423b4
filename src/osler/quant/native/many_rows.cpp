// Leads a micro-kernel over rows and weights.
//
// A span of up to 512 rows stays in the second-level cache while all outputs pass over it, 32 at a time: their weights
// are unpacked once, into a room of their own, while those before are multiplied. Where inputs have several spans, the
// sums of the earlier ones are kept as float32.
#include "many_rows.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "vectors.h"

namespace osler {
namespace {

// Panels whose sums are kept at a time: 8 MB.
constexpr int64_t kPanels = 128;
// Rows that are written in one piece.
constexpr int64_t kWritten = 4;

struct Job {
  const ManyRows& p;
  int64_t blocks, panels;  // of outputs: blocks of 16, panels of two blocks
  int64_t outputs;         // of a row of the result
  bool failed;
};

// What is multiplied at a time: rows from m0 on, outputs of a panel, a span of inputs.
struct Item {
  int64_t m0, section, span, panel;
};

// A square whose sums wait to be written.
struct Waiting {
  const int32_t *sums, *large;
  const float *x_scale, *x_large, *w_scale, *w_large;
  float* total;   // sums of earlier spans, null where there is one span
  bool first, last;
  int64_t m, panel;
};

class Worker {
 public:
  Worker(const Job& job, int64_t first, int64_t last) : job_(job), p_(job.p), first_(first), last_(last) {
    const Rows& rows = p_.rows;
    const int64_t weights = 2 * (rows.depth + rows.large) * kTile, pairs = std::min(kRowsAtOnce / kSide, rows.pairs);
    const int64_t totals = rows.spans > 1 ? std::min(kPanels, last - first) * pairs * kSquare * 4 : 0;
    const int64_t sums = kSquare * 4, large = rows.large * pairs * kSquare * 4;
    const int64_t bytes = 2 * (weights + sums + large) + 6 * kSide * 4 + totals;
    memory_ = static_cast<uint8_t*>(std::aligned_alloc(64, bytes));
    if (!memory_) return;
    auto* at = memory_ + 2 * weights;
    for (int i = 0; i < 2; ++i, at += sums + large) {
      weights_[i] = memory_ + i * weights;
      sums_[i] = reinterpret_cast<int32_t*>(at);
      large_[i] = reinterpret_cast<int32_t*>(at + sums);
    }
    for (int i = 0; i < 3; ++i, at += 2 * kSide * 4) scales_[i] = reinterpret_cast<float*>(at);
    totals_ = totals ? reinterpret_cast<float*>(at) : nullptr;
  }
  ~Worker() { std::free(memory_); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  bool ready() const { return memory_; }

  void run() {
    Item now = {0, first_, 0, first_};
    pieces_ = start_unpacking(now);
    for (int64_t piece = 0; piece < pieces_; ++piece) unpack(piece);
    p_.micro.begin();
    for (bool more = true; more;) {
      Item next = now;
      more = advance(next);
      turn_ ^= 1;  // what was unpacked is multiplied
      ++items_;
      unpacked_ = 0;
      pieces_ = more ? start_unpacking(next) : 0;
      run_item(now);
      now = next;
    }
    p_.micro.end();
    write_rest();
  }

 private:
  // The next item: panels, then spans, then sections of panels, then rows.
  bool advance(Item& item) const {
    if (++item.panel < std::min(item.section + kPanels, last_)) return true;
    item.panel = item.section;
    if (++item.span < p_.rows.spans) return true;
    item.span = 0;
    item.panel = item.section += kPanels;
    if (item.section < last_) return true;
    item.panel = item.section = first_;
    item.m0 += kRowsAtOnce;
    return item.m0 < p_.rows.pairs * kSide;
  }

  // Says what is unpacked from now on; returns in how many pieces.
  int64_t start_unpacking(const Item& item) {
    const Rows& rows = p_.rows;
    const int64_t k0 = item.span * rows.depth * kInputs, steps = rows.span_steps(item.span);
    const int64_t apart = p_.gated ? job_.blocks / 2 : 1;
    const bool last = item.span + 1 == rows.spans;
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t block = (p_.gated ? item.panel : item.panel * 2) + half * apart;
      const int64_t tiles = steps + (last ? rows.large : 0);
      spans_[half] = {block, k0, std::min(k0 + steps * kInputs, p_.w.padded), steps,
                      last && rows.large ? rows.picked : nullptr, p_.micro.flip,
                      weights_[turn_ ^ 1] + half * tiles * kTile, scales_[(items_ + 1) % 3] + half * kBlock};
    }
    return 2 * unpack_pieces(spans_[0]);
  }

  void unpack(int64_t piece) {
    const int64_t each = unpack_pieces(spans_[0]);
    unpack_piece(p_.w, spans_[piece / each], piece % each);
  }

  // A piece of the vectors' work: first the rows of the square before, then weights.
  static void run_piece(void* data, int64_t piece) {
    Worker& worker = *static_cast<Worker*>(data);
    if (piece < worker.writes_) worker.write_rows(piece * kWritten);
    else worker.unpack(worker.unpacked_ + piece - worker.writes_);
  }

  void run_item(const Item& item) {
    const Rows& rows = p_.rows;
    const int64_t pair0 = item.m0 / kSide, pairs = std::min(kRowsAtOnce / kSide, rows.pairs - pair0);
    const int64_t stride = rows.steps + rows.large, steps = rows.span_steps(item.span);
    const bool last = item.span + 1 == rows.spans, large = last && rows.large;
    const int64_t b_next = (steps + large) * kTile;
    int32_t* large_sums = large_[items_ & 1];
    if (large) multiply_large(pair0, pairs, weights_[turn_] + steps * kTile, b_next, large_sums);
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const int64_t m = (pair0 + pair) * kSide, scale = item.span * rows.pairs * kSide + m;
      const uint8_t* a = rows.tiles + (pair0 + pair) * 2 * stride * kTile;
      int32_t* sums = sums_[number_ & 1];
      const int64_t all = rows.spans * rows.pairs * kSide + m;  // of the large inputs
      Square square = {a + item.span * rows.depth * kTile, weights_[turn_], stride * kTile, b_next, steps,
                       (number_ & 1) != 0, rows.sum + scale, sums};
      writes_ = waits_ ? kSide / kWritten : 0;
      unpacked_ = pieces_ * pair / pairs;
      Side side = {run_piece, this, writes_ + pieces_ * (pair + 1) / pairs - unpacked_, 0};
      p_.micro.multiply(square, side);
      float* total = totals_ ? totals_ + ((item.panel - item.section) * pairs + pair) * kSquare : nullptr;
      const float* w_scale = scales_[items_ % 3];
      waiting_ = {sums, large ? large_sums + pair * kSquare : nullptr, rows.scale + scale,
                  large ? rows.scale + all : nullptr,
                  w_scale, w_scale + kSide, total, item.span == 0, last, m, item.panel};
      waits_ = true;
      ++number_;
    }
  }

  // Multiplies the large inputs of all rows: one after the other, as what is stored soon after other sums waits for them.
  void multiply_large(int64_t pair0, int64_t pairs, const uint8_t* b, int64_t b_next, int32_t* sums) {
    const Rows& rows = p_.rows;
    const int64_t stride = (rows.steps + rows.large) * kTile;
    Side nothing = {nullptr, nullptr, 0, 0};
    for (int64_t pair = pair0; pair < pair0 + pairs; ++pair, sums += kSquare)
      p_.micro.multiply({rows.tiles + pair * 2 * stride + rows.steps * kTile, b, stride, b_next, 1, false,
                         rows.sum + (rows.spans * rows.pairs + pair) * kSide, sums}, nothing);
  }

  void write_rest() {
    for (int64_t row = 0; waits_ && row < kSide; row += kWritten) write_rows(row);
    waits_ = false;
  }

  // Sums of 16 outputs of a row as float32, scaled, with those of earlier spans.
  __m512 value_at(int64_t row, int64_t half) const {
    const Waiting& s = waiting_;
    const int64_t at = ((row / 16 * 2 + half) * 16 + row % 16) * 16;
    const __m512 by = _mm512_mul_ps(_mm512_set1_ps(s.x_scale[row]), _mm512_loadu_ps(s.w_scale + half * 16));
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(s.sums + at)), by);
    if (s.large) {
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(s.x_large[row]), _mm512_loadu_ps(s.w_large + half * 16));
      value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(s.large + at)), scale, value);
    }
    if (!s.first) {
      value = _mm512_add_ps(value, _mm512_loadu_ps(s.total + at));
      _mm_prefetch(reinterpret_cast<const char*>(s.total + at + kSquare), _MM_HINT_T0);  // of the next square
    }
    if (!s.last) _mm512_storeu_ps(s.total + at, value);
    return value;
  }

  void write(int64_t m, int64_t n, __m512 value) const {
    const __mmask16 mask = first_lanes(job_.outputs - n);
    const int64_t at = m * job_.outputs + n, below = std::min(kSide, p_.M - 1 - m) * job_.outputs;
    // Where the next square is written: stores come in order, and all would wait for one that memory holds up.
    _mm_prefetch(static_cast<const char*>(p_.out) + (at + below) * (p_.dtype == kFloat32 ? 4 : 2), _MM_HINT_T0);
    if (p_.dtype == kFloat32) _mm512_mask_storeu_ps(static_cast<float*>(p_.out) + at, mask, value);
    else _mm256_mask_storeu_epi16(static_cast<uint16_t*>(p_.out) + at, mask, to_bf16(value));
  }

  __m512 rounded(__m512 value) const { return p_.dtype == kFloat32 ? value : from_bf16(to_bf16(value)); }

  void write_rows(int64_t row0) const {
    for (int64_t row = row0; row < row0 + kWritten; ++row) {
      const int64_t m = waiting_.m + row;
      const __m512 one = value_at(row, 0), other = value_at(row, 1);
      if (!waiting_.last || m >= p_.M) continue;
      if (p_.gated) {
        write(m, waiting_.panel * 16, _mm512_mul_ps(rounded(gelu(rounded(one))), rounded(other)));
      } else {
        write(m, waiting_.panel * 32, one);
        write(m, waiting_.panel * 32 + 16, other);
      }
    }
  }

  const Job& job_;
  const ManyRows& p_;
  const int64_t first_, last_;  // of the panels
  uint8_t* memory_ = nullptr;
  uint8_t* weights_[2];         // [2 blocks][tiles of the span, and of large inputs]: multiplied, and unpacked meanwhile
  float* scales_[3];            // [2: of the span, of large inputs][32]: also of the square that waits
  int32_t *sums_[2], *large_[2];  // [2][2][16][16], of a square that is multiplied and of one that waits; [pairs of rows]
                                  // alike for large inputs, of an item and of the one before
  float* totals_ = nullptr;     // [panels of a section][pairs of rows][2][2][16][16]
  Span spans_[2];
  Waiting waiting_ = {};
  bool waits_ = false;
  int turn_ = 1;
  int64_t pieces_ = 0, unpacked_ = 0, writes_ = 0, number_ = 0, items_ = 0;
};

void run_panels(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t first = job.panels * part / parts, last = job.panels * (part + 1) / parts;
  if (first == last) return;
  Worker worker(job, first, last);
  if (worker.ready()) worker.run();
  else job.failed = true;
}

}  // namespace

bool multiply_rows(const ManyRows& p, int threads) {
  const int64_t blocks = (p.w.rows + kBlock - 1) / kBlock;
  const int64_t panels = p.gated ? blocks / 2 : (blocks + 1) / 2;
  Job job = {p, blocks, panels, p.gated ? p.w.rows / 2 : p.w.rows, false};
  parallel(threads, run_panels, &job);
  return !job.failed;
}

}  // namespace osler
