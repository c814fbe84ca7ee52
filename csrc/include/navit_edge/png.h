// PNG files decoded by libpng, row by row into the resize (docs/inputs.md). The library is opened when the program
// runs.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "navit_edge/decoded_file.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// Opens libpng 1.6, once for all of the process; later calls say what the first one found. `path`: the library; empty,
/// or if that cannot be used: "libpng16.so.16" of the system. PNG loses nothing, so each gives the same bytes.
/// Thread-safe.
NAVIT_EDGE_API const DecoderLibrary& open_png_library(const std::string& path = "");

/// Largest ancillary chunk (text, profile, EXIF) and most of them that decode_png takes. libpng has the same bytes.
inline constexpr std::uint32_t kMostPngChunkBytes = 8'000'000;
inline constexpr std::int32_t kMostPngChunks = 4096;

/// Whether a PNG file has other chunks behind its pixels than such as change nothing: texts by names that the standard
/// or ImageMagick has, times. decode_png leaves them alone; Pillow takes what it finds there for the image's own.
/// Throws InvalidInput as decode_png does of a header.
[[nodiscard]] NAVIT_EDGE_API bool has_late_png_metadata(std::span<const std::uint8_t> file);

/// Decodes a PNG file that is held in memory: of every colour type and depth, as docs/inputs.md says of depth; gray of
/// 2 and more bits as gray, everything else as RGB, or RGBA if it has an alpha channel or transparent colours.
/// Orientation, gamma and profile are left alone; of an animation the image that readers of PNG see. Besides the pixels
/// that it gives it takes 18 rows, those that the resize works on, and what libpng has, 3 rows and 100 KiB; of an
/// interlaced file all of its pixels, which come in seven passes. Throws InvalidInput if no library is there, for a
/// file that is damaged or cut off in any way, exceeds the limits above, has a transparent gray of 1 or 16 bits, or
/// another size than expected, and for an alpha channel that is to be resized with Alpha::kReject. Any thread.
NAVIT_EDGE_API DecodedFile decode_png(std::span<const std::uint8_t> file, const DecodeRequest& request = {});

}  // namespace navit_edge
