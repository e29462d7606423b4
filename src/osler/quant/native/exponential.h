// The exponential function in plain arithmetic, which the compiler turns into vectors.
#pragma once

#include <cstdint>

namespace osler {

// e to the power of x, to the last bits of float32 (Cephes): its range is that of a finite result.
static inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = p * r * r + r + 1.0f;
  union { int32_t i; float f; } power = {(static_cast<int32_t>(n) + 127) << 23};
  return value * power.f;
}

// GELU by tanh: 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)).
static inline float gelu_of(float x) {
  return x / (1.0f + exponential(-1.5957691216f * (x + 0.044715f * x * x * x)));
}

}  // namespace osler
