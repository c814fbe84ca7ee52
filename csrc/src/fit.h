// Rows of an image that is padded or cropped onto its grid.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "navit_edge/sizing.h"
#include "pixel_rows.h"

namespace navit_edge {

/// Hands rows [row_begin, row_end) of `target` to `sink`, in order, in RGB: the image moved pixel by pixel as
/// `placement` says, over the colour `pad_rgb`. `image` is in RGB or gray (PixelRows::rgb).
void fit_rows(const PixelRows& image, const PixelKernels& kernels, const Placement& placement, Size target,
              const std::array<std::uint8_t, 3>& pad_rgb, std::int32_t row_begin, std::int32_t row_end,
              const std::function<void(std::int32_t y, const std::uint8_t* row)>& sink);

}  // namespace navit_edge
