// How a PNG image has to be turned.
#pragma once

#include <cstdint>

#include "decode/png_header.h"

namespace navit_edge {

/// 1 to 8, as EXIF has it: by the chunk eXIf, else by EXIF as text, else by XMP. What is damaged turns nothing.
/// Inflates texts, to no more than kMostPngTextBytes, by the library that open_png_library has found; throws
/// InvalidInput if it has found none.
std::int32_t png_orientation(const PngHeader& header);

/// Of EXIF or XMP that is inflated. Pillow has the same bound.
inline constexpr unsigned long kMostPngTextBytes = 1UL << 20;  // NOLINT(google-runtime-int): zlib's type

}  // namespace navit_edge
