#define OSLER_ROWS 8
#define OSLER_VECS 2
#include "attend.inc"

namespace osler {

const Attend kAttendAvx512 = attend_all;

}  // namespace osler
