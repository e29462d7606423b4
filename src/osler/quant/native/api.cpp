// The C interface: which paths this processor has, and products on one of them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "half.h"
#include "kernels.h"
#include "token.h"

#ifdef OSLER_X86
#include <cpuid.h>

#include "known_weight.h"
#include "many_rows.h"
#include "prompt_rows.h"
#endif
#include "attention.h"
#include "tower.h"
#if defined(OSLER_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace osler {
namespace {

// With fewer rows, unpacking the weights would cost more than it saves. A row's outputs are then the same whatever rows
// are multiplied beside it, which checking guesses relies on.
constexpr int64_t kManyRows = 24;

#ifdef OSLER_X86
bool has_state(uint32_t wanted) {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & wanted) == wanted;
}
#endif

#ifdef OSLER_SIMULATED_TILES
bool request_tiles() { return true; }
#elif defined(OSLER_AMX) && defined(__linux__)
// The kernel grants tiles to a process on request only.
bool request_tiles() {
  constexpr long kRequest = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#else
bool request_tiles() { return false; }
#endif

unsigned find_paths() {
  unsigned found = 1u << kPathPortable;
#ifdef OSLER_X86
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool saves = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29);
  if (!saves || !fma || !f16c || !has_state(0x6)) return found;
  uint32_t a7, b7, c7, d7, a71, b71, c71, d71;
  if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return found;
  if (b7 & (1u << 5)) found |= 1u << kPathAvx2;
  const uint32_t avx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  const bool vnni = (b7 & avx512) == avx512 && (c7 & (1u << 11)) && has_state(0xe6);
  if (!vnni) return found;
  found |= 1u << kPathVnni;
#ifdef OSLER_AMX
  const bool bf16 = __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71) && (a71 & (1u << 5));
  const bool vbmi = c7 & (1u << 1);
#ifdef OSLER_SIMULATED_TILES
  const bool tiles = true;
#else
  const bool tiles = (d7 & (1u << 24)) && (d7 & (1u << 22)) && has_state(0x60000);
#endif
  if (bf16 && tiles && vbmi && request_tiles()) found |= 1u << kPathAmx | 1u << kPathAmxInt8 | 1u << kPathAmxBf16;
#endif
#endif
  return found;
}

unsigned paths() {
  static const unsigned found = find_paths();
  return found;
}

const Path& path_of(int number) {
#ifdef OSLER_X86
  if (number >= kPathVnni) return kVnni;
  if (number == kPathAvx2) return kAvx2;
#endif
  return kPortable;
}

const TokenCode& code_of(int number) {
#ifdef OSLER_X86
  if (number >= kPathVnni) return kTokenAvx512;
  if (number == kPathAvx2) return kTokenAvx2;
#endif
  return kTokenPortable;
}

struct Job {
  const OslerWeight& w;
  const Path& path;
  Activations a;
  const void* x;
  int dtype;
  int64_t M;
  float* wide;  // one filled-up row for each part
  void* out;
};

void quantize_rows(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t K = job.w.columns;
  float* row = job.wide + part * job.w.padded;
  std::memset(row + K, 0, (job.w.padded - K) * sizeof(float));
  for (int64_t m = job.M * part / parts; m < job.M * (part + 1) / parts; ++m) {
    if (job.dtype == kFloat32) {
      std::memcpy(row, static_cast<const float*>(job.x) + m * K, K * sizeof(float));
    } else {
      const uint16_t* x = static_cast<const uint16_t*>(job.x) + m * K;
      for (int64_t k = 0; k < K; ++k) row[k] = bf16_to_float(x[k]);
    }
    job.path.quantize(row, job.a, m);
  }
}

// Writes `width` outputs of some rows.
void write_outputs(const Job& job, const float* found, int64_t m0, int64_t count, int64_t n0, int64_t width) {
  const int64_t N = job.w.rows;
  for (int64_t row = 0; row < count; ++row) {
    const float* from = found + row * kBlock;
    const int64_t at = (m0 + row) * N + n0;
    if (job.dtype == kFloat32) {
      std::memcpy(static_cast<float*>(job.out) + at, from, width * sizeof(float));
    } else {
      for (int64_t n = 0; n < width; ++n) static_cast<uint16_t*>(job.out)[at + n] = float_to_bf16(from[n]);
    }
  }
}

