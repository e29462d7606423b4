// Runs every kernel on buffers of exactly the size they need, for the sanitizers, which test_build.py beside it adds;
// test_same_bits.py compares what they compute.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

extern "C" {
int64_t osler_exp_f32(const float*, float*, int64_t);
int64_t osler_log_f64(const double*, double*, int64_t);
int64_t osler_sine_f32(const float*, float*, int64_t);
int64_t osler_cosine_f64(const double*, double*, int64_t);
int64_t osler_power_f32(const float*, float*, int64_t, double);
int64_t osler_lattice_knots(uint64_t, uint64_t, const int64_t*, float*, int64_t, float, float);
int64_t osler_lattice_across(const float*, int64_t, const int32_t*, const float*, float*, int64_t, int64_t, float);
int64_t osler_lattice_plane(const float*, int64_t, const int32_t*, const float*, float*, int64_t, int64_t, int64_t,
                            float);
int64_t osler_lattice_part(const float*, int64_t, int64_t, const int32_t*, const float*, float*, int64_t, int64_t,
                           int64_t);
int64_t osler_ellipsoid(const float*, const float*, float, float, const float*, float*, int64_t, int64_t);
int64_t osler_tilted(const float*, const float*, const float*, const float*, float, float, const float*, float*,
                     int64_t, int64_t);
int64_t osler_smooth_least(const float*, const float*, float, float, float*, int64_t);
int64_t osler_share(const float*, float, float*, int64_t);
int64_t osler_above(const float*, float, int64_t, int64_t, int64_t, int64_t*);
int64_t osler_labels(const uint8_t*, int64_t, int64_t, const uint8_t*, int64_t, int64_t, int64_t, int64_t, int64_t*);
int64_t osler_filled(const uint8_t*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t*);
int64_t osler_blend(float*, uint8_t*, int64_t, int64_t, const float*, int64_t, int64_t, const float*, float,
                    const uint8_t*, int64_t, int32_t, float, int64_t, int64_t, int64_t);
int64_t osler_shell(float*, uint8_t*, int64_t, int64_t, const float*, const float*, const float*, float, float, float,
                    int32_t, int64_t, int64_t, int64_t);
int64_t osler_spheres(float*, const int64_t*, const float*, const float*, const float*, const float*, const float*,
                      int64_t, float, float, int64_t*, int64_t);
int64_t osler_take_depths(float*, const int64_t*, int64_t, float, float*);
int64_t osler_blend_voxels(float*, uint8_t*, const int64_t*, const float*, int64_t, const uint8_t*, int32_t, float,
                           float, float, int32_t);
int64_t osler_ray_voxels(const int64_t*, const int64_t*, const float*, const double*, double, const float*,
                         const float*, const float*, const int64_t*, int64_t, const float*, int64_t, int64_t*, float*);
int64_t osler_widths(const float*, float, float*, int64_t, int64_t, int64_t);
int64_t osler_share_parts(const float*, const float*, float*, int64_t, int64_t, int64_t, int64_t);
int64_t osler_slab_f32(const float*, const int64_t*, int64_t, int64_t, int64_t, const int64_t*, float*, uint8_t*,
                       uint8_t*);
int64_t osler_slab_u8(const uint8_t*, const int64_t*, int64_t, int64_t, int64_t, const int64_t*, float*, uint8_t*,
                      uint8_t*);
int64_t osler_seen(const float*, int64_t, int64_t, const int64_t*, const float*, const float*, const float*, float,
                   float*, float*, int64_t, int64_t, int64_t, int32_t);
int64_t osler_cubic(const float*, int64_t, int64_t, int32_t, const int64_t*, const float*, int64_t, float*);
int64_t osler_stamp(float*, int64_t, int64_t, const double*, const double*, const float*, const float*, const int64_t*,
                    int64_t, int64_t, int32_t);
}

