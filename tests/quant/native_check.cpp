// Runs every path on buffers of exactly the size they need, for the sanitizers, which tests/quant/test_build.py adds.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels.h"
#include "attention.h"
#include "token.h"
#include "tower.h"

extern "C" {
unsigned osler_paths(void);
int osler_token(int, const OslerToken*, void*, int);
int osler_gated(int, const OslerWeight*, const void*, int, int64_t, void*, int);
int osler_heads(int, const OslerHeads*, int);
int osler_norm(int, const OslerNorm*, int);
int osler_rows(const OslerWeight*, const int64_t*, int64_t, void*, int);
int osler_tower_turn(int, const uint16_t*, int64_t, int64_t, uint16_t*, int);
int osler_tower_unpack(int, const OslerWeight*, uint16_t*, int);
int osler_tower_rows(int, const OslerTowerRows*, int);
int osler_tower_linear(int, const OslerTowerLinear*, int);
int osler_attend(int, const OslerAttention*, int);
int64_t osler_known_bytes(int, const OslerWeight*);
int osler_biased(int, const OslerWeight*, const void*, int, int64_t, const void*, int, void*, int);
}

namespace {

std::mt19937 random_bits(7);
int below(int n) { return static_cast<int>(random_bits() % n); }

enum class Grouped { k32, kWhole };  // inputs that share a scale

// Packed weights in heap buffers of exactly their size, so that a read or write past the end of any of them is seen.
struct Weight {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scale;
  OslerWeight w;
  Weight(int64_t N, int64_t K, Grouped grouped = Grouped::k32)
      : codes((N + 15) / 16 * 16 * filled(K)),
        scale((N + 15) / 16 * 16 * (grouped == Grouped::k32 ? filled(K) / 32 : 1), 0x1800) {
    for (auto& code : codes) code = static_cast<uint8_t>(random_bits());
    const int64_t padded = filled(K), group = grouped == Grouped::k32 ? 32 : padded;
    w = {codes.data(), scale.data(), nullptr, N, K, padded, 8, static_cast<int32_t>(group)};
  }
  static int64_t filled(int64_t K) { return (K + 31) / 32 * 32; }
};

// Three tokens through two layers, one after the other and together, which must not change a bit, in a cache whose last
// places they take; every path against the portable one.
int check_token() {
  constexpr int64_t D = 96, N = 4, K = 2, H = 32, F = 160, kCapacity = 40, kTokens = 3;
  int wrong = 0;
  Weight qkv((N + 2 * K) * H, D), out(D, N * H), up(F, D), gate(F, D), down(D, F);
  std::vector<float> norm(D, 1.0f), qk((N + K) * H, 1.0f);
  std::vector<uint16_t> cos(kTokens * H), sin(kTokens * H), first;
  for (int64_t i = 0; i < kTokens * H; ++i) {
    cos[i] = static_cast<uint16_t>(0x3f00 + i / H);
    sin[i] = static_cast<uint16_t>(0x3f40 - i / H);
  }
  for (int path = 0; path < 6; ++path) {
    if (!(osler_paths() >> path & 1)) continue;
    std::vector<uint16_t> found[2], caches[2];
    for (const int64_t together : {int64_t{1}, kTokens}) {
      std::vector<uint16_t> keys(2 * K * kCapacity * H, 0x3e80), values(keys), x(kTokens * D);
      for (int64_t i = 0; i < kTokens * D; ++i) x[i] = static_cast<uint16_t>(0x3f00 + i % 101);
      for (int64_t token = 0; token < kTokens; token += together) {
        OslerTokenLayer layers[2];
        for (int i = 0; i < 2; ++i) {
          layers[i] = {{{&qkv.w}, 1}, {{&out.w}, 1}, {{&gate.w, &up.w}, 2}, {{&down.w}, 1},
                       {norm.data(), norm.data(), norm.data(), norm.data()}, i ? qk.data() : nullptr,
                       keys.data() + i * K * kCapacity * H, values.data() + i * K * kCapacity * H,
                       kCapacity, kCapacity - kTokens + token, i ? int64_t{1} << 62 : 20, i};
        }
        const uint16_t *cos_at = cos.data() + token * H, *sin_at = sin.data() + token * H;
        const OslerToken tokens = {layers, 2, D, N, K, H, F, norm.data(), {cos_at, cos_at}, {sin_at, sin_at},
                                   1e-6f, 0.2f, together};
        if (osler_token(path, &tokens, x.data() + token * D, 1 + path % 2)) ++wrong;
      }
      keys.insert(keys.end(), values.begin(), values.end());
      found[together > 1] = x;
      caches[together > 1] = keys;
    }
    if (found[0] != found[1] || caches[0] != caches[1]) {
      ++wrong;
      std::printf("tokens together, path %d: not what each gets alone\n", path);
    }
    if (first.empty()) first = found[0];
    double error = 0, size = 1e-9;
    for (int64_t i = 0; i < kTokens * D; ++i) {
      const double a = osler::bf16_to_float(found[0][i]), b = osler::bf16_to_float(first[i]);
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

// Norms and heads of a prompt, for reads and writes past an end; tests/quant/test_prompt.py compares what they compute.
int check_prompt(int64_t H) {
  constexpr int64_t B = 2, L = 5, N = 3, K = 1;
  int wrong = 0;
  const std::vector<float> scale((N + K) * H, 1.0f);
  const std::vector<uint16_t> qkv(B * L * (N + 2 * K) * H, 0x3f80), angles(B * L * H, 0x3f00), added(B * L * 33, 0x3f80);
  for (int path = 0; path < 6; ++path) {
    if (!(osler_paths() >> path & 1)) continue;
    std::vector<uint16_t> out(qkv.size());
    const OslerHeads heads = {qkv.data(), scale.data(), angles.data(), angles.data(), out.data(), B, L, N + K, K, H, 1e-6f};
    wrong += osler_heads(path, &heads, 1 + path % 3) != 0;
    for (const uint16_t* stream : {static_cast<const uint16_t*>(nullptr), added.data()}) {
      std::vector<uint16_t> normed(added.size());
      for (uint16_t* then : {static_cast<uint16_t*>(nullptr), normed.data()}) {
        const OslerNorm norm = {added.data(), stream, scale.data(), out.data(), B * L, 33, 1e-6f, scale.data(), then};
        wrong += osler_norm(path, &norm, 1 + path % 3) != 0;
      }
    }
  }
  return wrong;
}

std::vector<uint16_t> random_bf16(int64_t count) {
  std::vector<uint16_t> values(count);
  for (auto& value : values) value = osler::float_to_bf16(static_cast<float>(below(2001) - 1000) / 500.0f);
  return values;
}

double value_at(const std::vector<uint16_t>& values, int64_t at) { return osler::bf16_to_float(values[at]); }

int compare(const char* name, const std::vector<uint16_t>& found, const std::vector<double>& wanted) {
  double error = 0, size = 1e-9;
  for (size_t i = 0; i < wanted.size(); ++i) {
    error += (value_at(found, i) - wanted[i]) * (value_at(found, i) - wanted[i]);
    size += wanted[i] * wanted[i];
  }
  if (std::sqrt(error / size) < 0.01) return 0;
  std::printf("%s: %.4f\n", name, std::sqrt(error / size));
  return 1;
}

// Tiles of exactly the size of rows and columns.
struct Tiles {
  const int64_t steps;
  uint16_t* const data;
  Tiles(int64_t rows, int64_t columns)
      : steps((columns + 31) / 32),
        data(static_cast<uint16_t*>(std::aligned_alloc(64, (rows + 31) / 32 * 32 * steps * 64))) {}
  ~Tiles() { std::free(data); }
  uint16_t at(int64_t row, int64_t column) const {
    return data[(row / 16 * steps + column / 32) * 512 + row % 16 * 32 + column % 32];
  }
};

// Results as rows, with what is added to them, and laid out.
int check_tower_linear(int path, int64_t M, int64_t N, int64_t K, int gelu) {
  const auto w = random_bf16(N * K), x = random_bf16(M * K), bias = random_bf16(N), residual = random_bf16(M * N);
  std::vector<uint16_t> out(M * N), out_laid(M * N);
  const Tiles tiles(N, K), x_laid(M, K), laid(M, N);
  int wrong = osler_tower_turn(path, w.data(), N, K, tiles.data, 1 + below(3));
  const OslerTowerRows rows = {x.data(), nullptr, nullptr, x_laid.data, M, K, 0};
  wrong += osler_tower_rows(path, &rows, 1 + below(3));
  const OslerTowerLinear product = {tiles.data, bias.data(), x_laid.data, residual.data(), out.data(), M, N, K, N, gelu};
  wrong += osler_tower_linear(path, &product, 1 + below(3));
  const OslerTowerLinear other = {tiles.data, bias.data(), x_laid.data, nullptr, laid.data, M, N, K, 0, gelu};
  wrong += osler_tower_linear(path, &other, 1 + below(3));
  const std::vector<uint16_t> ones(K, 0x3f80);
  const OslerTowerRows normed = {x.data(), ones.data(), ones.data(), x_laid.data, M, K, 1e-6f};
  wrong += osler_tower_rows(path, &normed, 1 + below(3));
  std::vector<double> wanted(M * N);
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t n = 0; n < N; ++n) {
      double sum = value_at(bias, n);
      for (int64_t k = 0; k < K; ++k) sum += value_at(x, m * K + k) * value_at(w, n * K + k);
      if (gelu) sum *= 0.5 * (1 + std::tanh(0.7978845608 * (sum + 0.044715 * sum * sum * sum)));
      wanted[m * N + n] = sum;
      out_laid[m * N + n] = laid.at(m, n);
    }
  }
  wrong += compare("product of the tower, laid out", out_laid, wanted);
  for (int64_t i = 0; i < M * N; ++i) wanted[i] += value_at(residual, i);
  return wrong + compare("product of the tower", out, wanted);
}

// Stored weights as the tiles of the values that they stand for, outputs that fill a block up left out.
int check_tower_unpack(int path, int64_t N, int64_t K) {
  const Weight stored(N, K);
  std::vector<uint16_t> plain(N * K);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) {
      const int code = stored.codes[n / 16 * 16 * K + k / 4 * 64 + n % 16 * 4 + k % 4];
      plain[n * K + k] = osler::float_to_bf16((code - 128) * 0.001953125f);  // 0x1800 in binary16
    }
  const Tiles wanted(N, K), found(N, K);
  int wrong = osler_tower_turn(path, plain.data(), N, K, wanted.data, 1 + below(3)) +
              osler_tower_unpack(path, &stored.w, found.data, 1 + below(3));
  for (int64_t i = 0; i < (N + 31) / 32 * 32 * K; ++i) {
    const bool counts = i / (16 * K) * 16 + i % 32 / 2 < N;
    wrong += counts && wanted.data[i] != found.data[i];
  }
  return wrong;
}

// Ways of attention beside the paths: by vectors, whatever this processor prefers.
constexpr int kFloats = 6, kPairs = 7;

bool has_way(int way) {
#ifdef __x86_64__
  if (way == kPairs) return __builtin_cpu_supports("avx512bf16") && osler_paths() >> 2 & 1;
  if (way == kFloats) return osler_paths() >> 2 & 1;
#endif
  return way < kFloats && osler_paths() >> way & 1;
}

int attend(int way, const OslerAttention& a, int threads) {
#ifdef __x86_64__
  if (way >= kFloats) return (way == kPairs ? osler::pair_attend : osler::vector_attend)(a, threads) ? 0 : 2;
#endif
  return osler_attend(way, &a, threads);
}

// Keys in a room of their own, of which a query sees some, none or all.
int check_attention(int way, int64_t B, int64_t L, int64_t S, int64_t heads, int64_t groups, int64_t H, bool all) {
  const int64_t key_heads = heads / groups;
  const auto q = random_bf16(B * heads * L * H), k = random_bf16(B * key_heads * S * H), v = random_bf16(k.size());
  std::vector<uint16_t> out(q.size());
  std::vector<int32_t> first(B * L), last(B * L);
  for (int64_t i = 0; i < B * L; ++i) {
    first[i] = all ? 0 : below(static_cast<int>(S));
    last[i] = all ? S : std::min<int32_t>(S, first[i] + below(70));
  }
  const OslerAttention a = {q.data(), k.data(), v.data(), out.data(), all ? nullptr : first.data(),
                            all ? nullptr : last.data(), B, L, S, heads, key_heads, H,
                            {heads * L * H, L * H, H}, {key_heads * S * H, S * H, H}, {key_heads * S * H, S * H, H},
                            {L * heads * H, H, heads * H}, 0.2f};
  int wrong = attend(way, a, 1 + below(3));
  std::vector<double> wanted(out.size());
  for (int64_t i = 0; i < B * heads * L; ++i) {
    const int64_t b = i / L / heads, head = i / L % heads, l = i % L, keys = (b * key_heads + head / groups) * S * H;
    const int64_t from = first[b * L + l], count = last[b * L + l] - from, to = ((b * L + l) * heads + head) * H;
    std::vector<double> weights(std::max<int64_t>(0, count));
    double total = 0;
    for (int64_t s = 0; s < count; ++s) {
      for (int64_t h = 0; h < H; ++h) weights[s] += value_at(q, i * H + h) * value_at(k, keys + (from + s) * H + h);
      total += weights[s] = std::exp(weights[s] * 0.2f);
    }
    for (int64_t h = 0; h < H; ++h)
      for (int64_t s = 0; s < count; ++s) wanted[to + h] += weights[s] / total * value_at(v, keys + (from + s) * H + h);
  }
  return wrong + compare("attention", out, wanted);
}

// Whole and odd sizes, more than is multiplied at a time.
int check_attentions(int way) {
  if (!has_way(way)) return 0;
  int wrong = 0;
  for (const bool all : {true, false}) {
    if (way == kPairs && !all) continue;
    wrong += check_attention(way, 1, 1, 1, 1, 1, 8, all) + check_attention(way, 2, 50, 50, 3, 1, 24, all);
    wrong += check_attention(way, 1, 300, 300, 2, 1, 72, all) + check_attention(way, 1, 64, 64, 1, 1, 128, all);
    wrong += check_attention(way, 2, 40, 333, 4, 2, 256, all) + check_attention(way, 1, 530, 20, 2, 2, 40, all);
  }
  return wrong;
}

// A product with bias and GELU, where the processor has VNNI.
int check_biased(int64_t M, int64_t N, int64_t K) {
  constexpr int kVnni = 2;
  if (!(osler_paths() >> kVnni & 1)) return 0;
  const Weight stored(N, K);
  const auto x = random_bf16(M * K), bias = random_bf16(N);
  std::vector<uint16_t> out(M * N);
  std::vector<double> wanted(M * N);
  std::vector<float> rows(N * K);
  std::vector<int64_t> ids(N);
  for (int64_t n = 0; n < N; ++n) ids[n] = n;
  int wrong = osler_rows(&stored.w, ids.data(), N, rows.data(), 0);
  wrong += osler_biased(kVnni, &stored.w, x.data(), 1, M, bias.data(), 1, out.data(), 1 + below(3)) != 0;
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t n = 0; n < N; ++n) {
      double sum = value_at(bias, n);
      for (int64_t k = 0; k < K; ++k) sum += value_at(x, m * K + k) * rows[n * K + k];
      wanted[m * N + n] = sum * 0.5 * (1 + std::tanh(0.7978845608 * (sum + 0.044715 * sum * sum * sum)));
    }
  }
  return wrong + compare("product with bias", out, wanted);
}

