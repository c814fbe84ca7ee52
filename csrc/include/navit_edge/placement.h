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
  std::int32_t patch_px = 0;  // side of a patch of the grid; 0: not known
};

/// The placement of `image` on `grid`. Under fit "pad" or "crop" an image is moved if `grid` is the one that
/// resize_target gives without a cap; any other grid (of a cap, or chosen by the planner) is reached by a resize. Under
/// the rule navit-resize an image covers a part of the grid that resize_target gives; any other grid it covers whole.
NAVIT_EDGE_API Placement placement_of(Size image, Grid grid, const PreprocessSpec& preprocess) noexcept;

/// What an image is resized to; if that is less than its grid, the rest at the bottom and on the right is filled up.
NAVIT_EDGE_API Size resized_size(Size image, const Placement& placement) noexcept;

}  // namespace navit_edge
