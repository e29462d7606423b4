// osler/synth/xrays: sums of voxels along rays (project.py), disks (tubes.py), and enlargement by cubic curves.
#include <cmath>

#include "painting.h"

namespace {

template <class T>
OSLER_INLINE int64_t slab_of(const T* voxels, const int64_t* dims, int64_t along, int64_t start, int64_t stop,
                             const int64_t* strides, float* slab, uint8_t* rows, uint8_t* columns) {
  const int64_t across = along == 1 ? 2 : 1, Z = dims[0], A = dims[across];
  for (int64_t a = 0; a < A; ++a) columns[a] = 0;
  for (int64_t z = 0; z < Z; ++z, slab += A) {
    for (int64_t n = start; n < stop; ++n) {
      const T* at = voxels + z * strides[0] + n * strides[along];
      const int64_t stride = strides[across];
      if (n == start) {
        for (int64_t a = 0; a < A; ++a) slab[a] = static_cast<float>(at[a * stride]);
      } else {
        for (int64_t a = 0; a < A; ++a) slab[a] += static_cast<float>(at[a * stride]);
      }
    }
    uint8_t any = 0;
    for (int64_t a = 0; a < A; ++a) {
      const uint8_t used = slab[a] != 0.0f;
      columns[a] |= used;
      any |= used;
    }
    rows[z] = any;
  }
  return 0;
}

}  // namespace

// Adds up voxels (Z, Y, X; strides in elements) from ``start`` to ``stop`` along an axis (1 or 2), and tells which rows
// and columns of the sum are not zero.
OSLER_EXPORT int64_t osler_slab_f32(const float* voxels, const int64_t* dims, int64_t along, int64_t start,
                                    int64_t stop, const int64_t* strides, float* slab, uint8_t* rows,
                                    uint8_t* columns) {
  return slab_of(voxels, dims, along, start, stop, strides, slab, rows, columns);
}
OSLER_EXPORT int64_t osler_slab_u8(const uint8_t* voxels, const int64_t* dims, int64_t along, int64_t start,
                                   int64_t stop, const int64_t* strides, float* slab, uint8_t* rows,
                                   uint8_t* columns) {
  return slab_of(voxels, dims, along, start, stop, strides, slab, rows, columns);
}

// Adds (or, where ``greatest``, lays over) a slab (Z, A) as the rays meet it to the film's rays (R, C).
//   first, weight (C): the padded voxel across that each column of rays meets, and the weight of the next one.
//   up (R), near (C), start: a ray meets the padded row up * near + start. sides: room for (Z + 3) C numbers.
OSLER_EXPORT int64_t osler_seen(const float* slab, int64_t Z, int64_t A, const int64_t* first, const float* weight,
                                const float* up, const float* near, float start, float* sides, float* total,
                                int64_t stride, int64_t R, int64_t C, int32_t greatest) {
  for (int64_t z = 0; z < Z + 3; ++z) {
    const bool there = z >= 1 && z <= Z;
    const float* row = slab + (z - 1) * A;
    float* side = sides + z * C;
    for (int64_t c = 0; c < C; ++c) {
      const int64_t i = first[c];
      const float here = there && i >= 1 && i <= A ? row[i - 1] : 0.0f;
      const float after = there && i >= 0 && i < A ? row[i] : 0.0f;
      side[c] = here + (after - here) * weight[c];
    }
  }
  const auto most = static_cast<float>(Z + 1);
  for (int64_t r = 0; r < R; ++r, total += stride) {
    for (int64_t c = 0; c < C; ++c) {
      float at = up[r] * near[c] + start;
      at = at < 0.0f ? 0.0f : at;
      at = at > most ? most : at;
      const auto row = static_cast<int32_t>(at);
      const float part = at - static_cast<float>(row);
      const float low = sides[row * C + c], high = sides[(row + 1) * C + c];
      const float seen = low + (high - low) * part;
      if (greatest) {
        total[c] = seen > total[c] ? seen : total[c];
      } else {
        total[c] += seen;
      }
    }
  }
  return 0;
}

// Cubic curves through an image (R, C), to ``many`` rows (``axis`` 0) or columns (1).
//   index, weight (4, many): of the four rows or columns about each.
OSLER_EXPORT int64_t osler_cubic(const float* image, int64_t R, int64_t C, int32_t axis, const int64_t* index,
                                 const float* weight, int64_t many, float* out) {
  for (int64_t r = 0; r < (axis ? R : many); ++r) {
    if (axis) {
      const float* row = image + r * C;
      for (int64_t c = 0; c < many; ++c, ++out) {
        float sum = row[index[c]] * weight[c];
        for (int64_t k = 1; k < 4; ++k) sum += row[index[k * many + c]] * weight[k * many + c];
        *out = sum;
      }
      continue;
    }
    for (int64_t c = 0; c < C; ++c, ++out) {
      float sum = image[index[r] * C + c] * weight[r];
      for (int64_t k = 1; k < 4; ++k) sum += image[index[k * many + r] * C + c] * weight[k * many + r];
      *out = sum;
    }
  }
  return 0;
}

// Lays disks over layers of an image (layers, rows, columns): the greatest value counts.
//   column, row: centers (px). size: radii. amount: of each. layer: whose it is.
//   reach: pixels from the middle that a disk may show in. flat: even disks in place of a rod's chords.
OSLER_EXPORT int64_t osler_stamp(float* canvas, int64_t rows, int64_t columns, const double* column,
                                 const double* row, const float* size, const float* amount, const int64_t* layer,
                                 int64_t disks, int64_t reach, int32_t flat) {
  for (int64_t n = 0; n < disks; ++n) {
    const auto middle_j = static_cast<int64_t>(std::floor(row[n])), middle_i = static_cast<int64_t>(std::floor(column[n]));
    const int64_t top = middle_j - reach < 0 ? 0 : middle_j - reach;
    const int64_t bottom = middle_j + reach + 1 > rows ? rows : middle_j + reach + 1;
    const int64_t left = middle_i - reach < 0 ? 0 : middle_i - reach;
    const int64_t right = middle_i + reach + 1 > columns ? columns : middle_i + reach + 1;
    const float r = size[n], within = r * r + r + 0.25f;
    for (int64_t j = top; j < bottom; ++j) {
      const float dy = static_cast<float>(static_cast<double>(j) + 0.5 - row[n]), far = dy * dy;
      float* at = canvas + (layer[n] * rows + j) * columns;
      for (int64_t i = left; i < right; ++i) {
        const float dx = static_cast<float>(static_cast<double>(i) + 0.5 - column[n]);
        const float away_squared = dx * dx + far;
        const float away = std::sqrt(away_squared) / r;
        float value = osler::share_of((1.0f - away) * r + 0.5f);
        if (!flat) {
          const float inside = 1.0f - away * away;
          value *= std::sqrt(inside > 0.02f ? inside : 0.02f);
        }
        value *= amount[n];
        at[i] = away_squared < within && value > at[i] ? value : at[i];
      }
    }
  }
  return 0;
}
