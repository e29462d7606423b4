// One token through all layers, for AVX2.
#include "token.inc"

namespace osler {

const RunToken kTokenAvx2 = run_token;

}  // namespace osler
