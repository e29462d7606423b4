// Attention on the path that was asked for.
#include "attend.h"

extern "C" unsigned osler_paths(void);

namespace osler {

int attend(int path, const Attention& job, int threads) {
  if (path < 0 || path >= kPaths || !(osler_paths() & (1u << path))) return 1;
  if (job.H <= 0 || job.H % 16 || job.K <= 0 || job.N % job.K) return 1;
  Attend run = kAttendPortable;
#ifdef OSLER_X86
  if (path == kPathAvx2) run = kAttendAvx2;
  if (path > kPathAvx2) run = kAttendAvx512;
#endif
  return run(job, threads) ? 0 : 2;
}

}  // namespace osler
