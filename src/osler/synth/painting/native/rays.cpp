// Canvases whose voxels are long along the rays: osler/synth/phantoms/tubes.py (RayTubes) and canvas.py.
#include <algorithm>
#include <cmath>
#include <vector>

#include "painting.h"

namespace {

struct Way {
  int64_t ray;
  double key, start, end;
  float share;
};

// More than any place (mm) along a ray: keeps the rays apart in one running maximum, as NumPy's code has it.
constexpr double kApart = 1e5;

float squared(float x) { return x * x; }

// A canvas with rays: its axes up (z), across the rays, and along them.
struct Rays {
  const int64_t* dims;
  const int64_t* stride;
  const float* start;
  const double* step;
  double edge;
};

// Adds the rays' ways through spheres.
//   points (N, 3) up, across, along and radius (N): mm. squash: of the same axes. lower, upper: the radii that count.
void add_ways(const Rays& rays, const float* points, const float* radius, int64_t spheres,
              const float* squash, float lower, float upper, std::vector<Way>& ways) {
  const float edge = static_cast<float>(rays.edge), half_edge = static_cast<float>(0.5 * rays.edge);
  const float least = static_cast<float>(0.7 * rays.edge);
  for (int64_t n = 0; n < spheres; ++n) {
    if (!(radius[n] > lower && radius[n] <= upper)) continue;
    const float* point = points + 3 * n;
    const float drawn = radius[n] > least ? radius[n] : least, reach = squared(drawn + half_edge);
    int64_t low[2], high[2];
    for (int k = 0; k < 2; ++k) {
      const float step = static_cast<float>(rays.step[k]);
      const int64_t middle = static_cast<int64_t>(std::rint((point[k] - rays.start[k]) / step));
      const int64_t half = static_cast<int64_t>((drawn + 0.5 * rays.edge) / squash[k] / rays.step[k] + 0.501);
      low[k] = std::max<int64_t>(middle - half, 0);
      high[k] = std::min(middle + half + 1, rays.dims[k]);
    }
    const auto gap = [&](int k, int64_t i) {
      const float away = (rays.start[k] + static_cast<float>(i) * static_cast<float>(rays.step[k]) - point[k]);
      return squared(away * squash[k]);
    };
    const float paler = squared(radius[n] / drawn), least_half = squared(0.3f * drawn);
    for (int64_t i = low[0]; i < high[0]; ++i) {
      const float up = gap(0, i);
      for (int64_t j = low[1]; j < high[1]; ++j) {
        const float away = up + gap(1, j);
        if (!(away < reach)) continue;
        const float inside = drawn * drawn - away;
        const float half = std::sqrt(inside > least_half ? inside : least_half) / squash[2];
        const float share = osler::share_of((drawn - std::sqrt(away)) / edge + 0.5f) * paler;
        const int64_t ray = i * rays.dims[1] + j;
        const float start = point[2] - half, end = point[2] + half;
        ways.push_back({ray, static_cast<double>(ray) * kApart + start, start, end, share});
      }
    }
  }
}

// Sorts ways by their rays and places, those alike in the order they came in.
void sort_ways(std::vector<Way>& ways, int64_t rays) {
  std::vector<int64_t> first(rays + 1);
  for (const Way& way : ways) ++first[way.ray + 1];
  for (int64_t ray = 0; ray < rays; ++ray) first[ray + 1] += first[ray];
  std::vector<Way> sorted(ways.size());
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (const Way& way : ways) {
    int64_t place = next[way.ray]++;
    for (; place > first[way.ray] && sorted[place - 1].key > way.key; --place) sorted[place] = sorted[place - 1];
    sorted[place] = way;
  }
  ways.swap(sorted);
}

}  // namespace