// Where this processor has tiles, alike.
int check_tower() {
  constexpr int kTiles = 3;
  if (!(osler_paths() >> kTiles & 1)) return 0;
  int wrong = 0;
  for (const int gelu : {0, 1}) {
    wrong += check_tower_linear(kTiles, 1, 1, 1, gelu) + check_tower_linear(kTiles, 33, 17, 40, gelu);
    wrong += check_tower_linear(kTiles, 64, 32, 64, gelu) + check_tower_linear(kTiles, 530, 20, 33, gelu);
    wrong += check_tower_linear(kTiles, 32, 530, 32, gelu) + check_tower_linear(kTiles, 40, 48, 290, gelu);
  }
  for (const int64_t N : {1, 16, 33, 96}) wrong += check_tower_unpack(kTiles, N, 32) + check_tower_unpack(kTiles, N, 160);
  return wrong;
}

// Results of bfloat16 at a cache line's start, of exactly their size.
struct Lines {
  uint16_t* data = nullptr;
  explicit Lines(int64_t count) {
    void* place = nullptr;
    if (posix_memalign(&place, 64, static_cast<size_t>(count) * 2)) std::abort();
    data = static_cast<uint16_t*>(place);
  }
  ~Lines() { std::free(data); }
};

// Results in bfloat16 are those in float32, rounded. Rows of whole lines are written past the cache.
int check_bf16(int path, const OslerWeight& w, const std::vector<float>& x, int64_t M, const std::vector<float>& out) {
  std::vector<uint16_t> narrow(x.size());
  for (size_t i = 0; i < x.size(); ++i) narrow[i] = osler::float_to_bf16(x[i]);  // exact: `x` was rounded before
  const int64_t N = w.rows;
  const Lines found(M * N);
  int wrong = osler_linear(path, &w, narrow.data(), 1, M, found.data, 1 + below(3)) != 0;
  int64_t other = 0;
  for (int64_t i = 0; i < M * N; ++i) other += found.data[i] != osler::float_to_bf16(out[i]);
  if (other) std::printf("path %d, bfloat16: N %ld K %ld M %ld: %ld differ\n", path, N, w.columns, M, other);
  if (N % 2) return wrong + (other != 0);
  const Lines gated(M * N / 2);
  wrong += osler_gated(path, &w, narrow.data(), 1, M, gated.data, 1 + below(3)) != 0;
  double off = 0, whole = 1e-9;
  for (int64_t i = 0; i < M * N / 2; ++i) {
    const double a = out[i / (N / 2) * N + i % (N / 2)], b = out[i / (N / 2) * N + N / 2 + i % (N / 2)];
    const double wanted = 0.5 * a * (1 + std::tanh(0.7978845608 * (a + 0.044715 * a * a * a))) * b;
    const double one = osler::bf16_to_float(gated.data[i]) - wanted;
    off += one * one;
    whole += wanted * wanted;
  }
  const bool far = !(std::sqrt(off / whole) < 0.01);  // four roundings to bfloat16
  if (far) std::printf("path %d, gated bfloat16: N %ld M %ld: %.5f\n", path, N, M, std::sqrt(off / whole));
  return wrong + (other != 0) + far;
}

