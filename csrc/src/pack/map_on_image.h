// A map over the grid, as pixels of the image that lies on it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "navit_edge/result.h"

namespace navit_edge {

/// Result::on_image of a result whose placement is known.
std::vector<float> map_on_image(const Result& result, std::span<const float> values, std::int64_t cols,
                                const MapOptions& options);

}  // namespace navit_edge
