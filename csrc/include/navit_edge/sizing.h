// Sizing: how large an image becomes, and how its pixels get there. Sizes only, no pixels (docs/preprocessing.md).
#pragma once

#include <cstdint>
#include <string_view>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// Reads `preprocess.sizing` of a manifest, by itself: {"rule": "naflex", "max_tokens": 256}. Throws BundleError for an
/// unknown rule or field, and for fields that do not fit the rule.
NAVIT_EDGE_API SizingSpec parse_sizing(std::string_view json, std::int32_t patch_px);

/// `sizing` for a caller who wants at most `max_tokens` patches an image: the bundle's own limit is lowered, never
/// raised. Throws InvalidInput below 1, and where no image can keep the limit under the rule.
NAVIT_EDGE_API SizingSpec capped(SizingSpec sizing, std::int32_t patch_px, std::int32_t max_tokens);

/// The grid of an image under the rule of `preprocess`, whose fields are such as parse_sizing accepts. Throws
/// InvalidInput for an empty image, and for one that the rule refuses.
NAVIT_EDGE_API Grid resize_target(Size image, const PreprocessSpec& preprocess);

/// How an image lies on its grid: its point (y, x), in pixels, is at (y * scale_y + top_px, x * scale_x + left_px).
struct Placement {
  bool resized = true;       // false: padded or cropped, and moved pixel by pixel
  std::int32_t top_px = 0;   // negative: rows cut off at the top
  std::int32_t left_px = 0;  // negative: columns cut off on the left
  double scale_y = 1;
  double scale_x = 1;
};

/// The placement of `image` on `grid`. Under fit "pad" or "crop" an image is moved where `grid` is the one that
/// resize_target gives without a cap; any other grid (of a cap, or chosen by the planner) is reached by a resize.
NAVIT_EDGE_API Placement placement_of(Size image, Grid grid, const PreprocessSpec& preprocess) noexcept;

}  // namespace navit_edge