// Which voxels the rays' ways through the union of spheres fill, and by what share of their length.
//   dims, stride, start, step: of the canvas's axes up, across and along the rays. edge: width (mm) of a soft edge.
//   points, radius and squash (3): of all groups; counts: spheres of each. radii: limits of classes, rising.
//   index, share: of the voxels; there is room for each voxel once. Returns how many there are.
OSLER_PLAIN_EXPORT int64_t osler_ray_voxels(const int64_t* dims, const int64_t* stride, const float* start,
                                            const double* step, double edge, const float* points,
                                            const float* radius, const float* squash, const int64_t* counts,
                                            int64_t groups, const float* radii, int64_t classes, int64_t* index,
                                            float* share) {
  const Rays rays = {dims, stride, start, step, edge};
  std::vector<Way> ways;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t k = 0; k + 1 < classes; ++k) {
      add_ways(rays, points, radius, counts[group], squash + 3 * group, radii[k], radii[k + 1], ways);
    }
    points += 3 * counts[group];
    radius += counts[group];
  }
  sort_ways(ways, dims[0] * dims[1]);
  const double origin = start[2], thick = step[2];
  const auto most = static_cast<double>(dims[2]);
  int64_t found = 0, last_voxel = -1;
  double filled = 0.0, further = 0.0;  // What the first part of a voxel fills, and the others together.
  const auto close = [&] {
    if (last_voxel < 0) return;
    const double whole = filled + further;
    index[found] = last_voxel;
    share[found++] = static_cast<float>(whole < 1.0 ? whole : 1.0);
  };
  for (size_t i = 0; i < ways.size();) {
    const Way& first = ways[i];
    const double apart = static_cast<double>(first.ray) * kApart;
    double top = first.end + apart;
    float part = first.share;
    for (++i; i < ways.size() && ways[i].ray == first.ray && !(ways[i].start > top - apart); ++i) {
      top = std::max(top, ways[i].end + apart);
      part = std::max(part, ways[i].share);
    }
    const double from = (first.start - origin) / thick + 0.5, to = (top - apart - origin) / thick + 0.5;
    const auto low = static_cast<int64_t>(std::min(std::max(std::floor(from), 0.0), most));
    const auto high = static_cast<int64_t>(std::min(std::max(std::ceil(to), 0.0), most));
    const int64_t base = first.ray / dims[1] * stride[0] + first.ray % dims[1] * stride[1];
    for (int64_t slab = low; slab < high; ++slab) {
      const double inside = (std::min(to, slab + 1.0) - std::max(from, static_cast<double>(slab))) * part;
      const int64_t voxel = base + slab * stride[2];
      if (voxel == last_voxel) {
        further += inside;
        continue;
      }
      close();
      last_voxel = voxel, filled = inside, further = 0.0;
    }
  }
  close();
  return found;
}

namespace {

// How much values change from voxel to voxel along an axis: half of the way over two, at the ends over one; at least
// some width. ``stride`` apart along the axis, ``count`` there.
OSLER_INLINE float wide_of(const float* at, int64_t place, int64_t count, int64_t stride, float width) {
  float slope;
  if (place == 0) {
    slope = at[stride] - at[0];
  } else if (place == count - 1) {
    slope = at[0] - at[-stride];
  } else {
    slope = (at[stride] - at[-stride]) * 0.5f;
  }
  slope = std::fabs(slope);
  return slope > width ? slope : width;
}

}  // namespace

// Width of the edge at each voxel (outer, count, inner), along the middle axis.
OSLER_EXPORT int64_t osler_widths(const float* deep, float width, float* out, int64_t outer, int64_t count,
                                  int64_t inner) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t place = 0; place < count; ++place) {
      const float* at = deep + (o * count + place) * inner;
      float* to = out + (o * count + place) * inner;
      for (int64_t i = 0; i < inner; ++i) to[i] = wide_of(at + i, place, count, inner, width);
    }
  }
  return 0;
}

// Mean share of each voxel over its parts along the middle axis, (outer, count / parts, inner).
OSLER_EXPORT int64_t osler_share_parts(const float* deep, const float* widths, float* out, int64_t outer,
                                       int64_t count, int64_t inner, int64_t parts) {
  const auto divisor = static_cast<float>(parts);
  for (int64_t o = 0; o < outer * (count / parts); ++o, out += inner) {
    for (int64_t part = 0; part < parts; ++part, deep += inner, widths += inner) {
      for (int64_t i = 0; i < inner; ++i) {
        const float share = osler::share_of(deep[i] / widths[i] + 0.5f);
        out[i] = part ? out[i] + share : share;
      }
    }
    if (parts > 1) {
      for (int64_t i = 0; i < inner; ++i) out[i] /= divisor;
    }
  }
  return 0;
}
