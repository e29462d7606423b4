// Runs every path on buffers of exactly the size they need, for the sanitizers: python -m pytest tests/quant/test_build.py
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels.h"

extern "C" {
unsigned osler_paths(void);
int osler_linear(int, const OslerWeight*, const void*, int, int64_t, void*, int);
int osler_rows(const OslerWeight*, const int64_t*, int64_t, void*, int);
}

int main() {
  std::mt19937 random(7);
  auto below = [&](int n) { return static_cast<int>(random() % n); };
  int wrong = 0, runs = 0;
  for (int turn = 0; turn < 150; ++turn) {
    const int bits = below(2) ? 4 : 8, group = below(3) ? 32 : 64;
    const bool channel = below(3) == 0, offset = below(2);
    const int64_t K = channel ? 1 + below(150) : group * (1 + below(5)), N = 1 + below(90), M = 1 + below(50);
    const int64_t padded = (K + 31) / 32 * 32, blocks = (N + 15) / 16, groups = channel ? 1 : K / group;
    // Separate heap buffers, so that a read or write past the end of any of them is seen.
    std::vector<uint8_t> codes(blocks * 16 * padded * bits / 8);
    std::vector<uint16_t> scale(blocks * groups * 16), offsets(scale.size());
    for (auto& code : codes) code = static_cast<uint8_t>(random());
    for (auto& s : scale) s = static_cast<uint16_t>(0x2400 + below(0x400));
    for (auto& o : offsets) o = static_cast<uint16_t>(0xb000 + below(0x400));
    const OslerWeight w = {codes.data(), scale.data(), offset ? offsets.data() : nullptr, N, K, padded, bits,
                           static_cast<int32_t>(channel ? padded : group)};
    std::vector<float> x(M * K), rows(N * K);
    std::vector<int64_t> ids(N);
    for (int64_t n = 0; n < N; ++n) ids[n] = n;
    for (auto& value : x) value = static_cast<float>(below(2001) - 1000) / 500.0f;
    if (osler_rows(&w, ids.data(), N, rows.data(), 0)) ++wrong;
    for (int path = 0; path < 4; ++path) {
      if (!(osler_paths() >> path & 1)) continue;
      std::vector<float> out(M * N);
      ++runs;
      if (osler_linear(path, &w, x.data(), 0, M, out.data(), 1 + below(3))) ++wrong;
      double error = 0, size = 1e-9;
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t n = 0; n < N; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(x[m * K + k]) * rows[n * K + k];
          error += (out[m * N + n] - sum) * (out[m * N + n] - sum);
          size += sum * sum;
        }
      }
      if (!(std::sqrt(error / size) < 0.02)) {
        ++wrong;
        std::printf("path %d: N %ld K %ld M %ld bits %d: %.4f\n", path, N, K, M, bits, std::sqrt(error / size));
      }
    }
  }
  std::printf("%d of %d runs were wrong\n", wrong, runs);
  return wrong != 0;
}
