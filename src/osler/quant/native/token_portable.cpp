// One token through all layers, for every processor.
#include "token.inc"

namespace osler {

const RunToken kTokenPortable = run_token;

}  // namespace osler
