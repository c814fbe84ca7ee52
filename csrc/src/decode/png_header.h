// What a PNG file says of itself: its chunks (https://www.w3.org/TR/png-3/), without decoding any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "navit_edge/types.h"

namespace navit_edge {

/// As the header has them.
enum class PngColour : std::uint8_t { kGray = 0, kRgb = 2, kPalette = 3, kGrayAlpha = 4, kRgba = 6 };

/// The value of a text chunk; empty if there is none.
struct PngText {
  std::span<const std::uint8_t> bytes;
  bool compressed = false;  // by zlib
};

/// Borrows the file.
struct PngHeader {
  Size size{};            // of the stored image, before it is turned
  std::int32_t bits = 0;  // of a sample or an index: 1, 2, 4, 8 or 16
  PngColour colour = PngColour::kGray;
  bool interlaced = false;
  std::span<const std::uint8_t> palette;                      // [entries, 3], at most 256
  std::optional<std::span<const std::uint8_t>> transparency;  // the chunk tRNS

  bool has_profile = false;            // an ICC profile, of whatever kind
  std::span<const std::uint8_t> exif;  // the chunk eXIf
  PngText exif_text;                   // in the text that ImageMagick writes, "Raw profile type exif"
  PngText xmp;
  bool has_late_metadata = false;  // as has_late_png_metadata has it

  /// Whether decoded pixels have an alpha channel.
  [[nodiscard]] bool has_alpha() const noexcept {
    return colour == PngColour::kGrayAlpha || colour == PngColour::kRgba || transparency.has_value();
  }
  /// Of decoded pixels: 1 of gray with 2 and more bits, 4 with alpha, else 3. Of one bit Pillow makes colours.
  [[nodiscard]] std::int32_t channels() const noexcept {
    if (has_alpha()) return 4;
    return colour == PngColour::kGray && bits > 1 ? 1 : 3;
  }
};

/// Whether a file is one by its first bytes.
[[nodiscard]] bool is_png(std::span<const std::uint8_t> file) noexcept;

/// Follows the chunks from the first to the last. Throws InvalidInput if it is no PNG file, is cut off, lacks a chunk
/// that it needs, has one that is damaged or in the wrong place, or more or larger ones than kMostPngChunks and
/// kMostPngChunkBytes. Checksums are for who decodes.
PngHeader read_png_header(std::span<const std::uint8_t> file);

}  // namespace navit_edge
