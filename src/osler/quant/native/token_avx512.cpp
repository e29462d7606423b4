// One token through all layers, for AVX-512.
#include "token.inc"

namespace osler {

const RunToken kTokenAvx512 = run_token;

}  // namespace osler