void run_block(const Job& job, int64_t block) {
  alignas(64) float found[kMaxRows * kBlock];
  const int64_t n0 = block * kBlock, width = std::min<int64_t>(kBlock, job.w.rows - n0);
  for (int64_t m = 0; m < job.M; m += kMaxRows) {
    const int count = static_cast<int>(std::min<int64_t>(kMaxRows, job.M - m));
    job.path.dot(job.w, job.a, block, m, count, found);
    write_outputs(job, found, m, count, n0, width);
  }
}

void run_blocks(void* data, int part, int parts) {
  Job& job = *static_cast<Job*>(data);
  const int64_t blocks = (job.w.rows + kBlock - 1) / kBlock;
  const int64_t first = blocks * part / parts, last = blocks * (part + 1) / parts;
  for (int64_t block = first; block < last; ++block) run_block(job, block);
}

bool can_multiply(int path, const OslerWeight& w, int dtype) {
  if (path < 0 || path >= kPaths || !(paths() & (1u << path))) return false;
  const int groups = w.group / kGroup;
  const bool fits = w.group % kGroup == 0 && groups > 0 && (w.group == w.padded || (groups & (groups - 1)) == 0);
  return (dtype == kFloat32 || dtype == kBFloat16) && (w.bits == 4 || w.bits == 8) && fits;
}

// Multiplies many rows by what the path has for them; returns false where it has nothing. Weights of 4 bits lose far more
// than activations with one scale do; with those of 8 bits activations have more scales, or what one adds is asked first.
bool multiply_many(int path, const OslerWeight& w, const void* x, int dtype, int64_t M, bool gated, void* out, int threads,
                   int* status) {
  if (M < kManyRows || path < kPathVnni || (gated && w.rows % (2 * kBlock))) return false;
#ifdef OSLER_X86
  Outcome outcome = Outcome::kTooCoarse;
  if (path == kPathVnni && w.bits == 8) {
    const bool done = grouped_linear({w, x, dtype, M, gated, nullptr, false, out}, threads);
    outcome = done ? Outcome::kDone : Outcome::kNoMemory;
  } else if (path == kPathVnni) {
    outcome = int8_linear({w, x, dtype, M, gated, out, threads, multiply_int8_vnni, nullptr});
#ifdef OSLER_AMX
  } else {
    const bool asked = path == kPathAmx && w.bits == 8;
    if (path != kPathAmxBf16)
      outcome = int8_linear({w, x, dtype, M, gated, out, threads, multiply_int8_amx, asked ? multiply_hadamard_amx : nullptr});
    if (outcome == Outcome::kTooCoarse)
      outcome = bf16_linear(w, x, dtype, M, gated, out, threads) ? Outcome::kDone : Outcome::kNoMemory;
#endif
  }
  *status = outcome == Outcome::kDone ? 0 : 2;
  return true;
#else
  return false;
#endif
}

}  // namespace
}  // namespace osler

using namespace osler;

extern "C" {

int osler_abi(void) { return 11; }

// A bit for each path of this build that this processor and its system have.
unsigned osler_paths(void) { return paths(); }

// The bytes of room in which products on a path keep what they once found of a weight; 0 where they ask for nothing.
int64_t osler_known_bytes(int path, const OslerWeight* w) {
#ifdef OSLER_AMX
  if (path == kPathAmx && asks(*w)) return known_bytes(*w);
#endif
  return 0;
}

// out (M, N) = x (M, K) times W transposed. Returns 0, 1 for an unknown path or type, 2 where memory ran out.
int osler_linear(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads) {
  if (!can_multiply(path, *w, dtype)) return 1;
  if (M <= 0) return 0;
  threads = std::max(1, threads);
  int status;
  if (multiply_many(path, *w, x, dtype, M, false, out, threads, &status)) return status;
  const int64_t padded = w->padded, groups = padded / kGroup;
  const size_t codes = static_cast<size_t>(M) * padded, scales = static_cast<size_t>(M) * groups;
  // One row is quantized by the caller: it takes less time than waking anybody.
  const int readers = M < 4 ? 1 : threads;
  const size_t bytes = (codes + 63) / 64 * 64 + scales * 8 + sizeof(float) * readers * padded;
  auto* room = static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!room) return 2;
  auto* scale = reinterpret_cast<float*>(room + (codes + 63) / 64 * 64);
  auto* sum = reinterpret_cast<int32_t*>(scale + scales);
  Activations a = {reinterpret_cast<int8_t*>(room), scale, sum, padded, groups};
  Job job = {*w, path_of(path), a, x, dtype, M, reinterpret_cast<float*>(sum + scales), out};
  parallel(readers, quantize_rows, &job);
  parallel(threads, run_blocks, &job);
  std::free(room);
  return 0;
}

