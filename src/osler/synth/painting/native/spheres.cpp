// osler/synth/phantoms/gather.py: the greatest depth of many spheres at each voxel that they reach.
#include <cmath>

#include "painting.h"

// Writes spheres into the depths of a canvas (Z, Y, X), and notes each voxel that comes to lie within reach.
//   points (N, 3) x, y, z and radius (N): mm. start, step, squash: of x, y, z. dims: X, Y, Z.
//   touched: indices of voxels within reach, ``count`` of them so far; returns how many there are then.
OSLER_EXPORT int64_t osler_spheres(float* depths, const int64_t* dims, const float* start, const float* step,
                                   const float* squash, const float* points, const float* radius, int64_t spheres,
                                   float reach, float nothing, int64_t* touched, int64_t count) {
  constexpr int64_t kRun = 512;
  float depth[kRun], across[kRun];
  for (int64_t n = 0; n < spheres; ++n) {
    int64_t middle[3], low[3], high[3];
    bool seen = true;
    for (int k = 0; k < 3; ++k) {
      middle[k] = static_cast<int64_t>(std::rint((points[3 * n + k] - start[k]) / step[k]));
      const int64_t half = static_cast<int64_t>(std::floor((radius[n] + reach) / squash[k] / step[k] + 0.5f));
      low[k] = middle[k] - half < 0 ? 0 : middle[k] - half;
      high[k] = middle[k] + half + 1 > dims[k] ? dims[k] : middle[k] + half + 1;
      seen = seen && half >= 0 && low[k] < high[k];
    }
    if (!seen) continue;
    const auto gap = [&](int k, int64_t i) {
      float away = start[k] + static_cast<float>(i) * step[k];
      away -= points[3 * n + k];
      away *= squash[k];
      return away * away;
    };
    // Beyond this a voxel is out of reach, whatever is rounded.
    const float limit = (radius[n] + reach) * (radius[n] + reach) * 1.001f + 0.01f;
    for (int64_t from = low[0]; from < high[0]; from += kRun) {
      const int64_t length = high[0] - from < kRun ? high[0] - from : kRun;
      for (int64_t x = 0; x < length; ++x) across[x] = gap(0, from + x);
      for (int64_t z = low[2]; z < high[2]; ++z) {
        const float far_z = gap(2, z);
        for (int64_t y = low[1]; y < high[1]; ++y) {
          const float far = far_z + gap(1, y);
          if (far > limit) continue;
          // A center lies at most half a voxel off its middle voxel.
          const auto span = static_cast<int64_t>(std::sqrt(limit - far) / (squash[0] * step[0])) + 1;
          const int64_t left = middle[0] - span > from ? middle[0] - span - from : 0;
          const int64_t right = middle[0] + span + 1 - from < length ? middle[0] + span + 1 - from : length;
          const int64_t row = (z * dims[1] + y) * dims[0] + from;
          float* at = depths + row;
          int deeper = 0;
          for (int64_t x = left; x < right; ++x) {
            depth[x] = radius[n] - std::sqrt(far + across[x]);
            deeper |= (depth[x] > -reach) & (depth[x] > at[x]);
          }
          for (int64_t x = left; deeper && x < right; ++x) {
            if (!(depth[x] > -reach && depth[x] > at[x])) continue;
            if (at[x] == nothing) touched[count++] = row + x;
            at[x] = depth[x];
          }
        }
      }
    }
  }
  return count;
}

// Takes the depths of the touched voxels out of a canvas, which has nothing there afterwards.
OSLER_EXPORT int64_t osler_take_depths(float* depths, const int64_t* touched, int64_t count, float nothing,
                                       float* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = depths[touched[i]];
    depths[touched[i]] = nothing;
  }
  return 0;
}

// Blends a tissue into voxels by the share that follows from their depth: clip((deep + shift) / edge + 1 / 2).
//   wanted: labels that may be painted over, or nothing. organ: -1 for none.
OSLER_EXPORT int64_t osler_blend_voxels(float* value, uint8_t* label, const int64_t* index, const float* alpha,
                                        int64_t count, const uint8_t* wanted, int32_t organ, float level,
                                        float strength, float under, int32_t known_under) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = index[i];
    float part = alpha[i];
    if (wanted && !wanted[label[at]]) part = 0.0f;
    if (organ >= 0 && part >= 0.5f) label[at] = static_cast<uint8_t>(organ);
    value[at] += (level - (known_under ? under : value[at])) * part * strength;
  }
  return 0;
}
