// Kernels that paint bodies. Each gives the bits of the NumPy code beside which it is called: every sum, product and
// root is rounded by itself, in the same order.
//
// Legend: Z, Y, X of a box; arrays are in C order unless a stride is named. Counts and strides are in elements.
#pragma once
#include <cstdint>

// One body for several instruction sets, chosen when the library is loaded; the results do not differ. The sanitizers
// are not ready when that choice runs, and clang has no such functions for all systems.
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#define OSLER_NO_CLONES
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(OSLER_NO_CLONES)
#define OSLER_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define OSLER_CLONES
#endif
#define OSLER_EXPORT extern "C" OSLER_CLONES
#define OSLER_PLAIN_EXPORT extern "C"
#define OSLER_INLINE static inline __attribute__((always_inline))

namespace osler {

OSLER_INLINE float share_of(float x) {
  x = x < 0.0f ? 0.0f : x;
  return x > 1.0f ? 1.0f : x;
}

}  // namespace osler
