// Where an image lies on its grid.
#pragma once

#include <cstdint>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// How an image lies on its grid: its point (y, x), in pixels, is at (y * scale_y + top_px, x * scale_x + left_px).
struct Placement {
  bool resized = true;       // false: padded or cropped, and moved pixel by pixel
  std::int32_t top_px = 0;   // negative: rows cut off at the top
  std::int32_t left_px = 0;  // negative: columns cut off on the left
  double scale_y = 1;
  double scale_x = 1;
};

/// The placement of `image` on `grid`. Under fit "pad" or "crop" an image is moved if `grid` is the one that
/// resize_target gives without a cap; any other grid (of a cap, or chosen by the planner) is reached by a resize.
NAVIT_EDGE_API Placement placement_of(Size image, Grid grid, const PreprocessSpec& preprocess) noexcept;

}  // namespace navit_edge
