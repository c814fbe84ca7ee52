// A borrowed image.
#pragma once

#include <cstdint>

#include "navit_edge/types.h"

namespace navit_edge {

/// Pixels of one 8-bit RGB image, (row, column, channel) order. Borrows `data`: the caller keeps it alive and
/// unchanged until the call that takes the view returns.
struct ImageView {
  const std::uint8_t* data = nullptr;  // [height_px, width_px, 3] u8
  std::int32_t height_px = 0;
  std::int32_t width_px = 0;
  std::int32_t channels = 3;
  std::int64_t row_stride_bytes = 0;  // 0: rows are adjacent (width_px * channels)

  [[nodiscard]] Size size() const noexcept { return {height_px, width_px}; }
  [[nodiscard]] std::int64_t stride() const noexcept {
    return row_stride_bytes != 0 ? row_stride_bytes : std::int64_t{width_px} * channels;
  }
};

}  // namespace navit_edge