// Rows with tails are multiplied by tiles of int8 after they were mixed, where what is known of a weight can be kept.
int check_mixed(int64_t N, int64_t K, int64_t M, Grouped grouped, int& runs) {
  if (!(osler_paths() >> 5 & 1)) return 0;
  ++runs;
  Weight weight(N, K, grouped);
  std::vector<float> x(M * K), rows(N * K), out[5];
  for (auto& value : x) {
    const float part = static_cast<float>(below(2001) - 1000) / 1000.0f;
    value = osler::bf16_to_float(osler::float_to_bf16(part * std::pow(part, 40.0f)));
  }
  std::vector<int64_t> ids(N);
  for (int64_t n = 0; n < N; ++n) ids[n] = n;
  int wrong = osler_rows(&weight.w, ids.data(), N, rows.data(), 0) != 0;
  const int64_t bytes = osler_known_bytes(5, &weight.w);
  wrong += bytes <= 0 || osler_known_bytes(4, &weight.w) != 0;
  Lines known(bytes / 2);
  std::fill(known.data, known.data + bytes / 2, uint16_t{0});
  // Twice, as the second product finds what the first one kept; without room and by the other paths nothing is mixed.
  for (int turn = 0; turn < 5; ++turn) {
    out[turn].resize(M * N);
    weight.w.known = turn == 2 ? nullptr : known.data;
    const int path = turn < 3 ? 5 : turn == 3 ? 4 : 3;
    wrong += osler_linear(path, &weight.w, x.data(), 0, M, out[turn].data(), 1 + below(3)) != 0;
  }
  weight.w.known = known.data;
  wrong += check_bf16(5, weight.w, x, M, out[0]);
  const bool same = out[0] == out[1] && out[2] == out[4], mixed = out[0] != out[3] && out[0] != out[4];
  double error = 0, size = 1e-9;
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(x[m * K + k]) * rows[n * K + k];
      error += (out[0][m * N + n] - sum) * (out[0][m * N + n] - sum);
      size += sum * sum;
    }
  }
  const double off = std::sqrt(error / size);
  if (same && mixed && off < 0.02) return wrong;
  std::printf("mixed: N %ld K %ld M %ld: same %d, mixed %d, error %.4f\n", N, K, M, same, mixed, off);
  return wrong + 1;
}

}  // namespace

