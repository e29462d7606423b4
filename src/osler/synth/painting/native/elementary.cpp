// osler/synth/elementary.py: exp, log, power, sine and cosine.
#include <cmath>
#include <cstring>
#include <limits>

#include "painting.h"

namespace {

constexpr double kLn2 = 0.6931471805599453, kPi = 3.141592653589793;

template <class T>
struct Kind;
template <>
struct Kind<float> {
  using Bits = int32_t;
  static constexpr int kMantissa = 23, kBias = 127, kExp = 8, kSine = 7;
  static constexpr float kTurn[3] = {3.140625f, static_cast<float>(9.67502593994140625e-4),
                                     static_cast<float>(1.509957990978376432e-07)};
};
template <>
struct Kind<double> {
  using Bits = int64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kExp = 14, kSine = 12;
  static constexpr double kTurn[3] = {3.1415926218032837, 3.1786509424591713e-08, 1.2246467991473532e-16};
};

constexpr double kExpTerms[14] = {
    1.0 / 1,      1.0 / 1,       1.0 / 2,        1.0 / 6,         1.0 / 24,         1.0 / 120,         1.0 / 720,
    1.0 / 5040,   1.0 / 40320,   1.0 / 362880,   1.0 / 3628800,   1.0 / 39916800,   1.0 / 479001600,
    1.0 / 6227020800};

// 1 / (2 n + 1)!, the last of which are not the quotients of rounded factorials.
constexpr double kSineTerms[12] = {
    1.0, 0.16666666666666666, 0.008333333333333333, 0.0001984126984126984, 2.7557319223985893e-06,
    2.505210838544172e-08, 1.6059043836821613e-10, 7.647163731819816e-13, 2.8114572543455206e-15,
    8.22063524662433e-18, 1.9572941063391263e-20, 3.868170170630684e-23};

template <class T>
OSLER_INLINE T exp_of(T x) {
  x = x < T(-87) ? T(-87) : x;
  x = x > T(88) ? T(88) : x;
  const T count = std::rint(x * T(1 / kLn2));
  x -= count * T(0.693145751953125);
  x -= count * T(1.428606820309417e-06);
  T out = T(kExpTerms[Kind<T>::kExp - 1]);
#pragma GCC unroll 16
  for (int n = Kind<T>::kExp - 2; n >= 0; --n) {
    out *= x;
    out += T(kExpTerms[n]);
  }
  using Bits = typename Kind<T>::Bits;
  // By way of 32 bits: older vectors know no other way between whole numbers and double precision.
  const Bits bits = (static_cast<Bits>(static_cast<int32_t>(count)) + Kind<T>::kBias) << Kind<T>::kMantissa;
  T two;
  std::memcpy(&two, &bits, sizeof two);
  return out * two;
}

template <class T>
OSLER_INLINE T log_of_parts(T share, T power) {
  const bool small = share < T(0.7071067811865476);
  share = small ? share + share : share;
  power = small ? power - T(1) : power;
  const T s = (share - T(1)) / (share + T(1)), square = s * s;
  T out = T(2.0 / 23);
#pragma GCC unroll 16
  for (int n = 10; n >= 0; --n) {
    out *= square;
    out += T(2.0 / (2 * n + 1));
  }
  out *= s;
  return power * T(0.693145751953125) + (power * T(1.428606820309417e-06) + out);
}

// Of numbers with all their digits: 2 ** -126 and more (2 ** -1022 of double precision), and not infinite.
template <class T>
OSLER_INLINE T log_of_normal(T x) {
  using Bits = typename Kind<T>::Bits;
  constexpr Bits kDigits = (Bits{1} << Kind<T>::kMantissa) - 1;
  Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  const T power = static_cast<T>(static_cast<int32_t>(bits >> Kind<T>::kMantissa) - (Kind<T>::kBias - 1));
  bits = (bits & kDigits) | (static_cast<Bits>(Kind<T>::kBias - 1) << Kind<T>::kMantissa);
  T share;
  std::memcpy(&share, &bits, sizeof share);
  return log_of_parts(share, power);
}

// The sine of what is left of x without half turns, its sign changed by each whole one.
template <class T>
OSLER_INLINE T half_turns(T x, T count, T behind) {
  T rest = x;
#pragma GCC unroll 3
  for (int part = 0; part < 3; ++part) rest -= count * Kind<T>::kTurn[part];
  const T square = rest * rest;
  constexpr int kLast = Kind<T>::kSine - 1;
  T out = T(kLast % 2 ? -kSineTerms[kLast] : kSineTerms[kLast]);
#pragma GCC unroll 16
  for (int n = kLast - 1; n >= 0; --n) {
    out *= square;
    out += T(n % 2 ? -kSineTerms[n] : kSineTerms[n]);
  }
  out *= rest;
  const T whole = count - behind;
  const T odd = whole - T(2) * std::floor(whole * T(0.5));
  return out * (T(1) - T(2) * odd);
}

template <class T>
OSLER_INLINE T sine_of(T x) {
  return half_turns(x, std::rint(x * T(1 / kPi)), T(0));
}

template <class T>
OSLER_INLINE T cosine_of(T x) {
  return -half_turns(x, std::rint(x * T(1 / kPi) - T(0.5)) + T(0.5), T(0.5));
}

template <class T>
OSLER_INLINE void log_all(const T* x, T* out, int64_t count) {
  constexpr T kLeast = std::numeric_limits<T>::min(), kMost = std::numeric_limits<T>::max();
  int64_t normal = 0;
  for (int64_t i = 0; i < count; ++i) normal += x[i] >= kLeast && x[i] <= kMost;
  if (normal == count) {
    for (int64_t i = 0; i < count; ++i) out[i] = log_of_normal(x[i]);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    int power = 0;
    const T share = std::frexp(x[i], &power);
    out[i] = log_of_parts(share, static_cast<T>(power));
  }
}

template <class T>
OSLER_INLINE void power_all(const T* x, T* out, int64_t count, double exponent) {
  for (int64_t i = 0; i < count; ++i) {
    const double wide = x[i] > T(1e-300) ? static_cast<double>(x[i]) : 1e-300;
    const double raised = exp_of(exponent * log_of_normal(wide));
    out[i] = x[i] > T(0) ? static_cast<T>(raised) : T(0);
  }
}

}  // namespace

OSLER_EXPORT void osler_exp_f32(const float* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = exp_of(x[i]);
}
OSLER_EXPORT void osler_exp_f64(const double* x, double* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = exp_of(x[i]);
}
OSLER_EXPORT void osler_sine_f32(const float* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = sine_of(x[i]);
}
OSLER_EXPORT void osler_sine_f64(const double* x, double* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = sine_of(x[i]);
}
OSLER_EXPORT void osler_cosine_f32(const float* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = cosine_of(x[i]);
}
OSLER_EXPORT void osler_cosine_f64(const double* x, double* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = cosine_of(x[i]);
}
OSLER_EXPORT void osler_log_f32(const float* x, float* out, int64_t n) { log_all(x, out, n); }
OSLER_EXPORT void osler_log_f64(const double* x, double* out, int64_t n) { log_all(x, out, n); }
OSLER_EXPORT void osler_power_f32(const float* x, float* out, int64_t n, double exponent) {
  power_all(x, out, n, exponent);
}
OSLER_EXPORT void osler_power_f64(const double* x, double* out, int64_t n, double exponent) {
  power_all(x, out, n, exponent);
}