// out (M, N / 2) = gelu(first half of the outputs of `osler_linear`) * second half, rounded as PyTorch rounds each step.
// Returns as `osler_linear`.
int osler_gated(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads) {
  if (!can_multiply(path, *w, dtype) || w->rows % 2) return 1;
  if (M <= 0) return 0;
  threads = std::max(1, threads);
  int status;
  if (multiply_many(path, *w, x, dtype, M, true, out, threads, &status)) return status;
  void* both = std::malloc(static_cast<size_t>(M) * w->rows * (dtype == kFloat32 ? 4 : 2));
  if (!both) return 2;
  status = osler_linear(path, w, x, dtype, M, both, threads);
  if (!status) code_of(path).gate({both, out, dtype, M, w->rows / 2}, threads);
  std::free(both);
  return status;
}

// out (M, N) = act(x (M, K) times W transposed + bias (N)), all of one type; act is GELU by its tanh approximation, or nothing.
// For many rows and weights of 8 bits on the path for VNNI. Returns as `osler_linear`, 1 also elsewhere.
int osler_biased(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, const void* bias, int gelu, void* out,
                 int threads) {
  if (path != kPathVnni || !can_multiply(path, *w, dtype) || w->bits != 8 || M < kManyRows) return 1;
#ifdef OSLER_X86
  return grouped_linear({*w, x, dtype, M, false, bias, gelu != 0, out}, std::max(1, threads)) ? 0 : 2;
#else
  return 1;
#endif
}

