// binary16 to float32 without special instructions.
#pragma once

#include <cmath>
#include <cstdint>

namespace osler {

static inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u, fraction = half & 1023u;
  union { uint32_t u; float f; } value;
  if (exponent == 31) {
    value.u = sign | 0x7f800000u | (fraction << 13);
  } else if (exponent) {
    value.u = sign | ((exponent + 112) << 23) | (fraction << 13);
  } else {
    value.f = std::ldexp(static_cast<float>(fraction), -24);
    value.u |= sign;
  }
  return value.f;
}

}  // namespace osler
