// Runs every path on buffers of exactly the size they need, for the sanitizers, which tests/quant/test_build.py adds.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels.h"
#include "token.h"

extern "C" {
unsigned osler_paths(void);
int osler_token(int, const OslerToken*, void*, int);
int osler_rows(const OslerWeight*, const int64_t*, int64_t, void*, int);
}

namespace {

std::mt19937 random_bits(7);
int below(int n) { return static_cast<int>(random_bits() % n); }

// Packed weights in heap buffers of exactly their size, so that a read or write past the end of any of them is seen.
struct Weight {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scale;
  OslerWeight w;
  Weight(int64_t N, int64_t K) : codes((N + 15) / 16 * 16 * K), scale((N + 15) / 16 * 16 * (K / 32), 0x1800) {
    for (auto& code : codes) code = static_cast<uint8_t>(random_bits());
    w = {codes.data(), scale.data(), nullptr, N, K, K, 8, 32};
  }
};

// A token through two layers, in a cache whose last place it takes; every path against the portable one.
int check_token() {
  constexpr int64_t D = 96, N = 4, K = 2, H = 32, F = 160, kCapacity = 40;
  int wrong = 0;
  Weight qkv((N + 2 * K) * H, D), out(D, N * H), up(F, D), gate(F, D), down(D, F);
  std::vector<float> norm(D, 1.0f), qk((N + K) * H, 1.0f);
  std::vector<uint16_t> cos(H, 0x3f00), sin(H, 0x3f40), first;
  for (int path = 0; path < 6; ++path) {
    if (!(osler_paths() >> path & 1)) continue;
    std::vector<uint16_t> keys(2 * K * kCapacity * H, 0x3e80), values(keys), x(D);
    for (int64_t i = 0; i < D; ++i) x[i] = static_cast<uint16_t>(0x3f00 + i);
    OslerTokenLayer layers[2];
    for (int i = 0; i < 2; ++i) {
      layers[i] = {{{&qkv.w}, 1}, {{&out.w}, 1}, {{&gate.w, &up.w}, 2}, {{&down.w}, 1},
                   {norm.data(), norm.data(), norm.data(), norm.data()}, i ? qk.data() : nullptr,
                   keys.data() + i * K * kCapacity * H, values.data() + i * K * kCapacity * H,
                   kCapacity, 3, kCapacity - 1, i};
    }
    const OslerToken token = {layers, 2, D, N, K, H, F, norm.data(), {cos.data(), cos.data()}, {sin.data(), sin.data()},
                              1e-6f, 0.2f};
    if (osler_token(path, &token, x.data(), 1 + path % 2)) ++wrong;
    if (first.empty()) first = x;
    double error = 0, size = 1e-9;
    for (int64_t i = 0; i < D; ++i) {
      const double a = osler::bf16_to_float(x[i]), b = osler::bf16_to_float(first[i]);
      error += (a - b) * (a - b);
      size += b * b;
    }
    if (!(std::sqrt(error / size) < 0.02)) {
      ++wrong;
      std::printf("token, path %d: %.4f\n", path, std::sqrt(error / size));
    }
  }
  return wrong;
}

}  // namespace

int main() {
  int wrong = check_token(), runs = 1;
  for (int turn = 0; turn < 153; ++turn) {
    const int bits = below(2) ? 4 : 8, group = below(3) ? 32 : 64;
    const bool channel = below(3) == 0, offset = below(2);
    int64_t K = channel ? 1 + below(150) : group * (1 + below(5)), N = 1 + below(90), M = 1 + below(50);
    // More than is multiplied at a time: of inputs, of outputs, of rows.
    if (turn == 150) K = channel ? 1061 : group * 17, M = 33;
    if (turn == 151) N = 1050, M = 30;
    if (turn == 152) M = 530;
    const int64_t padded = (K + 31) / 32 * 32, blocks = (N + 15) / 16, groups = channel ? 1 : K / group;
    // Separate heap buffers, so that a read or write past the end of any of them is seen.
    std::vector<uint8_t> codes(blocks * 16 * padded * bits / 8);
    std::vector<uint16_t> scale(blocks * groups * 16), offsets(scale.size());
    for (auto& code : codes) code = static_cast<uint8_t>(random_bits());
    for (auto& s : scale) s = static_cast<uint16_t>(0x2400 + below(0x400));
    for (auto& o : offsets) o = static_cast<uint16_t>(0xb000 + below(0x400));
    const OslerWeight w = {codes.data(), scale.data(), offset ? offsets.data() : nullptr, N, K, padded, bits,
                           static_cast<int32_t>(channel ? padded : group)};
    std::vector<float> x(M * K), rows(N * K);
    std::vector<int64_t> ids(N);
    for (int64_t n = 0; n < N; ++n) ids[n] = n;
    for (auto& value : x) value = static_cast<float>(below(2001) - 1000) / 500.0f;
    if (osler_rows(&w, ids.data(), N, rows.data(), 0)) ++wrong;
    for (int path = 0; path < 6; ++path) {
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
      if (!(std::sqrt(error / size) < 0.03)) {
        ++wrong;
        std::printf("path %d: N %ld K %ld M %ld bits %d: %.4f\n", path, N, K, M, bits, std::sqrt(error / size));
      }
    }
  }
  std::printf("%d of %d runs were wrong\n", wrong, runs);
  return wrong != 0;
}
