// osler/synth/phantoms/blend.py: shapes laid over the values and labels of a canvas.
#include <cmath>

#include "painting.h"

namespace {

constexpr int64_t kRun = 512;

struct Span {
  int64_t low, high;
  void add(int64_t first, int64_t last) {
    low = first < low ? first : low;
    high = last + 1 > high ? last + 1 : high;
  }
};

// The box about what is not nothing in rows that are told one by one.
struct Around {
  Span z, y, x;
  int64_t columns;
  explicit Around(int64_t X) : z{INT64_MAX, 0}, y{INT64_MAX, 0}, x{INT64_MAX, 0}, columns(X) {}

  template <class Is>
  void add(int64_t at_z, int64_t at_y, Is is) {
    z.add(at_z, at_z);
    y.add(at_y, at_y);
    int64_t first = 0, last = columns - 1;
    while (first < x.low && !is(first)) ++first;
    while (last >= x.high && !is(last)) --last;
    if (first < x.low) x.low = first;
    if (last >= x.high) x.high = last + 1;
  }

  int64_t write(int64_t* box) const {
    if (!z.high) return 0;
    box[0] = z.low, box[1] = z.high, box[2] = y.low, box[3] = y.high, box[4] = x.low, box[5] = x.high;
    return 1;
  }
};

bool is_wanted(uint8_t label, const uint8_t* wanted, int64_t kinds) {
  for (int64_t kind = 0; kind < kinds; ++kind) {
    if (label == wanted[kind]) return true;
  }
  return false;
}

}  // namespace

// Shares (0 to 1) of depths with an edge: clip(deep * inverse + 1 / 2).
OSLER_EXPORT int64_t osler_share(const float* deep, float inverse, float* alpha, int64_t count) {
  for (int64_t i = 0; i < count; ++i) alpha[i] = osler::share_of(deep[i] * inverse + 0.5f);
  return 0;
}

// The box about values above a threshold.
OSLER_EXPORT int64_t osler_above(const float* values, float threshold, int64_t Z, int64_t Y, int64_t X, int64_t* box) {
  Around around(X);
  for (int64_t z = 0; z < Z; ++z) {
    for (int64_t y = 0; y < Y; ++y, values += X) {
      int found = 0;
      for (int64_t x = 0; x < X; ++x) found |= values[x] > threshold;
      if (found) around.add(z, y, [values, threshold](int64_t x) { return values[x] > threshold; });
    }
  }
  return around.write(box);
}

// The box about some labels.
//   wanted: the numbers of ``kinds`` organs.
OSLER_EXPORT int64_t osler_labels(const uint8_t* label, int64_t plane, int64_t row, const uint8_t* wanted,
                                  int64_t kinds, int64_t Z, int64_t Y, int64_t X, int64_t* box) {
  Around around(X);
  for (int64_t z = 0; z < Z; ++z) {
    for (int64_t y = 0; y < Y; ++y) {
      const uint8_t* at = label + z * plane + y * row;
      uint8_t found = 0;
      for (int64_t kind = 0; kind < kinds; ++kind) {
        for (int64_t x = 0; x < X; ++x) found |= at[x] == wanted[kind];
      }
      if (found) around.add(z, y, [=](int64_t x) { return is_wanted(at[x], wanted, kinds); });
    }
  }
  return around.write(box);
}

// The box about bytes that are not zero.
OSLER_EXPORT int64_t osler_filled(const uint8_t* where, int64_t plane, int64_t row, int64_t Z, int64_t Y, int64_t X,
                                  int64_t* box) {
  Around around(X);
  for (int64_t z = 0; z < Z; ++z) {
    for (int64_t y = 0; y < Y; ++y) {
      const uint8_t* at = where + z * plane + y * row;
      uint8_t found = 0;
      for (int64_t x = 0; x < X; ++x) found |= at[x];
      if (found) around.add(z, y, [at](int64_t x) { return at[x] != 0; });
    }
  }
  return around.write(box);
}

// Blends a tissue into values by shares, and labels what is filled at least by half.
//   value, label: the box's first, with the canvas's strides. alpha: the same box in its own strides.
//   levels (Z, Y, X), or nothing: then ``level``. organ: -1 for none.
//   wanted: the numbers of ``kinds`` organs that may be painted over; all may if there are none.
OSLER_EXPORT int64_t osler_blend(float* value, uint8_t* label, int64_t plane, int64_t row, const float* alpha,
                                 int64_t alpha_plane, int64_t alpha_row, const float* levels, float level,
                                 const uint8_t* wanted, int64_t kinds, int32_t organ, float strength,
                                 int64_t Z, int64_t Y, int64_t X) {
  for (int64_t z = 0; z < Z; ++z) {
    for (int64_t y = 0; y < Y; ++y) {
      float* to = value + z * plane + y * row;
      uint8_t* name = label + z * plane + y * row;
      const float* share = alpha + z * alpha_plane + y * alpha_row;
      const float* own = levels ? levels + (z * Y + y) * X : nullptr;
      float allowed[kRun];
      uint8_t may[kRun];
      for (int64_t from = 0; from < X; from += kRun) {
        const int64_t stop = from + kRun < X ? from + kRun : X;
        const float* part = share;
        if (kinds) {
          for (int64_t x = from; x < stop; ++x) may[x - from] = name[x] == wanted[0];
          for (int64_t kind = 1; kind < kinds; ++kind) {
            for (int64_t x = from; x < stop; ++x) may[x - from] |= name[x] == wanted[kind];
          }
          for (int64_t x = from; x < stop; ++x) allowed[x - from] = may[x - from] ? share[x] : 0.0f;
          part = allowed - from;
        }
        if (organ >= 0) {
          for (int64_t x = from; x < stop; ++x) name[x] = part[x] >= 0.5f ? static_cast<uint8_t>(organ) : name[x];
        }
        if (own) {
          for (int64_t x = from; x < stop; ++x) to[x] += (own[x] - to[x]) * (part[x] * strength);
        } else {
          for (int64_t x = from; x < stop; ++x) to[x] += (level - to[x]) * (part[x] * strength);
        }
      }
    }
  }
  return 0;
}

// One shell of a shape: alpha = clip((deep - begins) / width + 1 / 2), blended and labeled.
//   deep, and widths and begin where they are given: (Z, Y, X).
OSLER_EXPORT int64_t osler_shell(float* value, uint8_t* label, int64_t plane, int64_t row, const float* deep,
                                 const float* widths, const float* begin, float width, float begins, float level,
                                 int32_t organ, int64_t Z, int64_t Y, int64_t X) {
  for (int64_t z = 0; z < Z; ++z) {
    for (int64_t y = 0; y < Y; ++y, deep += X) {
      float* to = value + z * plane + y * row;
      uint8_t* name = label + z * plane + y * row;
      for (int64_t x = 0; x < X; ++x) {
        const float from = begin ? begin[x] : begins, wide = widths ? widths[x] : width;
        const float part = osler::share_of((deep[x] - from) / wide + 0.5f);
        name[x] = part >= 0.5f ? static_cast<uint8_t>(organ) : name[x];
        to[x] += part * (level - to[x]);
      }
      begin = begin ? begin + X : begin;
      widths = widths ? widths + X : widths;
    }
  }
  return 0;
}
