#include <cstring>

#include "dense.h"

#define OSLER_FETCH(from) __builtin_prefetch(from)

namespace osler {
namespace {

#include "dense_block.inc"

}  // namespace

const DenseBlock kDensePortable = dense_block;

}  // namespace osler
