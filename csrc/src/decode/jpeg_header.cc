#include "decode/jpeg_header.h"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "decode/exif_orientation.h"
#include "decode/jpeg_markers.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

using Bytes = std::span<const std::uint8_t>;

bool begins_with(Bytes bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// SOF0 to SOF15, but for the three of the same range that are no frames: DHT, JPG, DAC.
bool is_frame(std::uint8_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

std::int32_t number_at(Bytes bytes, std::size_t at) { return bytes[at] * 256 + bytes[at + 1]; }

}  // namespace

bool is_jpeg(Bytes file) noexcept { return file.size() >= 3 && file[0] == 0xFF && file[1] == 0xD8 && file[2] == 0xFF; }

JpegHeader read_jpeg_header(Bytes file) {
  if (!is_jpeg(file)) throw InvalidInput("is no JPEG file by its first bytes; expected one");
  JpegHeader header;
  std::optional<std::int32_t> by_exif;
  std::optional<std::int32_t> by_xmp;
  JpegMarkers markers(file);
  while (const auto marker = markers.next()) {
    if (marker->code == kJpegScan) break;
    const Bytes segment = marker->segment;
    if (is_frame(marker->code) && header.components == 0 && segment.size() >= 6) {
      header.size = {number_at(segment, 1), number_at(segment, 3)};
      header.components = segment[5];
    } else if (marker->code == 0xE1 && !by_exif && begins_with(segment, {"Exif\0\0", 6})) {
      by_exif = orientation_of_exif(segment.subspan(6));
    } else if (marker->code == 0xE1 && !by_xmp && begins_with(segment, {"http://ns.adobe.com/xap/1.0/\0", 29})) {
      by_xmp = orientation_of_xmp(segment.subspan(29));
    } else if (marker->code == 0xE2 && begins_with(segment, {"ICC_PROFILE\0", 12})) {
      header.has_profile = true;
    }
  }
  if (header.components == 0)
    throw InvalidInput("is a JPEG file that ends before its pixels; it is cut off; get it anew");
  header.orientation = orientation_by(by_exif, by_xmp);
  return header;
}

}  // namespace navit_edge
