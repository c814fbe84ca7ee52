// Fills packs by pairs of images.
#pragma once

#include <vector>

#include "plan/bin_packing.h"

namespace navit_edge {

/// One pack after the other: the longest image left, then the longest that fits, and at the end of a pack the two
/// images that fill it best. Takes packs that first fit leaves loose if many images have nearly the same length.
std::vector<PackPlan> pair_fill(ImageOrder decreasing, TokenCounts tokens, const Budget& budget);

}  // namespace navit_edge