// Replaces x (M, D, bfloat16) by the hidden states of a few tokens. Returns as `osler_linear`.
int osler_token(int path, const OslerToken* token, void* x, int threads) {
  if (path < 0 || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (token->tokens < 1 || token->tokens >= kManyRows) return 1;
  auto* hidden = static_cast<uint16_t*>(x);
  return code_of(path).token(path, *token, hidden, threads);
}

// Normalizes, rotates and rearranges the heads of a prompt. Returns as `osler_linear`, 1 also for a head that does not fit.
int osler_heads(int path, const OslerHeads* heads, int threads) {
  if (path < 0 || path >= kPaths || !(paths() & (1u << path))) return 1;
#ifdef OSLER_AMX
  if (path >= kPathAmxBf16 && fits_prompt_rows(*heads)) return prompt_heads(*heads, std::max(1, threads)), 0;
#endif
  return code_of(path).heads(*heads, std::max(1, threads));
}

// Normalizes rows. Returns as `osler_heads`.
int osler_norm(int path, const OslerNorm* norm, int threads) {
  if (path < 0 || path >= kPaths || !(paths() & (1u << path)) || norm->D <= 0 || norm->M < 0) return 1;
#ifdef OSLER_AMX
  if (path >= kPathAmxBf16) return prompt_norm(*norm, std::max(1, threads)), 0;
#endif
  return code_of(path).norm(*norm, std::max(1, threads));
}

// Lays a matrix of the image tower into tiles. Returns as `osler_tower_linear`.
int osler_tower_turn(int path, const uint16_t* w, int64_t N, int64_t K, uint16_t* tiles, int threads) {
#ifdef OSLER_AMX
  if (path < kPathAmxBf16 || path >= kPaths || !(osler_paths() & (1u << path)) || N <= 0 || K <= 0) return 1;
  tower_turn(w, N, K, tiles, std::max(1, threads));
  return 0;
#else
  return 1;
#endif
}

// Lays a stored matrix of the image tower into tiles. Returns as `osler_tower_linear`.
int osler_tower_unpack(int path, const OslerWeight* w, uint16_t* tiles, int threads) {
#ifdef OSLER_AMX
  if (path < kPathAmxBf16 || !can_multiply(path, *w, kBFloat16) || w->rows <= 0 || w->columns <= 0) return 1;
  tower_unpack(*w, tiles, std::max(1, threads));
  return 0;
#else
  return 1;
#endif
}

// Lays rows of the image tower out in tiles. Returns as `osler_tower_linear`.
int osler_tower_rows(int path, const OslerTowerRows* rows, int threads) {
#ifdef OSLER_AMX
  if (path < kPathAmxBf16 || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (rows->M < 0 || rows->D <= 0 || !rows->scale != !rows->bias) return 1;
  tower_rows(*rows, std::max(1, threads));
  return 0;
#else
  return 1;
#endif
}

// A product of the image tower. Returns 0, 1 for a path without tiles or a shape that does not fit, 2 as `osler_linear`.
int osler_tower_linear(int path, const OslerTowerLinear* product, int threads) {
#ifdef OSLER_AMX
  const OslerTowerLinear& p = *product;
  if (path < kPathAmxBf16 || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (p.M < 0 || p.N <= 0 || p.K <= 0 || (p.out_stride ? p.out_stride < p.N : p.residual != nullptr)) return 1;
  return p.M == 0 || tower_linear(p, std::max(1, threads)) ? 0 : 2;
#else
  return 1;
#endif
}

// Attention by tiles, or by vectors. Returns as `osler_linear`, 1 also where there are neither.
int osler_attend(int path, const OslerAttention* attention, int threads) {
#ifdef OSLER_X86
  const OslerAttention& a = *attention;
  if (path < kPathVnni || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (a.B < 0 || a.L < 0 || a.S <= 0 || a.key_heads <= 0 || a.heads <= 0 || a.heads % a.key_heads) return 1;
  if (a.H <= 0 || a.H > kMostHead || a.H % 8 || a.scale <= 0 || !a.first != !a.last) return 1;
  for (int64_t i = 0; a.first && i < a.B * a.L; ++i)
    if (a.first[i] < 0 || a.last[i] > a.S) return 1;
  if (a.B == 0 || a.L == 0) return 0;
  threads = std::max(1, threads);
#ifdef OSLER_AMX
  if (path != kPathVnni) return tile_attend(a, threads) ? 0 : 2;
#endif
  if (!a.first && prefers_pairs()) return pair_attend(a, threads) ? 0 : 2;
  return vector_attend(a, threads) ? 0 : 2;
#else
  return 1;
#endif
}

// out (count, K) = rows of W. Returns 0, 1 for an unknown type, 3 for an id that is no row.
int osler_rows(const OslerWeight* w, const int64_t* ids, int64_t count, void* out, int dtype) {
  if (dtype != kFloat32 && dtype != kBFloat16) return 1;
  const int64_t K = w->columns, scales = scale_groups(*w);
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= w->rows) return 3;
    const int64_t block = ids[i] / kBlock, lane = ids[i] % kBlock;
    const uint8_t* codes = w->codes + block * block_bytes(*w) + lane * 4;
    float scale = 0.0f, offset = 0.0f;
    for (int64_t k = 0; k < K; ++k) {
      if (k % w->group == 0) {
        const int64_t at = (block * scales + k / w->group) * kBlock + lane;
        scale = half_to_float(w->scale[at]);
        offset = w->offset ? half_to_float(w->offset[at]) : -zero_point(*w) * scale;
      }
      const uint8_t byte = w->bits == 8 ? codes[k / 4 * 64 + k % 4] : codes[k / 8 * 64 + k % 4];
      const int code = w->bits == 8 ? byte : (k % 8 < 4 ? byte & 15 : byte >> 4);
      const float value = scale * static_cast<float>(code) + offset;
      if (dtype == kFloat32) static_cast<float*>(out)[i * K + k] = value;
      else static_cast<uint16_t*>(out)[i * K + k] = float_to_bf16(value);
    }
  }
  return 0;
}
}
