// Products with packed int4 and int8 weights: what the kernels share.
//
// A weight matrix W (N outputs, K inputs) is kept in blocks of 16 outputs:
//   8 bits: codes[N/16][K/4][16][4], one byte a code
//   4 bits: codes[N/16][K/8][16][4], inputs 8j..8j+3 in the low and 8j+4..8j+7 in the high half of a byte
//   scale, offset: binary16, [N/16][K/group][16]
// Codes are unsigned. W = scale * (code - zero), zero 8 or 128; with offsets W = scale * code + offset.
// One vector of 64 bytes holds four inputs of 16 outputs, as VNNI and AMX multiply them. N is filled up to whole
// blocks and K to a multiple of 32; the inputs are filled up with zeros.
//
// Dimensions: M rows of inputs, N outputs, K inputs, G groups of 32 inputs.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OslerWeight {
  const uint8_t* codes;
  const uint16_t* scale;
  const uint16_t* offset;  // null: symmetric
  int64_t rows;            // N
  int64_t columns;         // K
  int64_t padded;          // K, filled up to a multiple of 32
  int32_t bits;            // 4 or 8
  int32_t group;           // inputs that share a scale: 32 times a power of two, or all that are padded
  void* known;             // null, or room of `osler_known_bytes`, zeros at first, at a multiple of 64
};
}

namespace osler {

constexpr int kBlock = 16;       // outputs of a block
constexpr int kGroup = 32;       // inputs that share a scale of the quantized activations
constexpr int kMaxRows = 8;      // rows of inputs that a block kernel takes at a time
constexpr int kFloat32 = 0, kBFloat16 = 1;

// Numbers of the paths, as `PATHS` in osler/quant/kernels.py names them.
enum PathNumber {
  kPathPortable = 0, kPathAvx2 = 1, kPathVnni = 2, kPathAmxBf16 = 3, kPathAmxInt8 = 4, kPathAmx = 5, kPaths = 6
};

// Activations as int8: value = scale * code, and the sum of the codes of each group.
struct Activations {
  int8_t* codes;   // (M, padded)
  float* scale;    // (M, G)
  int32_t* sum;    // (M, G)
  int64_t padded, groups;
};

// Fills out[count][16] with the outputs of one block for rows m0..m0+count-1.
using DotBlock = void (*)(const OslerWeight&, const Activations&, int64_t block, int64_t m0, int count, float* out);
// Quantizes one row of float32 inputs, filled up to `padded`.
using QuantizeRow = void (*)(const float* x, const Activations&, int64_t m);

struct Path {
  const char* name;
  DotBlock dot;
  QuantizeRow quantize;
};

extern const Path kPortable;
#ifdef OSLER_X86
extern const Path kAvx2;
extern const Path kVnni;
#endif

// The bytes of one block.
inline int64_t block_bytes(const OslerWeight& w) { return w.padded * kBlock * w.bits / 8; }
// The groups of scales of one block.
inline int64_t scale_groups(const OslerWeight& w) { return (w.padded + w.group - 1) / w.group; }
inline int zero_point(const OslerWeight& w) { return w.bits == 4 ? 8 : 128; }

static inline float bf16_to_float(uint16_t bits) {
  union { uint32_t u; float f; } value = {static_cast<uint32_t>(bits) << 16};
  return value.f;
}

static inline uint16_t float_to_bf16(float x) {
  union { float f; uint32_t u; } value = {x};
  if ((value.u & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;  // a NaN stays one
  return static_cast<uint16_t>((value.u + 0x7fffu + ((value.u >> 16) & 1u)) >> 16);
}

// Runs work(data, part, parts) once for each part, in parallel.
using Work = void (*)(void* data, int part, int parts);
void parallel(int threads, Work work, void* data);

}  // namespace osler
