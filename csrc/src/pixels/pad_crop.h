// Rows of an image that is padded or cropped onto its grid.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/function_ref.h"
#include "navit_edge/sizing.h"
#include "pixels/pixel_rows.h"

namespace navit_edge {

/// The rows that pad_crop is at work on, kept from call to call. One thread at a time.
struct PadCropRows {
  std::vector<std::uint8_t> blank;    // a row that the image does not reach
  std::vector<std::uint8_t> mixed;    // a row that it reaches in part; its ends keep the colour
  std::vector<std::uint8_t> scratch;  // a row converted to RGB or gray
  std::vector<std::uint8_t> three;    // a gray row, each value three times
};

/// Hands rows [row_begin, row_end) of `target` to `sink`, in order, in RGB: the image moved pixel by pixel as
/// `placement` says, over the colour `pad_rgb`. `image` is in RGB or gray (PixelRows::rgb).
void pad_crop(const PixelRows& image, const PixelKernels& kernels, const Placement& placement, Size target,
              const Rgb& pad_rgb, std::int32_t row_begin, std::int32_t row_end, PadCropRows& kept,
              FunctionRef<void(std::int32_t y, const std::uint8_t* row)> sink);

}  // namespace navit_edge
