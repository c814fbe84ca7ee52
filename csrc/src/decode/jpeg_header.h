// What a JPEG file says of itself before its pixels.
#pragma once

#include <cstdint>
#include <span>

#include "navit_edge/types.h"

namespace navit_edge {

struct JpegHeader {
  Size size{};                   // of the stored image, before it is turned
  std::int32_t components = 0;   // 1: gray, 3: colour, 4: CMYK
  std::int32_t orientation = 1;  // 1 to 8, as EXIF has it, by the rules of Pillow's getexif: EXIF, else XMP
  bool has_profile = false;      // an ICC profile, of whatever kind
};

/// Whether a file is one by its first bytes.
[[nodiscard]] bool is_jpeg(std::span<const std::uint8_t> file) noexcept;

/// Follows the markers as far as the first scan. Throws InvalidInput if it is no JPEG file, or has no frame before
/// that. What is damaged in EXIF turns nothing.
JpegHeader read_jpeg_header(std::span<const std::uint8_t> file);

}  // namespace navit_edge
