#define OSLER_ROWS 2
#define OSLER_VECS 1
#include "attend.inc"

namespace osler {

const Attend kAttendPortable = attend_all;

}  // namespace osler
