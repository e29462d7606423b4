// Products of many rows by tiles of int8.
#include "tiles_int8.inc"
#include "unpack_int8.h"

namespace osler {

bool multiply_int8_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8<Int8Unpacker<0>>>(p, threads); }

}  // namespace osler
