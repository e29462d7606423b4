// osler/synth/phantoms/shapes.py: depths (mm) in ellipsoids, and of what is within two shapes.
#include <cmath>

#include "painting.h"

namespace {

OSLER_INLINE float depth_of(float squared, float scale) { return (1.0f - std::sqrt(squared)) * scale; }

// Adds a displacement of the surface, if there is one.
OSLER_INLINE void roughen(float* out, const float* wave, float rough, int64_t count) {
  if (!wave) return;
  for (int64_t i = 0; i < count; ++i) out[i] += rough * wave[i];
}

}  // namespace

// An ellipsoid from squared distances in half axes: flat (plane) of a plane, up (Z) of each slice.
OSLER_EXPORT int64_t osler_ellipsoid(const float* flat, const float* up, float scale, float rough, const float* wave,
                                     float* out, int64_t Z, int64_t plane) {
  for (int64_t z = 0; z < Z; ++z) {
    float* to = out + z * plane;
    for (int64_t i = 0; i < plane; ++i) to[i] = depth_of(flat[i] + up[z], scale);
    roughen(to, wave ? wave + z * plane : nullptr, rough, plane);
  }
  return 0;
}

// A tilted one: the squared distance is (square z + linear) z + constant, with linear and constant (plane) of a plane.
//   away, square (Z): z, and z times its factor.
OSLER_EXPORT int64_t osler_tilted(const float* linear, const float* constant, const float* away, const float* square,
                                  float scale, float rough, const float* wave, float* out, int64_t Z, int64_t plane) {
  for (int64_t z = 0; z < Z; ++z) {
    float* to = out + z * plane;
    for (int64_t i = 0; i < plane; ++i) {
      float total = square[z] + linear[i];
      total *= away[z];
      total += constant[i];
      to[i] = depth_of(total > 0.0f ? total : 0.0f, scale);
    }
    roughen(to, wave ? wave + z * plane : nullptr, rough, plane);
  }
  return 0;
}

// The lesser of two depths with a round edge of ``mm``; factor is -1 / (4 mm).
OSLER_EXPORT int64_t osler_smooth_least(const float* first, const float* second, float mm, float factor, float* out,
                                        int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    float gap = mm - std::fabs(first[i] - second[i]);
    gap = gap > 0.0f ? gap : 0.0f;
    gap *= gap;
    gap *= factor;
    out[i] = gap + (first[i] < second[i] ? first[i] : second[i]);
  }
  return 0;
}
