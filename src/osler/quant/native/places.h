// Places beside tiles, where vectors do something else.
//
// A step multiplies four pairs of tiles, and each tile is loaded as 16 lines. Two loads side by side, or all that vectors
// have to do at once, keep each other waiting: so there are eight places in a step, between a load and a product each.
#pragma once

#include <type_traits>

namespace osler {

template <int place>
using Place = std::integral_constant<int, place>;

// Without tiles.
template <class Meanwhile>
__attribute__((always_inline)) static inline void in_all_places(Meanwhile meanwhile) {
  meanwhile(Place<0>()); meanwhile(Place<1>()); meanwhile(Place<2>()); meanwhile(Place<3>());
  meanwhile(Place<4>()); meanwhile(Place<5>()); meanwhile(Place<6>()); meanwhile(Place<7>());
}

}  // namespace osler
