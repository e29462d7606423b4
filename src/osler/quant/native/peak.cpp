// What the machine can do, so that a benchmark can say which share of it a kernel reaches.
#include "kernels.h"
#include "many_rows.h"

#ifdef OSLER_AMX
#include "tiles.h"
#endif

namespace {

#ifdef OSLER_AMX
// Independent products of tiles that stay in registers.
template <bool kInt8>
void multiply(int64_t turns) {
  osler::configure_tiles();
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  _tile_zero(4); _tile_zero(5); _tile_zero(6); _tile_zero(7);
  for (int64_t turn = 0; turn < turns; ++turn) {
    if (kInt8) {
      _tile_dpbsud(0, 4, 6); _tile_dpbsud(1, 4, 7); _tile_dpbsud(2, 5, 6); _tile_dpbsud(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_release();
}
#endif

struct Job {
  const uint64_t* data;
  int64_t count;
  uint64_t sums[64];
};

// Sums words in eight streams: nothing but reading takes time.
void read_part(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t from = job.count * part / parts / 8 * 8, to = job.count * (part + 1) / parts / 8 * 8;
  uint64_t sums[8] = {};
  for (int64_t i = from; i < to; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] |= job.data[i + lane];
  }
  uint64_t sum = 0;
  for (uint64_t lane : sums) sum |= lane;
  job.sums[part % 64] = sum;
}

}  // namespace

extern "C" {

// On each thread `turns` times four products of tiles, of bfloat16 (kind 0) or int8 (kind 1), or 16 of vectors by VNNI
// (kind 2). Nothing where the compiler had no such instructions; the processor must have them.
void osler_peak(int kind, int threads, int64_t turns) {
  struct Peak { int kind; int64_t turns; } peak = {kind, turns};
  osler::parallel(threads, [](void* data, int, int) {
    const Peak& p = *static_cast<Peak*>(data);
#ifdef OSLER_X86
    if (p.kind == 2) osler::multiply_vectors(p.turns);
#endif
#ifdef OSLER_AMX
    if (p.kind == 1) multiply<true>(p.turns);
    if (p.kind == 0) multiply<false>(p.turns);
#endif
    (void)p;
  }, &peak);
}

// Reads `bytes` bytes on `threads` threads.
void osler_read(const void* data, int64_t bytes, int threads) {
  Job job = {static_cast<const uint64_t*>(data), bytes / 8, {}};
  osler::parallel(threads, read_part, &job);
}
}