namespace {

std::mt19937 bits(7);

template <class T = float>
std::vector<T> random(int64_t count, double low = -4, double high = 4) {
  std::uniform_real_distribution<double> even(low, high);
  std::vector<T> out(count);
  for (auto& number : out) number = static_cast<T>(even(bits));
  return out;
}

int check(const char* name, bool right) {
  if (!right) std::printf("%s: wrong\n", name);
  return !right;
}

int elementary() {
  const auto x = random<float>(37, 0, 9);
  const auto wide = random<double>(37, 0, 9);
  std::vector<float> out(37);
  std::vector<double> wide_out(37);
  osler_sine_f32(x.data(), out.data(), 37);
  osler_cosine_f64(wide.data(), wide_out.data(), 37);
  osler_power_f32(x.data(), out.data(), 37, 0.5);
  int wrong = check("power", std::fabs(out[5] - std::sqrt(x[5])) < 1e-5);
  osler_exp_f32(x.data(), out.data(), 37);
  osler_log_f64(wide.data(), wide_out.data(), 37);
  wrong += check("exp", std::fabs(out[3] / std::exp(x[3]) - 1) < 1e-5);
  return wrong + check("log", std::fabs(wide_out[3] - std::log(wide[3])) < 1e-12);
}

int lattice() {
  constexpr int64_t K = 24, Z = 3, Y = 5, X = 7;
  std::vector<int64_t> numbers(K * K);
  for (int64_t i = 0; i < K * K; ++i) numbers[i] = i;
  std::vector<float> knots(K * K), across(K * X), planes(K * Y * X), out(Z * Y * X), four(X * 4, 0.25f);
  std::vector<int32_t> index(X * 4);
  for (int64_t i = 0; i < X * 4; ++i) index[i] = static_cast<int32_t>((i * 7) % K);
  index[X * 4 - 1] = K - 1;
  constexpr float kUnit = 0x1p-11f;
  osler_lattice_knots(3, 4, numbers.data(), knots.data(), K * K, 2.4f, kUnit);
  osler_lattice_across(knots.data(), K, index.data(), four.data(), across.data(), K, X, kUnit);
  for (int64_t k = 0; k < K; ++k) {
    osler_lattice_plane(across.data(), X, index.data(), four.data(), planes.data() + k * Y * X, X, Y, X, kUnit);
  }
  osler_lattice_part(planes.data(), Y * X, X, index.data(), four.data(), out.data(), Z, Y, X);
  int wrong = 0;
  for (float value : out) wrong += !(std::fabs(value) <= 2.4f);
  return check("lattice", !wrong);
}

int shapes() {
  constexpr int64_t Z = 3, kPlane = 35;
  const auto flat = random(kPlane, 0, 4), more = random(kPlane, 0, 4), up = random(Z, 0, 2), wave = random(Z * kPlane);
  std::vector<float> first(Z * kPlane), second(Z * kPlane), least(Z * kPlane);
  osler_ellipsoid(flat.data(), up.data(), 5.0f, 0.5f, wave.data(), first.data(), Z, kPlane);
  osler_ellipsoid(flat.data(), up.data(), 5.0f, 0.0f, nullptr, first.data(), Z, kPlane);
  osler_tilted(flat.data(), more.data(), up.data(), up.data(), 5.0f, 0.5f, wave.data(), second.data(), Z, kPlane);
  osler_smooth_least(first.data(), second.data(), 0.1f, -2.5f, least.data(), Z * kPlane);
  return check("ellipsoid", std::fabs(first[0] - 5 * (1 - std::sqrt(flat[0] + up[0]))) < 1e-5) +
         check("least", least[9] <= first[9] && least[9] <= second[9]);
}

int canvas() {
  constexpr int64_t Z = 3, Y = 5, X = 600;
  auto value = random(Z * Y * X), deep = random(Z * Y * X), levels = random(Z * Y * X);
  auto widths = random(Z * Y * X, 0.5, 2);
  std::vector<uint8_t> label(Z * Y * X, 1);
  std::vector<float> alpha(Z * Y * X);
  std::vector<int64_t> box(6);
  const std::vector<uint8_t> wanted = {1, 9};
  osler_share(deep.data(), 0.5f, alpha.data(), Z * Y * X);
  // Boxes of a canvas end where its last row does.
  osler_blend(value.data() + 1, label.data() + 1, Y * X, X, alpha.data() + 1, Y * X, X, nullptr, 5.0f, wanted.data(), 2,
              7, 0.5f, Z, Y, X - 1);
  osler_blend(value.data(), label.data(), Y * X, X, alpha.data(), Y * X, X, levels.data(), 0.0f, nullptr, 0, -1, 1.0f,
              Z, Y, X);
  osler_shell(value.data(), label.data(), Y * X, X, deep.data(), widths.data(), levels.data(), 0, 0, 3.0f, 2, Z, Y, X);
  osler_shell(value.data(), label.data(), Y * X, X, deep.data(), nullptr, nullptr, 1.0f, 0.5f, 3.0f, 2, Z, Y, X);
  label.assign(label.size(), 0);
  label.back() = 9;
  int wrong = check("labels", osler_labels(label.data(), Y * X, X, wanted.data(), 2, Z, Y, X, box.data()) == 1);
  wrong += check("labels' box", box == std::vector<int64_t>{Z - 1, Z, Y - 1, Y, X - 1, X});
  wrong += check("filled", osler_filled(label.data(), Y * X, X, Z, Y, X, box.data()) == 1);
  return wrong + check("above", osler_above(deep.data(), 99.0f, Z, Y, X, box.data()) == 0);
}

int spheres() {
  const std::vector<int64_t> dims = {11, 9, 7};
  const std::vector<float> start(3, -10.0f), step(3, 2.0f), squash(3, 1.0f);
  const auto points = random(60 * 3, -20, 20), radius = random(60, -2, 9);
  const int64_t size = 11 * 9 * 7;
  std::vector<float> depths(size, -1e9f), alpha(size), value(size);
  std::vector<int64_t> touched(size);
  std::vector<uint8_t> label(size);
  const uint8_t wanted[256] = {1};
  const int64_t count = osler_spheres(depths.data(), dims.data(), start.data(), step.data(), squash.data(),
                                      points.data(), radius.data(), 60, 1.0f, -1e9f, touched.data(), 0);
  osler_take_depths(depths.data(), touched.data(), count, -1e9f, alpha.data());
  osler_blend_voxels(value.data(), label.data(), touched.data(), alpha.data(), count, wanted, 4, 2.0f, 1.0f, 0.0f, 0);
  int wrong = check("spheres", count > 0 && count <= size);
  for (float depth : depths) wrong += depth != -1e9f;
  return wrong;
}

int rays() {
  const std::vector<int64_t> dims = {9, 11, 5}, stride = {55, 1, 11}, counts = {40, 20};
  const std::vector<float> start(3, -10.0f), squash(6, 1.0f), radii = {0.2f, 2.0f, 6.0f, 80.0f};
  const std::vector<double> step = {2.0, 2.0, 8.0};
  const auto points = random(60 * 3, -30, 30), radius = random(60, -2, 20);
  std::vector<int64_t> index(9 * 11 * 5);
  std::vector<float> share(index.size());
  const int64_t found = osler_ray_voxels(dims.data(), stride.data(), start.data(), step.data(), 2.0, points.data(),
                                         radius.data(), squash.data(), counts.data(), 2, radii.data(), 4, index.data(),
                                         share.data());
  int wrong = check("rays", found > 0 && found <= static_cast<int64_t>(index.size()));
  for (int64_t i = 0; i < found; ++i) wrong += index[i] < 0 || index[i] >= 9 * 11 * 5;
  const auto deep = random(3 * 8 * 5);
  std::vector<float> widths(deep.size()), alpha(3 * 2 * 5);
  osler_widths(deep.data(), 1.0f, widths.data(), 3, 8, 5);
  osler_share_parts(deep.data(), widths.data(), alpha.data(), 3, 8, 5, 4);
  return wrong;
}

int film() {
  const std::vector<int64_t> dims = {4, 5, 6}, strides = {30, 6, 1};
  const auto voxels = random(4 * 5 * 6);
  const std::vector<uint8_t> bytes(4 * 5 * 6, 1);
  int wrong = 0;
  for (int64_t along = 1; along < 3; ++along) {
    const int64_t across = along == 1 ? 6 : 5;
    std::vector<float> slab(4 * across), sides(7 * 3), total(2 * 3);
    std::vector<uint8_t> rows(4), columns(across);
    osler_slab_f32(voxels.data(), dims.data(), along, 0, dims[along], strides.data(), slab.data(), rows.data(),
                   columns.data());
    osler_slab_u8(bytes.data(), dims.data(), along, 1, 3, strides.data(), slab.data(), rows.data(), columns.data());
    wrong += check("slab", slab.back() == 2.0f && rows.back() && columns.back());
    const std::vector<int64_t> first = {0, 3, across + 1};
    const std::vector<float> weight(3, 0.5f), up = {-3.0f, 9.0f}, near(3, 1.0f);
    for (int greatest = 0; greatest < 2; ++greatest) {
      osler_seen(slab.data(), 4, across, first.data(), weight.data(), up.data(), near.data(), 1.0f, sides.data(),
                 total.data(), 3, 2, 3, greatest);
    }
  }
  const std::vector<int64_t> index(4 * 3, 3);
  const std::vector<float> weight(4 * 3, 0.25f);
  std::vector<float> tall(3 * 30), wide(4 * 3);
  osler_cubic(voxels.data(), 4, 30, 0, index.data(), weight.data(), 3, tall.data());
  osler_cubic(voxels.data(), 4, 4, 1, index.data(), weight.data(), 3, wide.data());
  wrong += check("cubic", tall[7] == voxels[3 * 30 + 7]);
  std::vector<float> layers(2 * 9 * 7);
  const auto column = random<double>(50, -9, 16), row = random<double>(50, -9, 18);
  const auto size = random(50, 0.75, 5), amount = random(50, 0, 1);
  std::vector<int64_t> layer(50);
  for (int64_t i = 0; i < 50; ++i) layer[i] = i % 2;
  for (int flat = 0; flat < 2; ++flat) {
    osler_stamp(layers.data(), 9, 7, column.data(), row.data(), size.data(), amount.data(), layer.data(), 50, 5, flat);
  }
  return wrong;
}

}  // namespace

int main() {
  const int wrong = elementary() + lattice() + shapes() + canvas() + spheres() + rays() + film();
  std::printf("%d wrong\n", wrong);
  return wrong != 0;
}
