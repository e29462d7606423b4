// Products of many rows by tiles of int8, rows and weights mixed by a Hadamard matrix.
#include "tiles_int8.inc"
#include "unpack_hadamard.h"

namespace osler {

bool multiply_hadamard_amx(const ManyRows& p, int threads) { return lead_rows<AmxInt8<HadamardUnpacker>>(p, threads); }

}  // namespace osler
