// Products of many rows by tiles of bfloat16: activations keep their precision, sums are float32.
//
// Tiles: A 16 rows by 32 inputs, B 32 inputs by 16 outputs
// (as [input pair][output][2]).
#include <immintrin.h>

#include "many_rows.inc"
#include "tiles.h"
#include "unpack_bf16.h"

namespace osler {
namespace {

constexpr int64_t kStep = 32;        // inputs of a tile

struct AmxBf16 {
  using Unpacker = Bf16Unpacker;
  static constexpr bool kScaled = false;
  // Shorter spans leave more of a second-level cache free, which gains more than their sums take.
  static constexpr int64_t kRowsAtOnce = 512, kMostSteps = 20;

  static void begin() { configure_tiles(); }
  static void end() { _tile_release(); }

  template <class Meanwhile>
  static void multiply(const Square& s, Meanwhile meanwhile) {
    if (s.before) load_sums(s.before, 16, 16 * kSide, kSide);
    else clear_sums();
    multiply_steps<Bf16Tiles>(s.a, s.a_next, s.b, s.b_next, s.steps, meanwhile);
    store_sums(s.sums, 16, 16 * kSide, kSide);
  }
};

struct Packing {
  const OslerWeight& w;
  const void* x;
  int dtype;
  int64_t M, pairs;   // rows, and pairs of tiles of rows
  uint16_t* a;        // [pairs * 2][padded / 32][16][32]
};

// Lays rows out as tiles of A, as bfloat16, filled up with zeros.
void pack_rows(void* data, int part, int parts) {
  const Packing& job = *static_cast<Packing*>(data);
  const int64_t K = job.w.columns, steps = job.w.padded / kStep, rows = job.pairs * kSide;
  for (int64_t m = rows * part / parts; m < rows * (part + 1) / parts; ++m) {
    uint16_t* to = job.a + (m / 16 * steps) * kTileValues + m % 16 * kStep;
    for (int64_t step = 0; step < steps; ++step, to += kTileValues) {
      const int64_t from = step * kStep, at = m * K + from, count = m < job.M ? K - from : 0;
      if (job.dtype == kBFloat16) {
        const __mmask32 wanted = count >= kStep ? ~__mmask32{0} : (__mmask32{1} << std::max<int64_t>(0, count)) - 1;
        _mm512_store_si512(to, _mm512_maskz_loadu_epi16(wanted, static_cast<const uint16_t*>(job.x) + at));
      } else {
        const float* x = static_cast<const float*>(job.x) + at;
        _mm512_store_si512(to, to_bf16(_mm512_maskz_loadu_ps(first_lanes(count), x),
                                       _mm512_maskz_loadu_ps(first_lanes(count - 16), x + 16)));
      }
    }
  }
}

}  // namespace

bool bf16_linear(const OslerWeight& w, const void* x, int dtype, int64_t M, bool gated, void* out, int threads) {
  Rows rows = rows_of(M, w.padded / kStep, AmxBf16::kMostSteps, kStep);
  auto* a = static_cast<uint16_t*>(std::aligned_alloc(4096, (rows.pairs * kSide * w.padded * 2 + 4095) / 4096 * 4096));
  if (!a) return false;
  Packing packing = {w, x, dtype, M, rows.pairs, a};
  parallel(threads, pack_rows, &packing);
  rows.tiles = reinterpret_cast<const uint8_t*>(a);
  const bool done = lead_rows<AmxBf16>({w, rows, M, dtype, gated, out}, threads);
  std::free(a);
  return done;
}

}  // namespace osler
