// One token through all layers, for every processor.
#include "token.inc"

namespace osler {

const TokenCode kTokenPortable = {run_token, run_heads, run_norm, run_gate};

}  // namespace osler
