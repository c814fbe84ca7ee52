// How much memory an image keeps while it waits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "navit_edge/image.h"

namespace navit_edge {

/// Bytes of pixels that the view borrows, as far as rows go.
inline std::uint64_t bytes_of(const ImageView& view) {
  const auto rows = static_cast<std::uint64_t>(std::max(view.height_px, 0));
  std::uint64_t bytes = rows * static_cast<std::uint64_t>(std::llabs(view.stride()));
  for (int plane = 0; plane < 2; ++plane) {
    if (view.planes[plane] == nullptr) continue;
    const std::int64_t stride = view.plane_stride_bytes[plane];
    const std::int64_t adjacent = (view.width_px + 1) / 2 * (view.pixel_format() == PixelFormat::kNv12 ? 2 : 1);
    bytes += (rows + 1) / 2 * static_cast<std::uint64_t>(std::llabs(stride != 0 ? stride : adjacent));
  }
  return bytes;
}

}  // namespace navit_edge
