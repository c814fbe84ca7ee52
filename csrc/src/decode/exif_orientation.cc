#include "decode/exif_orientation.h"

#include <cstddef>
#include <string_view>

namespace navit_edge {
namespace {

constexpr std::uint16_t kOrientationTag = 0x0112;

/// The numbers of a TIFF structure, in its byte order; 0 beyond its end.
class Tiff {
 public:
  explicit Tiff(std::span<const std::uint8_t> bytes) : bytes_(bytes), little_(bytes.size() >= 2 && bytes[0] == 'I') {}

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
  std::span<const std::uint8_t> bytes_;
  bool little_;
};

}  // namespace

std::optional<std::int32_t> orientation_of_exif(std::span<const std::uint8_t> tiff) {
  return Tiff(tiff).value_of(kOrientationTag);
}

std::optional<std::int32_t> orientation_of_xmp(std::span<const std::uint8_t> segment) {
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

std::int32_t orientation_by(std::optional<std::int32_t> exif, std::optional<std::int32_t> xmp) noexcept {
  const std::int32_t found = exif ? *exif : xmp.value_or(1);
  return found >= 1 && found <= 8 ? found : 1;
}

}  // namespace navit_edge
