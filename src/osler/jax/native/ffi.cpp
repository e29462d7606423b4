// The kernels as XLA calls them: handlers of the foreign-function interface, on XLA's own threads.
//
// Weights of all layers lie in one array; the number of a layer is an operand, so a compiled loop over layers copies
// nothing. The sources of osler/quant/native are linked in, with this file in the place of parallel.cpp.
#include <atomic>
#include <memory>
#include <thread>

#include "attend.h"
#include "dense.h"
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

extern "C" {
unsigned osler_paths(void);
int osler_linear(int path, const OslerWeight* w, const void* x, int dtype, int64_t M, void* out, int threads);
}

namespace osler {
namespace {

// XLA's threads, for the time of one call.
thread_local ffi::ThreadPool* pool = nullptr;

struct Lend {
  explicit Lend(ffi::ThreadPool& threads) { pool = &threads; }
  ~Lend() { pool = nullptr; }
};

// Parts of one piece of work, which whoever is free takes.
struct Shares {
  Work work;
  void* data;
  int parts;
  std::atomic<int> next{0}, done{0};

  void take() {
    for (int part; (part = next.fetch_add(1)) < parts;) {
      work(data, part, parts);
      done.fetch_add(1);
    }
  }
};

int dtype_of(ffi::DataType type) {
  if (type == ffi::DataType::F32) return kFloat32;
  return type == ffi::DataType::BF16 ? kBFloat16 : -1;
}

int64_t product(ffi::AnyBuffer::Dimensions sizes) {
  int64_t all = 1;
  for (int64_t size : sizes) all *= size;
  return all;
}

}  // namespace

// The caller takes parts too and waits only for those that another has begun: threads that are all busy with other
// products cannot lock each other out.
void parallel(int threads, Work work, void* data) {
  if (threads <= 1 || !pool) return work(data, 0, 1);
  auto shares = std::make_shared<Shares>();
  shares->work = work;
  shares->data = data;
  shares->parts = threads;
  for (int helper = 1; helper < threads; ++helper) pool->Schedule([shares] { shares->take(); });
  shares->take();
  while (shares->done.load() < threads) std::this_thread::yield();
}

static ffi::Error linear(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::BufferR0<ffi::DataType::S32> layer,
                         ffi::AnyBuffer codes, ffi::AnyBuffer scale, ffi::AnyBuffer offset,
                         ffi::Result<ffi::AnyBuffer> out, int32_t path, int32_t bits, int32_t group, int64_t columns) {
  const auto sizes = codes.dimensions();  // layers, blocks, vectors, 16, 4
  const auto in = x.dimensions(), result = out->dimensions();
  if (sizes.size() != 5 || in.size() < 1 || result.size() != in.size() || in.back() != columns || bits <= 0)
    return ffi::Error::InvalidArgument("operands of the wrong rank");
  const int64_t padded = sizes[2] * 4 * 8 / bits, rows = result.back(), M = columns ? product(in) / columns : 0;
  OslerWeight w = {nullptr, nullptr, nullptr, rows, columns, padded, bits, group};
  if (group <= 0 || padded < columns || rows > sizes[1] * kBlock || layer.typed_data()[0] < 0 ||
      layer.typed_data()[0] >= sizes[0])
    return ffi::Error::InvalidArgument("a weight that does not fit its operands");
  const int64_t scales = sizes[1] * scale_groups(w) * kBlock, number = layer.typed_data()[0];
  const bool has_offset = offset.element_count() > 0;
  if (static_cast<int64_t>(scale.element_count()) != sizes[0] * scales ||
      (has_offset && offset.element_count() != scale.element_count()) || product(result) != M * rows)
    return ffi::Error::InvalidArgument("scales that do not fit their codes");
  w.codes = static_cast<const uint8_t*>(codes.untyped_data()) + number * sizes[1] * block_bytes(w);
  w.scale = static_cast<const uint16_t*>(scale.untyped_data()) + number * scales;
  if (has_offset) w.offset = static_cast<const uint16_t*>(offset.untyped_data()) + number * scales;
  Lend lend(threads);
  const int status = osler_linear(path, &w, x.untyped_data(), dtype_of(x.element_type()), M, out->untyped_data(),
                                  static_cast<int>(threads.num_threads()));
  if (status == 2) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "a product ran out of memory");
  return status ? ffi::Error::InvalidArgument("the kernels refused a call") : ffi::Error::Success();
}

