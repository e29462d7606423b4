// What rounding to int8 with one scale for many inputs adds to a weight: found at its first product of many rows, and kept.
#pragma once

#include "many_rows.h"

namespace osler {

// In the room of a weight: after it come the scales of all outputs, [blocks][spans][16], and what is found of each block
// before that of all is known.
struct alignas(64) KnownWeight {
  int32_t plain_done, hadamard_done;
  float plain, hadamard;  // what rounding adds, relative to the weight, as a square: as it is, and after `MixedCodes`
};

// Whether it is asked what rounding adds: of 8 bits, without offsets, and with inputs enough.
inline bool asks(const OslerWeight& w) { return w.bits == 8 && !w.offset && w.columns >= kMeasured; }

int64_t known_bytes(const OslerWeight&);

inline KnownWeight* known_of(const OslerWeight& w) { return static_cast<KnownWeight*>(w.known); }

// The scales with which weights that were mixed become int8.
inline float* hadamard_scales(const OslerWeight& w) { return reinterpret_cast<float*>(known_of(w) + 1); }

// Of weights of 8 bits without offsets. Who asks while it is being found waits.
float plain_error(const OslerWeight&);  // infinite where what is looked at is nothing but zeros
float hadamard_error(const OslerWeight&, int threads);  // whose room is there

}  // namespace osler
