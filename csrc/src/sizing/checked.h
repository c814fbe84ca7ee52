// What a policy chooses for an image that was checked before (check_image), as a session does at its door.
#pragma once

#include "navit_edge/choice.h"

namespace navit_edge {

/// image_complexity.
double checked_complexity(const ImageView& image, const PreprocessSpec& preprocess);

/// choose_grid.
Choice choose_checked(Size image, const PreprocessSpec& preprocess, const Policy& policy, const EngineLimits& engine,
                      const Load& load, const ImageView* pixels);

}  // namespace navit_edge
