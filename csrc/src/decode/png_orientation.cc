#include "decode/png_orientation.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "decode/exif_orientation.h"
#include "decode/png_functions.h"

namespace navit_edge {
namespace {

using TextBytes = std::vector<std::uint8_t>;

/// Empty if it cannot be inflated.
TextBytes inflated(const PngText& text) {
  if (!text.compressed || text.bytes.empty()) return {text.bytes.begin(), text.bytes.end()};
  TextBytes out(kMostPngTextBytes);
  unsigned long size = kMostPngTextBytes;  // NOLINT(google-runtime-int): zlib's type
  const int failed = png_functions().uncompress(out.data(), &size, text.bytes.data(), text.bytes.size());
  out.resize(failed != 0 ? 0 : size);
  return out;
}

int hex_digit(std::uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int letter = c | 0x20;
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/// ImageMagick's text: an empty line, a name, a length, then hexadecimal bytes. None if it is damaged.
std::optional<TextBytes> bytes_of_profile(const TextBytes& text) {
  auto at = text.begin();
  for (int line = 0; line < 3; ++line) {
    at = std::find(at, text.end(), std::uint8_t{'\n'});
    if (at == text.end()) return TextBytes{};
    ++at;
  }
  TextBytes out;
  int high = -1;
  for (; at != text.end(); ++at) {
    if (*at == '\n' || *at == ' ' || *at == '\r' || *at == '\t') continue;
    const int digit = hex_digit(*at);
    if (digit < 0) return std::nullopt;
    if (high >= 0) out.push_back(static_cast<std::uint8_t>(high * 16 + digit));
    high = high >= 0 ? -1 : digit;
  }
  if (high >= 0) return std::nullopt;
  return out;
}

/// Without the "Exif\0\0" that JPEG files have before it, once or twice.
std::span<const std::uint8_t> tiff_of(std::span<const std::uint8_t> exif) {
  constexpr std::string_view kExif{"Exif\0\0", 6};
  for (int i = 0; i < 2; ++i) {
    if (exif.size() >= kExif.size() && std::equal(kExif.begin(), kExif.end(), exif.begin(), [](char a, std::uint8_t b) {
          return static_cast<std::uint8_t>(a) == b;
        })) {
      exif = exif.subspan(kExif.size());
    }
  }
  return exif;
}

std::optional<std::int32_t> by_exif(const PngHeader& header) {
  if (!header.exif.empty()) return orientation_of_exif(tiff_of(header.exif));
  if (header.exif_text.bytes.empty()) return std::nullopt;
  const std::optional<TextBytes> bytes = bytes_of_profile(inflated(header.exif_text));
  if (!bytes) return 0;
  return orientation_of_exif(tiff_of(*bytes));
}

}  // namespace

std::int32_t png_orientation(const PngHeader& header) {
  const std::optional<std::int32_t> exif = by_exif(header);
  if (exif || header.xmp.bytes.empty()) return orientation_by(exif, std::nullopt);
  return orientation_by(std::nullopt, orientation_of_xmp(inflated(header.xmp)));
}

}  // namespace navit_edge
