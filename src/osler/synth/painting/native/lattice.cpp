// osler/synth/phantoms/lattice.py: planes of a smooth field, and the field between them.
//
// Numbers are whole multiples of a small unit whose sums fit a float: no order of them rounds anything.
#include <cmath>

#include "painting.h"

namespace {

// The finalizer of SplitMix64.
OSLER_INLINE uint64_t mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15u;
  z ^= z >> 30;
  z *= 0xBF58476D1CE4E5B9u;
  z ^= z >> 27;
  z *= 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

}  // namespace

// Knots of a lattice: uniform numbers of the hash in osler/synth/draws.py, from -most to most, rounded to the unit.
//   seed, stream: keys, see there. numbers: of the knots.
OSLER_EXPORT int64_t osler_lattice_knots(uint64_t seed, uint64_t stream, const int64_t* numbers, float* out,
                                         int64_t count, float most, float unit) {
  const float many = 1.0f / unit;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t key = mix(mix(mix(seed ^ static_cast<uint64_t>(numbers[i])) ^ stream));
    const float even = static_cast<float>(static_cast<double>(key >> 11) * 0x1p-53) * 2.0f - 1.0f;
    out[i] = std::rint(even * most * many) * unit;
  }
  return 0;
}

// Rows of knots (rows, K) between the knots: four of a row weighed for each x, rounded to the unit; out (rows, X).
OSLER_EXPORT int64_t osler_lattice_across(const float* knots, int64_t K, const int32_t* index, const float* weight,
                                          float* out, int64_t rows, int64_t X, float unit) {
  const float many = 1.0f / unit;
  for (int64_t row = 0; row < rows; ++row, knots += K, out += X) {
    for (int64_t x = 0; x < X; ++x) {
      float sum = 0.0f;
      for (int k = 0; k < 4; ++k) sum += weight[4 * x + k] * knots[index[4 * x + k]];
      out[x] = std::rint(sum * many) * unit;
    }
  }
  return 0;
}

// Writes rows and columns of one plane: four rows of ``across`` (K, X) weighed for each row y, rounded to the unit.
//   out (rows from ``out``, ``stride`` apart); index and weight (Y, 4), from the first row on.
OSLER_EXPORT int64_t osler_lattice_plane(const float* across, int64_t across_stride, const int32_t* index,
                                         const float* weight, float* out, int64_t stride, int64_t rows,
                                         int64_t columns, float unit) {
  const float many = 1.0f / unit;  // Exact: a power of two.
  for (int64_t y = 0; y < rows; ++y, index += 4, weight += 4, out += stride) {
    const float* a = across + index[0] * across_stride;
    const float* b = across + index[1] * across_stride;
    const float* c = across + index[2] * across_stride;
    const float* d = across + index[3] * across_stride;
    const float p = weight[0], q = weight[1], r = weight[2], s = weight[3];
    for (int64_t x = 0; x < columns; ++x) {
      out[x] = std::rint((p * a[x] + q * b[x] + r * c[x] + s * d[x]) * many) * unit;
    }
  }
  return 0;
}

// The field in a box: four planes weighed for each z.
//   planes (K, rows, columns) from the box's first row and column on; index and weight (Z, 4) from the first z on.
OSLER_EXPORT int64_t osler_lattice_part(const float* planes, int64_t plane_stride, int64_t row_stride,
                                        const int32_t* index, const float* weight, float* out, int64_t Z, int64_t Y,
                                        int64_t X) {
  for (int64_t z = 0; z < Z; ++z, index += 4, weight += 4) {
    const float p = weight[0], q = weight[1], r = weight[2], s = weight[3];
    for (int64_t y = 0; y < Y; ++y, out += X) {
      const float* row = planes + y * row_stride;
      const float* a = row + index[0] * plane_stride;
      const float* b = row + index[1] * plane_stride;
      const float* c = row + index[2] * plane_stride;
      const float* d = row + index[3] * plane_stride;
      for (int64_t x = 0; x < X; ++x) out[x] = p * a[x] + q * b[x] + r * c[x] + s * d[x];
    }
  }
  return 0;
}
