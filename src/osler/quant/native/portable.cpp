// The path that every processor has.
#include <cstring>
#include <limits>

#include "kernels.h"
#include "half.h"

namespace osler {
namespace {

#include "quantize_row.inc"

void dot_block(const OslerWeight& w, const Activations& a, int64_t block, int64_t m0, int count, float* out) {
  const uint8_t* codes = w.codes + block * block_bytes(w);
  const int64_t scales = scale_groups(w);
  const uint16_t* scale = w.scale + block * scales * kBlock;
  const uint16_t* offset = w.offset ? w.offset + block * scales * kBlock : nullptr;
  const int group_bytes = kGroup * kBlock * w.bits / 8;
  for (int i = 0; i < count * kBlock; ++i) out[i] = 0.0f;
  for (int64_t g = 0; g < a.groups; ++g, codes += group_bytes) {
    uint8_t plain[kGroup / 4][kBlock][4];
    if (w.bits == 8) {
      std::memcpy(plain, codes, sizeof plain);
    } else {
      for (int pair = 0; pair < kGroup / 8; ++pair) {
        for (int i = 0; i < kBlock * 4; ++i) {
          const uint8_t both = codes[pair * kBlock * 4 + i];
          (&plain[2 * pair][0][0])[i] = both & 15;
          (&plain[2 * pair + 1][0][0])[i] = both >> 4;
        }
      }
    }
    const int64_t at = g * kGroup / w.group * kBlock;
    for (int row = 0; row < count; ++row) {
      const int64_t m = m0 + row;
      const int8_t* x = a.codes + m * a.padded + g * kGroup;
      const int32_t sum = a.sum[m * a.groups + g];
      const float x_scale = a.scale[m * a.groups + g];
      for (int n = 0; n < kBlock; ++n) {
        int32_t dot = offset ? 0 : -zero_point(w) * sum;
        for (int quad = 0; quad < kGroup / 4; ++quad) {
          for (int i = 0; i < 4; ++i) dot += plain[quad][n][i] * x[quad * 4 + i];
        }
        float& total = out[row * kBlock + n];
        total += static_cast<float>(dot) * (half_to_float(scale[at + n]) * x_scale);
        if (offset) total += half_to_float(offset[at + n]) * (x_scale * static_cast<float>(sum));
      }
    }
  }
}

}  // namespace

const Path kPortable = {"portable", dot_block, quantize_row};

}  // namespace osler