int main() {
  int wrong = check_token() + check_prompt(48) + check_prompt(64) + check_tower(), runs = 3;
  wrong += check_attentions(2) + check_attentions(3) + check_attentions(kFloats) + check_attentions(kPairs);
  wrong += check_biased(40, 33, 96) + check_biased(530, 16, 1024);
  for (int turn = 0; turn < 153; ++turn) {
    const int bits = below(2) ? 4 : 8, group = below(3) ? 32 : 64;
    const bool channel = below(3) == 0, offset = below(2);
    int64_t K = channel ? 1 + below(150) : group * (1 + below(5)), N = 1 + below(90), M = 1 + below(50);
    // More than is multiplied at a time: of inputs, of outputs, of rows.
    if (turn == 150) K = channel ? 2661 : group * 85, M = 33;
    if (turn == 151) N = 1050, M = 30;
    if (turn == 152) M = 530;
    // Rows of whole lines, also of a gated result.
    if (turn % 10 == 0) N = 64 * (1 + below(3)), M = 33 + below(40);
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
    for (auto& value : x)
      value = osler::bf16_to_float(osler::float_to_bf16(static_cast<float>(below(2001) - 1000) / 500.0f));
    // Some inputs of all rows far larger than the others: up to 256 of them have further places.
    for (int64_t k = 0; turn % 4 == 1 && k < K; k += 1 + K / 12)
      for (int64_t m = 0; m < M; ++m) x[m * K + k] = 90.0f;
    if (osler_rows(&w, ids.data(), N, rows.data(), 0)) ++wrong;
    for (int path = 0; path < 6; ++path) {
      if (!(osler_paths() >> path & 1)) continue;
      std::vector<float> out(M * N);
      ++runs;
      if (osler_linear(path, &w, x.data(), 0, M, out.data(), 1 + below(3))) ++wrong;
      wrong += check_bf16(path, w, x, M, out);
      double error = 0, size = 1e-9;
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t n = 0; n < N; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(x[m * K + k]) * rows[n * K + k];
          error += (out[m * N + n] - sum) * (out[m * N + n] - sum);
          size += sum * sum;
        }
      }
      if (N % 2 == 0) {
        std::vector<float> gated(M * N / 2);
        if (osler_gated(path, &w, x.data(), 0, M, gated.data(), 1 + below(3))) ++wrong;
        double off = 0, whole = 1e-9;
        for (int64_t i = 0; i < M * N / 2; ++i) {
          const double a = out[i / (N / 2) * N + i % (N / 2)], b = out[i / (N / 2) * N + N / 2 + i % (N / 2)];
          const double wanted = 0.5 * a * (1 + std::tanh(0.7978845608 * (a + 0.044715 * a * a * a))) * b;
          off += (gated[i] - wanted) * (gated[i] - wanted);
          whole += wanted * wanted;
        }
        if (!(std::sqrt(off / whole) < 1e-4)) {
          ++wrong;
          std::printf("path %d, gated: N %ld K %ld M %ld bits %d: %.5f\n", path, N, K, M, bits, std::sqrt(off / whole));
        }
      }
      if (!(std::sqrt(error / size) < 0.03)) {
        ++wrong;
        std::printf("path %d: N %ld K %ld M %ld bits %d: %.4f\n", path, N, K, M, bits, std::sqrt(error / size));
      }
    }
  }
  wrong += check_mixed(1, 512, 24, Grouped::k32, runs) + check_mixed(33, 2592, 45, Grouped::k32, runs);
  wrong += check_mixed(70, 5152, 139, Grouped::k32, runs) + check_mixed(64, 320, 530, Grouped::kWhole, runs);
  wrong += check_mixed(34, 2661, 40, Grouped::kWhole, runs) + check_mixed(16, 2705, 33, Grouped::kWhole, runs);
  std::printf("%d of %d runs were wrong\n", wrong, runs);
  return wrong != 0;
}
