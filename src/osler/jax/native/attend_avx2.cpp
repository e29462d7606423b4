#define OSLER_ROWS 4
#define OSLER_VECS 1
#include "attend.inc"

namespace osler {

const Attend kAttendAvx2 = attend_all;

}  // namespace osler
