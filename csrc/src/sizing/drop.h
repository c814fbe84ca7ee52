// Which patches of a grid stay, where that is known before the pixels are resized.
#pragma once

#include "navit_edge/choice.h"

namespace navit_edge {

/// Of a choice that has its grid: `kept`, and what its reason says of it. By a mask, at random, or by the caller's
/// function, which is given `pixels`. Blank patches are looked for when the pixels are resized: until then all may
/// stay. Throws InvalidInput for a mask of another grid, and what the function throws.
void drop_patches(const Policy& policy, const ImageView* pixels, Choice& choice);

}  // namespace navit_edge
