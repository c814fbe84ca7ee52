// What a policy chooses for an image that was checked before (check_image), as a session does at its door.
#pragma once

#include "navit_edge/choice.h"

namespace navit_edge {

/// image_complexity.
double checked_complexity(const ImageView& image, const PreprocessSpec& preprocess);

/// choose_grid.
Choice choose_checked(Size image, const PreprocessSpec& preprocess, const Policy& policy, const EngineLimits& engine,
                      const Load& load, const ImageView* pixels);

/// Of a choice that has its grid: which patches stay, and what its reason says of that. By a mask, at random, or by the
/// caller's function, which is given `pixels`. Blank patches are looked for when the pixels are resized: until then all
/// may stay. Throws InvalidInput for a mask of another grid, and what the function throws.
void drop_patches(const Policy& policy, const ImageView* pixels, Choice& choice);

}  // namespace navit_edge
