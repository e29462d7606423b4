// One token through all layers, for AVX2.
#include "token.inc"

namespace osler {

const TokenCode kTokenAvx2 = {run_token, run_heads, run_norm, run_gate};

}  // namespace osler
