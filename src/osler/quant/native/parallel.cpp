// Threads: PyTorch's own where its OpenMP library can be found, else a small pool.
//
// Two pools on the same cores fight: the idle one spins while the other works. So the caller hands over the functions
// of the OpenMP library that PyTorch has loaded, and the kernels run on the very threads that PyTorch computes with.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels.h"

namespace osler {
namespace {

using OpenMpParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using OpenMpNumber = int (*)();

OpenMpParallel openmp_parallel = nullptr;
OpenMpNumber openmp_thread = nullptr, openmp_threads = nullptr;

struct Region {
  Work work;
  void* data;
};

void openmp_body(void* data) {
  const Region& region = *static_cast<Region*>(data);
  region.work(region.data, openmp_thread(), openmp_threads());
}

// Workers that spin for a moment after each piece of work and then sleep.
class Pool {
 public:
  void run(int threads, Work work, void* data) {
    std::lock_guard<std::mutex> one_at_a_time(turn_);
    while (static_cast<int>(workers_.size()) < threads - 1) {
      const int number = static_cast<int>(workers_.size()) + 1;
      workers_.emplace_back(&Pool::serve, this, number, round_.load());
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      region_ = {work, data};
      parts_ = threads;
      left_.store(static_cast<int>(workers_.size()));
      round_.fetch_add(1);
    }
    wake_.notify_all();
    work(data, 0, threads);
    while (left_.load() > 0) std::this_thread::yield();
  }

 private:
  void serve(int number, unsigned seen) {
    for (;;) {
      for (int spin = 0; spin < 2000 && round_.load() == seen; ++spin) {
        if (spin > 200) std::this_thread::yield();
      }
      if (round_.load() == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load() != seen; });
      }
      Region region;
      int parts;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        seen = round_.load();
        region = region_;
        parts = parts_;
      }
      if (number < parts) region.work(region.data, number, parts);
      left_.fetch_sub(1);
    }
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  std::atomic<unsigned> round_{0};
  std::atomic<int> left_{0};
  Region region_{};
  int parts_ = 0;
};

Pool& pool() {
  static Pool* const instance = new Pool;  // never destroyed: its threads wait until the process ends
  return *instance;
}

}  // namespace

void parallel(int threads, Work work, void* data) {
  if (threads <= 1) return work(data, 0, 1);
  if (openmp_parallel) {
    Region region = {work, data};
    return openmp_parallel(openmp_body, &region, static_cast<unsigned>(threads), 0);
  }
  pool().run(threads, work, data);
}

}  // namespace osler

// Takes GOMP_parallel, omp_get_thread_num and omp_get_num_threads of a loaded OpenMP library; null for the own pool.
extern "C" void osler_use_openmp(void* parallel, void* thread_number, void* threads) {
  osler::openmp_parallel = reinterpret_cast<osler::OpenMpParallel>(parallel);
  osler::openmp_thread = reinterpret_cast<osler::OpenMpNumber>(thread_number);
  osler::openmp_threads = reinterpret_cast<osler::OpenMpNumber>(threads);
}
