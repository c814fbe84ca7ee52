#include "decode/turn.h"

#include <cstddef>
#include <cstring>
#include <utility>

namespace navit_edge {

ImageView turned_upright(const ImageView& image, std::int32_t orientation, std::uint8_t* pixels) {
  // Where the first pixel comes from, and how far the next ones of a row and of a column lie, in the stored image.
  const bool sideways = turns_sideways(orientation);
  const bool from_the_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_the_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::int64_t down = (from_the_bottom ? -1 : 1) * image.stride();
  const std::int64_t right = (from_the_right ? -1 : 1) * std::int64_t{image.channels};
  const std::uint8_t* const first = image.data + (from_the_bottom ? (image.height_px - 1) * image.stride() : 0) +
                                    (from_the_right ? (std::int64_t{image.width_px} - 1) * image.channels : 0);
  const std::int64_t along_row = sideways ? down : right;
  const std::int64_t along_column = sideways ? right : down;

  ImageView turned = image;
  if (sideways) std::swap(turned.height_px, turned.width_px);
  turned.row_stride_bytes = 0;
  turned.data = pixels;
  const auto bytes = static_cast<std::size_t>(image.channels);
  for (std::int32_t y = 0; y < turned.height_px; ++y) {
    const std::uint8_t* from = first + y * along_column;
    for (std::int32_t x = 0; x < turned.width_px; ++x, from += along_row, pixels += bytes) {
      std::memcpy(pixels, from, bytes);
    }
  }
  return turned;
}

}  // namespace navit_edge
