// Runs every path of the products with bfloat16 tiles on odd shapes, for the sanitizers, and compares the paths.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "dense.h"

extern "C" unsigned osler_paths(void);

int main() {
  using namespace osler;
  int wrong = 0, tried = 0;
  const int64_t shapes[][3] = {{1, 32, 1}, {70, 191, 33}, {33, 96, 3}, {17, 31, 13}, {561, 300, 40}, {50, 65, 530}};
  for (const auto& [rows, columns, M] : shapes) {
    const int64_t blocks = (rows + kBlock - 1) / kBlock, steps = (columns + kTileInputs - 1) / kTileInputs;
    // Exact sizes on the heap, so that a read past the end is seen.
    std::vector<uint16_t> tiles(blocks * steps * kTileSize);
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t k = 0; k < columns; ++k)
        tiles[((n / 16 * steps + k / 32) * 16 + k % 32 / 2) * 32 + n % 16 * 2 + k % 2] =
            float_to_bf16(static_cast<float>((n * 7 + k * 13) % 29 - 14) / 16.0f);
    for (int dtype : {kFloat32, kBFloat16}) {
      std::vector<float> x(M * columns);
      std::vector<uint16_t> narrow(M * columns);
      for (size_t i = 0; i < x.size(); ++i) {
        narrow[i] = float_to_bf16(static_cast<float>(i * 5 % 23) / 8.0f - 1.0f);
        x[i] = bf16_to_float(narrow[i]);
      }
      for (int path = 0; path < 4; ++path) {
        if (!(osler_paths() >> path & 1)) continue;
        std::vector<float> wide(M * rows);
        std::vector<uint16_t> half(M * rows);
        void* out = dtype == kFloat32 ? static_cast<void*>(wide.data()) : half.data();
        const void* in = dtype == kFloat32 ? static_cast<const void*>(x.data()) : narrow.data();
        ++tried;
        if (dense_linear(path, {tiles.data(), rows, columns, steps}, in, dtype, M, out, 3)) ++wrong;
        for (int64_t m = 0; m < M; ++m)
          for (int64_t n = 0; n < rows; ++n) {
            double wanted = 0;
            for (int64_t k = 0; k < columns; ++k)
              wanted += x[m * columns + k] * static_cast<double>((n * 7 + k * 13) % 29 - 14) / 16.0;
            const float found = dtype == kFloat32 ? wide[m * rows + n] : bf16_to_float(half[m * rows + n]);
            if (std::fabs(found - wanted) > 0.02 + 0.01 * std::fabs(wanted)) {
              ++wrong;
              break;
            }
          }
      }
    }
  }
  std::printf("%d of %d wrong\n", wrong, tried);
  return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