static ffi::Error dense(ffi::ThreadPool threads, ffi::AnyBuffer x, ffi::BufferR0<ffi::DataType::S32> layer,
                        ffi::Buffer<ffi::DataType::BF16> tiles, ffi::Result<ffi::AnyBuffer> out, int32_t path,
                        int64_t columns) {
  const auto sizes = tiles.dimensions();  // layers, blocks, steps, 16, 16, 2
  const auto in = x.dimensions(), result = out->dimensions();
  if (sizes.size() != 6 || in.size() < 1 || result.size() != in.size() || in.back() != columns || columns <= 0)
    return ffi::Error::InvalidArgument("operands of the wrong rank");
  const int64_t rows = result.back(), M = product(in) / columns, number = layer.typed_data()[0];
  if (sizes[2] * kTileInputs < columns || rows > sizes[1] * kBlock || sizes[3] * sizes[4] * sizes[5] != kTileSize ||
      number < 0 || number >= sizes[0] || product(result) != M * rows)
    return ffi::Error::InvalidArgument("a weight that does not fit its operands");
  const auto* from = static_cast<const uint16_t*>(tiles.untyped_data()) + number * sizes[1] * sizes[2] * kTileSize;
  Lend lend(threads);
  const int status = dense_linear(path, {from, rows, columns, sizes[2]}, x.untyped_data(), dtype_of(x.element_type()),
                                  M, out->untyped_data(), static_cast<int>(threads.num_threads()));
  if (status == 2) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "a product ran out of memory");
  return status ? ffi::Error::InvalidArgument("the kernels refused a call") : ffi::Error::Success();
}

static ffi::Error attention(ffi::ThreadPool threads, ffi::Buffer<ffi::DataType::F32> q,
                            ffi::BufferR0<ffi::DataType::S32> layer, ffi::Buffer<ffi::DataType::F32> keys,
                            ffi::Buffer<ffi::DataType::F32> values, ffi::BufferR2<ffi::DataType::S32> positions,
                            ffi::BufferR2<ffi::DataType::S32> last, ffi::BufferR2<ffi::DataType::S32> stored,
                            ffi::Result<ffi::Buffer<ffi::DataType::F32>> out, int32_t path, int64_t window,
                            float scale) {
  const auto in = q.dimensions(), sizes = keys.dimensions();  // rows, queries, heads, H; layers, rows, heads, slots, H
  if (in.size() != 4 || sizes.size() != 5 || out->element_count() != q.element_count())
    return ffi::Error::InvalidArgument("operands of the wrong rank");
  const auto asked = positions.dimensions(), slots = stored.dimensions();
  const int64_t number = layer.typed_data()[0];
  if (sizes[1] != in[0] || sizes[4] != in[3] || values.element_count() != keys.element_count() || number < 0 ||
      number >= sizes[0] || asked[0] != in[0] || asked[1] != in[1] || last.element_count() != positions.element_count() ||
      slots[0] != in[0] || slots[1] != sizes[3] || window < 0)
    return ffi::Error::InvalidArgument("a cache that does not fit its queries");
  const int64_t from = number * sizes[1] * sizes[2] * sizes[3] * sizes[4];
  Lend lend(threads);
  const int status = attend(path,
                            {q.typed_data(), keys.typed_data() + from, values.typed_data() + from,
                             positions.typed_data(), last.typed_data(), stored.typed_data(), out->typed_data(), in[0],
                             in[1], in[2], sizes[2], sizes[3], in[3], window, scale},
                            static_cast<int>(threads.num_threads()));
  if (status == 2) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "attention ran out of memory");
  return status ? ffi::Error::InvalidArgument("the kernels refused a call") : ffi::Error::Success();
}

}  // namespace osler

extern "C" int osler_ffi_abi(void) { return 2; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(osler_ffi_linear, osler::linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::BufferR0<ffi::DataType::S32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int32_t>("path")
                                  .Attr<int32_t>("bits")
                                  .Attr<int32_t>("group")
                                  .Attr<int64_t>("columns"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(osler_ffi_dense, osler::dense,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::BufferR0<ffi::DataType::S32>>()
                                  .Arg<ffi::Buffer<ffi::DataType::BF16>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int32_t>("path")
                                  .Attr<int64_t>("columns"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(osler_ffi_attention, osler::attention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::DataType::F32>>()
                                  .Arg<ffi::BufferR0<ffi::DataType::S32>>()
                                  .Arg<ffi::Buffer<ffi::DataType::F32>>()
                                  .Arg<ffi::Buffer<ffi::DataType::F32>>()
                                  .Arg<ffi::BufferR2<ffi::DataType::S32>>()
                                  .Arg<ffi::BufferR2<ffi::DataType::S32>>()
                                  .Arg<ffi::BufferR2<ffi::DataType::S32>>()
                                  .Ret<ffi::Buffer<ffi::DataType::F32>>()
                                  .Attr<int32_t>("path")
                                  .Attr<int64_t>("window")
                                  .Attr<float>("scale"));
