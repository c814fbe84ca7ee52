#include "navit_edge/placement.h"

#include <cmath>
#include <variant>

#include "sizing/rules.h"

namespace navit_edge {
namespace {

/// Where the image's first pixel lies on a side of `target_px`, as torchvision's center_crop places it.
std::int32_t centred(std::int32_t side_px, std::int32_t target_px) {
  if (side_px < target_px) return (target_px - side_px) / 2;
  return -static_cast<std::int32_t>(std::nearbyint((side_px - target_px) / 2.0));
}

}  // namespace

Placement placement_of(Size image, Grid grid, const PreprocessSpec& preprocess) noexcept {
  const std::int32_t patch_px = preprocess.patch_px;
  std::int64_t height_px = std::int64_t{grid.rows} * patch_px;
  std::int64_t width_px = std::int64_t{grid.cols} * patch_px;
  Placement placement;
  placement.patch_px = patch_px;
  const auto* native = std::get_if<Native>(&preprocess.sizing.rule);
  if (native != nullptr && native->fit != Fit::kResize && grid == native_grid(image, native->fit, patch_px)) {
    placement.resized = false;
    if (native->fit == Fit::kCrop) {
      placement.top_px = centred(image.height_px, static_cast<std::int32_t>(height_px));
      placement.left_px = centred(image.width_px, static_cast<std::int32_t>(width_px));
    }
    return placement;
  }
  if (const auto* fills = std::get_if<NavitResize>(&preprocess.sizing.rule)) {
    const FilledGrid filled = filled_grid(*fills, image, patch_px, preprocess.sizing.cap_tokens);
    if (grid == filled.grid) {
      height_px = filled.content.height_px;
      width_px = filled.content.width_px;
    }
  }
  placement.scale_y = static_cast<double>(height_px) / image.height_px;
  placement.scale_x = static_cast<double>(width_px) / image.width_px;
  return placement;
}

Size resized_size(Size image, const Placement& placement) noexcept {
  return {static_cast<std::int32_t>(std::lround(image.height_px * placement.scale_y)),
          static_cast<std::int32_t>(std::lround(image.width_px * placement.scale_x))};
}

}  // namespace navit_edge
