// JPEG files decoded by libjpeg-turbo, row by row into the resize (docs/inputs.md). The library is opened when the
// program runs, so that Python decodes with the very copy that Pillow uses and gets the same bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "navit_edge/decoded_file.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// Opens libjpeg-turbo, once for all of the process; later calls say what the first one found. `path`: the library, or
/// one that is linked to it, as Pillow's module is; empty: "libjpeg.so.62" of the system. Of another binary interface
/// than that of libjpeg 6.2 none is used. Thread-safe.
NAVIT_EDGE_API const DecoderLibrary& open_jpeg_library(const std::string& path = "");

/// Most scans of a progressive file; encoders make about ten.
inline constexpr std::int32_t kMostJpegScans = 500;

/// Throws InvalidInput if the file has more scans, each of which takes as long as a whole image and a few bytes of
/// file. Looks at markers only, as far as they can be followed.
NAVIT_EDGE_API void check_jpeg_scans(std::span<const std::uint8_t> file);

/// The largest of 8, 4, 2 and 1 for which an image that is divided by it, rounded up, still has at least twice the
/// sides of `target`: by what Decode::kScaled divides. 1 if there is none.
[[nodiscard]] NAVIT_EDGE_API std::int32_t jpeg_scale(Size image, Size target) noexcept;

/// Decodes a JPEG file that is held in memory, as Pillow does: slow integer DCT, smooth upsampling. Orientation and
/// profile are left alone. Besides the pixels that it gives it takes some tens of rows; of a progressive file its
/// coefficients, two bytes for each. Throws InvalidInput if no library is there, for a file that is damaged or cut off
/// in any way, has neither one nor three channels of eight bits, more than kMostJpegScans scans, or another size than
/// expected. Any thread.
NAVIT_EDGE_API DecodedFile decode_jpeg(std::span<const std::uint8_t> file, const DecodeRequest& request = {});

}  // namespace navit_edge
