// Rows of an image on its grid: resized, padded or cropped.
#pragma once

#include <array>
#include <cstdint>

#include "navit_edge/image.h"
#include "navit_edge/sizing.h"
#include "resize.h"

namespace navit_edge {

/// Hands rows [row_begin, row_end) of `target` to `sink`, in order: of the resized image, or of the image moved by
/// `placement` over the colour `pad_rgb`. One thread at a time for each `resizer`.
void fit_rows(Resizer& resizer, const ImageView& image, const Placement& placement, Size target, Filter filter,
              const std::array<std::uint8_t, 3>& pad_rgb, std::int32_t row_begin, std::int32_t row_end,
              const Resizer::RowSink& sink);

}  // namespace navit_edge
