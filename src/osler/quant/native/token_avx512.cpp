// One token through all layers, for AVX-512.
#include "token.inc"

namespace osler {

const TokenCode kTokenAvx512 = {run_token, run_heads, run_norm, run_gate};

}  // namespace osler
