// Norms and heads of a prompt, for processors with tiles.
#pragma once

#include "token.h"

namespace osler {

bool fits_prompt_rows(const OslerHeads&);
void prompt_heads(const OslerHeads&, int threads);
void prompt_norm(const OslerNorm&, int threads);

}  // namespace osler
