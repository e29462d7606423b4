// Attention by AVX-512 without tiles, in float32: processors that multiply bfloat16 by vectors are not faster at it, or not by
// much, and lose precision.
//
// Keys and values of a head become float32 once, keys turned so that a vector holds one value of 16 keys. A thread takes
// some queries of a head; a chunk of keys stays in its second-level cache while they pass over it, twelve at a time: their
// scores, then the weights, with the largest score so far as common factor, then the sums of the values.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "attention.h"
#include "kernels.h"
#include "vectors.h"

namespace osler {
namespace {

constexpr int kRows = 12;              // queries at a time
constexpr int kSome = 4;               // of them, whose sums stay in registers
constexpr int64_t kTask = 192;         // queries that a thread takes at a time
constexpr int64_t kKeys = 32;          // whose scores stay in registers
constexpr int64_t kChunk = 256;        // keys
constexpr int64_t kMostRoom = 16 << 20;  // bytes of keys and values at a time, if they hold a head's
constexpr int64_t kMostColumns = 5;    // vectors of results that stay in registers

struct Job {
  const OslerAttention& a;
  int64_t b;             // of the batch
  int64_t head0, heads;  // key heads at a time
  int64_t padded;        // S, filled up
  int64_t columns;       // vectors of a row of results
  int64_t groups;        // of columns that are summed together
  int64_t parts;         // of the queries of a head
  float *keys, *values;  // [heads][padded / 32][H][32], [heads][padded][columns][16]
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
};

// Some blocks of 32 keys, with their values, become float32.
void widen_keys(void* data, int part, int parts) {
  const Job& job = *static_cast<Job*>(data);
  const OslerAttention& a = job.a;
  const int64_t blocks = job.padded / kKeys, all = job.heads * blocks;
  for (int64_t item = all * part / parts; item < all * (part + 1) / parts; ++item) {
    const int64_t head = job.head0 + item / blocks, block = item % blocks;
    float* keys = job.keys + item * kKeys * a.H;
    float* values = job.values + item * kKeys * job.columns * 16;
    for (int64_t i = 0; i < kKeys; ++i, values += job.columns * 16) {
      const int64_t s = block * kKeys + i;
      if (s >= a.S) {
        for (int64_t h = 0; h < a.H; ++h) keys[h * kKeys + i] = 0.0f;
        std::memset(values, 0, job.columns * 16 * sizeof(float));
        continue;
      }
      const uint16_t* k = row_of(a.k, a.k_stride, job.b, head, s);
      for (int64_t h = 0; h < a.H; ++h) keys[h * kKeys + i] = bf16_to_float(k[h]);
      const uint16_t* v = row_of(a.v, a.v_stride, job.b, head, s);
      for (int64_t h = 0; h < job.columns * 16; h += 16) _mm512_store_ps(values + h, load_bf16(v + h, a.H - h));
    }
  }
}

// Scores of 12 queries, [H][12], and 32 keys, [H][32]: to[12][kChunk].
void score(const float* q, const float* k, int64_t H, float* to) {
  __m512 sum[kRows][2];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = _mm512_setzero_ps();
  for (int64_t h = 0; h < H; ++h, q += kRows, k += kKeys) {
    const __m512 one = _mm512_load_ps(k), other = _mm512_load_ps(k + 16);
#pragma GCC unroll 12
    for (int row = 0; row < kRows; ++row) {
      const __m512 x = _mm512_set1_ps(q[row]);
      sum[row][0] = _mm512_fmadd_ps(x, one, sum[row][0]);
      sum[row][1] = _mm512_fmadd_ps(x, other, sum[row][1]);
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
    _mm512_store_ps(to + row * kChunk, sum[row][0]);
    _mm512_store_ps(to + row * kChunk + 16, sum[row][1]);
  }
}

// sums[4][stride] += weights[4][kChunk] times values of some keys, kColumns vectors of each.
template <int kColumns>
void add_values(const float* weights, const float* values, int64_t keys, int64_t stride, float* sums) {
  __m512 sum[kSome][kColumns];
#pragma GCC unroll 4
  for (int row = 0; row < kSome; ++row) {
#pragma GCC unroll 5
    for (int i = 0; i < kColumns; ++i) sum[row][i] = _mm512_load_ps(sums + row * stride + i * 16);
  }
  for (int64_t key = 0; key < keys; ++key, values += stride) {
    __m512 value[kColumns];
#pragma GCC unroll 5
    for (int i = 0; i < kColumns; ++i) value[i] = _mm512_load_ps(values + i * 16);
#pragma GCC unroll 4
    for (int row = 0; row < kSome; ++row) {
      const __m512 weight = _mm512_set1_ps(weights[row * kChunk + key]);
#pragma GCC unroll 5
      for (int i = 0; i < kColumns; ++i) sum[row][i] = _mm512_fmadd_ps(weight, value[i], sum[row][i]);
    }
  }
#pragma GCC unroll 4
  for (int row = 0; row < kSome; ++row) {
#pragma GCC unroll 5
    for (int i = 0; i < kColumns; ++i) _mm512_store_ps(sums + row * stride + i * 16, sum[row][i]);
  }
}

using AddValues = void (*)(const float*, const float*, int64_t, int64_t, float*);
constexpr AddValues kAddValues[] = {nullptr, add_values<1>, add_values<2>, add_values<3>, add_values<4>, add_values<5>};

// A query on its way over the keys.
struct Row {
  int64_t first, last;   // the keys that it sees
  float most, total;     // the largest score so far, and the sum of its weights
};

// Which of 16 keys from `key` on a query sees; whether it sees all of a chunk is known where `kAll` says so.
template <bool kAll>
inline __mmask16 seen(const Row& row, int64_t key) {
  if (kAll) return 0xffff;
  return first_lanes(row.last - key) & static_cast<__mmask16>(~first_lanes(row.first - key));
}

// Turns a row's scores of a chunk into weights; returns the factor of what was summed before.
template <bool kAll>
float weigh(float* scores, int64_t key0, int64_t count, Row& row) {
  __m512 most = _mm512_set1_ps(row.most), other = most;
  for (int64_t i = 0; i < count; i += kKeys) {
    most = _mm512_mask_max_ps(most, seen<kAll>(row, key0 + i), most, _mm512_load_ps(scores + i));
    other = _mm512_mask_max_ps(other, seen<kAll>(row, key0 + i + 16), other, _mm512_load_ps(scores + i + 16));
  }
  const float now = _mm512_reduce_max_ps(_mm512_max_ps(most, other));
  // Before the first key that is seen, all weights are zero.
  const __m512 shift = _mm512_set1_ps(now == -std::numeric_limits<float>::infinity() ? 0.0f : now);
  __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t i = 0; i < count; i += kKeys) {
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      float* at = scores + i + half * 16;
      const __m512 weight = _mm512_maskz_mov_ps(seen<kAll>(row, key0 + i + half * 16),
                                                power(_mm512_sub_ps(_mm512_load_ps(at), shift)));
      _mm512_store_ps(at, weight);
      sum[half] = _mm512_add_ps(sum[half], weight);
    }
  }
  const float factor = row.most == now ? 1.0f : std::exp(row.most - now);
  row.most = now;
  row.total = row.total * factor + _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
  return factor;
}

class Worker {
 public:
  explicit Worker(const Job& job) : job_(job), wide_(job.columns * 16) {
    const int64_t q = kTask * job.a.H, sums = kTask * wide_, scores = kRows * kChunk;
    memory_ = static_cast<float*>(std::aligned_alloc(64, ((q + sums + scores) * 4 + 63) / 64 * 64));
    if (!memory_) return;
    scores_ = memory_;
    sums_ = memory_ + scores;
    q_ = sums_ + sums;
  }
  ~Worker() { std::free(memory_); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  bool ready() const { return memory_; }

  // Some queries of a head.
  void run(int64_t head, int64_t first, int64_t count) {
    const OslerAttention& a = job_.a;
    start(head, first, count);
    const int64_t key_head = head / (a.heads / a.key_heads) - job_.head0;
    for (int64_t key0 = first_ / kChunk * kChunk; key0 < last_; key0 += kChunk) {
      const int64_t keys = std::min(kChunk, job_.padded - key0);
      const float* k = job_.keys + (key_head * job_.padded + key0) * a.H;
      const float* v = job_.values + (key_head * job_.padded + key0) * wide_;
      for (int64_t m = 0; m < count; m += kRows) run_rows(m, k, v, key0, keys);
    }
    for (int64_t m = 0; m < count; ++m) {
      uint16_t* out = a.out + job_.b * a.out_stride[0] + head * a.out_stride[1] + (first + m) * a.out_stride[2];
      const __m512 by = _mm512_set1_ps(rows_[m].last > rows_[m].first ? 1.0f / rows_[m].total : 0.0f);
      for (int64_t h = 0; h < a.H; h += 16) {
        const __m256i values = to_bf16(_mm512_mul_ps(_mm512_load_ps(sums_ + m * wide_ + h), by));
        _mm256_mask_storeu_epi16(out + h, first_lanes(a.H - h), values);
      }
    }
  }

 private:
  // Queries past the last one are zeros that see nothing.
  void start(int64_t head, int64_t first, int64_t count) {
    const OslerAttention& a = job_.a;
    first_ = a.S;
    last_ = 0;
    const int64_t filled = (count + kRows - 1) / kRows * kRows;
    for (int64_t m = 0; m < filled; ++m) {
      float* q = q_ + m / kRows * kRows * a.H + m % kRows;
      rows_[m] = {0, 0, -std::numeric_limits<float>::infinity(), 0.0f};
      if (m >= count) {
        for (int64_t h = 0; h < a.H; ++h) q[h * kRows] = 0.0f;
        continue;
      }
      const uint16_t* from = row_of(a.q, a.q_stride, job_.b, head, first + m);
      for (int64_t h = 0; h < a.H; ++h) q[h * kRows] = bf16_to_float(from[h]) * a.scale;
      const int64_t at = job_.b * a.L + first + m;
      rows_[m].first = a.first ? a.first[at] : 0;
      rows_[m].last = a.first ? a.last[at] : a.S;
      if (rows_[m].first >= rows_[m].last) continue;
      first_ = std::min(first_, rows_[m].first);
      last_ = std::max(last_, rows_[m].last);
    }
    std::memset(sums_, 0, filled * wide_ * sizeof(float));
  }

  // 12 queries over a chunk of keys.
  void run_rows(int64_t m, const float* k, const float* v, int64_t key0, int64_t keys) {
    const int64_t H = job_.a.H;
    int64_t from = keys, to = 0;  // what any of them sees: values of other keys may be anything
    for (const Row* row = rows_ + m; row < rows_ + m + kRows; ++row) {
      if (row->first >= row->last || row->first >= key0 + keys || row->last <= key0) continue;
      from = std::min(from, std::max<int64_t>(0, row->first - key0));
      to = std::max(to, std::min(keys, row->last - key0));
    }
    if (from >= to) return;
    const int64_t first = from / kKeys * kKeys, scored = (to + kKeys - 1) / kKeys * kKeys - first;
    for (int64_t i = first; i < first + scored; i += kKeys) score(q_ + m * H, k + i * H, H, scores_ + i);
    for (int64_t row = 0; row < kRows; ++row) {
      Row& now = rows_[m + row];
      const bool all = now.first <= key0 + first && now.last >= key0 + first + scored;
      const float factor = (all ? weigh<true> : weigh<false>)(scores_ + row * kChunk + first, key0 + first, scored, now);
      if (factor == 1.0f) continue;
      float* sums = sums_ + (m + row) * wide_;
      for (int64_t i = 0; i < wide_; i += 16)
        _mm512_store_ps(sums + i, _mm512_mul_ps(_mm512_load_ps(sums + i), _mm512_set1_ps(factor)));
    }
    for (int64_t row = 0; row < kRows; row += kSome) {
      for (int64_t group = 0; group < job_.groups; ++group) {
        const int64_t column = job_.columns * group / job_.groups, next = job_.columns * (group + 1) / job_.groups;
        kAddValues[next - column](scores_ + row * kChunk + from, v + from * wide_ + column * 16, to - from, wide_,
                                  sums_ + (m + row) * wide_ + column * 16);
      }
    }
  }

  const Job& job_;
  const int64_t wide_;       // values of a row of sums
  float* memory_ = nullptr;
  float *scores_, *sums_, *q_;  // [12][kChunk], [kTask][wide], [kTask / 12][H][12]
  Row rows_[kTask];
  int64_t first_ = 0, last_ = 0;  // the keys that any of the queries sees
};

void run_tasks(void* data, int, int) {
  Job& job = *static_cast<Job*>(data);
  Worker worker(job);
  if (!worker.ready()) {
    job.failed = true;
    return;
  }
  const int64_t shared = job.a.heads / job.a.key_heads;
  for (int64_t task; (task = job.next++) < job.heads * shared * job.parts;) {
    const int64_t first = task % job.parts * kTask;
    worker.run(job.head0 * shared + task / job.parts, first, std::min(kTask, job.a.L - first));
  }
}

}  // namespace

bool vector_attend(const OslerAttention& a, int threads) {
  const int64_t padded = (a.S + kKeys - 1) / kKeys * kKeys, columns = (a.H + 15) / 16;
  const int64_t keys = padded * a.H, values = padded * columns * 16, bytes = (keys + values) * 4;
  // Larger rooms come fresh from the system each time, page by page.
  const int64_t heads = std::clamp<int64_t>(kMostRoom / bytes, 1, a.key_heads);
  auto* memory = static_cast<float*>(std::aligned_alloc(64, heads * bytes));
  if (!memory) return false;
  bool done = true;
  for (int64_t b = 0; b < a.B; ++b) {
    for (int64_t head0 = 0; head0 < a.key_heads && done; head0 += heads) {
      Job job = {a, b, head0, std::min(heads, a.key_heads - head0), padded, columns,
                 (columns + kMostColumns - 1) / kMostColumns, (a.L + kTask - 1) / kTask, memory, memory + heads * keys};
      parallel(threads, widen_keys, &job);
      parallel(threads, run_tasks, &job);
      done = !job.failed;
    }
  }
  std::free(memory);
  return done;
}

}  // namespace osler
