#include "decode/jpeg_header.h"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "decode/jpeg_markers.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint16_t kOrientationTag = 0x0112;

/// The numbers of a TIFF structure, in its byte order; 0 beyond its end.
class Tiff {
 public:
  explicit Tiff(Bytes bytes) : bytes_(bytes), little_(bytes.size() >= 2 && bytes[0] == 'I') {}

  [[nodiscard]] std::uint32_t number(std::size_t at, std::size_t count) const noexcept {
    if (at > bytes_.size() || count > bytes_.size() - at) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | bytes_[little_ ? at + count - 1 - i : at + i];
    return value;
  }
  /// The value of a tag of the first directory, 0 if that is no small whole number; none if there is no such tag.
  [[nodiscard]] std::optional<std::int32_t> value_of(std::uint16_t tag) const noexcept {
    if (number(2, 2) != 42) return std::nullopt;
    const std::size_t directory = number(4, 4);
    const std::uint32_t count = number(directory, 2);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t entry = directory + 2 + 12 * i;
      if (number(entry, 2) != tag) continue;
      if (number(entry + 4, 4) != 1) return 0;
      const std::uint32_t type = number(entry + 2, 2);
      const std::size_t bytes = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
      const std::uint32_t value = number(entry + 8, bytes);
      return value <= 8 ? static_cast<std::int32_t>(value) : 0;
    }
    return std::nullopt;
  }

 private:
  Bytes bytes_;
  bool little_;
};

bool begins_with(Bytes bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// That of XMP: tiff:Orientation="6" or tiff:Orientation>6.
std::optional<std::int32_t> orientation_of_xmp(Bytes segment) {
  constexpr std::string_view kName = "tiff:Orientation";
  const std::string_view text(reinterpret_cast<const char*>(segment.data()), segment.size());
  for (std::size_t at = text.find(kName); at != std::string_view::npos; at = text.find(kName, at + 1)) {
    std::string_view rest = text.substr(at + kName.size());
    if (rest.substr(0, 2) == "=\"") {
      rest.remove_prefix(2);
    } else if (rest.substr(0, 1) == ">") {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

/// SOF0 to SOF15, but for the three of the same range that are no frames: DHT, JPG, DAC.
bool is_frame(std::uint8_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

std::int32_t number_at(Bytes bytes, std::size_t at) { return bytes[at] * 256 + bytes[at + 1]; }

}  // namespace

JpegHeader read_jpeg_header(Bytes file) {
  if (file.size() < 3 || file[0] != 0xFF || file[1] != 0xD8 || file[2] != 0xFF) {
    throw InvalidInput(
        "is no JPEG file by its first bytes; expected one; decode other formats with a library of yours");
  }
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
      by_exif = Tiff(segment.subspan(6)).value_of(kOrientationTag);
    } else if (marker->code == 0xE1 && !by_xmp && begins_with(segment, {"http://ns.adobe.com/xap/1.0/\0", 29})) {
      by_xmp = orientation_of_xmp(segment.subspan(29));
    } else if (marker->code == 0xE2 && begins_with(segment, {"ICC_PROFILE\0", 12})) {
      header.has_profile = true;
    }
  }
  if (header.components == 0)
    throw InvalidInput("is a JPEG file that ends before its pixels; it is cut off; get it anew");
  const std::int32_t found = by_exif ? *by_exif : by_xmp.value_or(1);
  if (found >= 1 && found <= 8) header.orientation = found;
  return header;
}

}  // namespace navit_edge
