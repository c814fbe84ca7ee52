// How much there is to see in an image.
#pragma once

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// How much there is to see: 0 for a flat image, 1/3 for noise. The mean difference in luma, over 255, between
/// neighbours of a copy whose longer side is 64 pixels, each taken from the image as it is (docs/policies.md). About
/// the same for an image at any scale; the same in any pixel format, but for rounding. Throws InvalidInput.
NAVIT_EDGE_API double image_complexity(const ImageView& image, const PreprocessSpec& preprocess);

}  // namespace navit_edge
