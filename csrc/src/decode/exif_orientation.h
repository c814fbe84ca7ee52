// How an image has to be turned, by the metadata in its file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace navit_edge {

/// Of EXIF, a TIFF structure: the tag's value, 0 if that is no small whole number; none if there is no such tag.
std::optional<std::int32_t> orientation_of_exif(std::span<const std::uint8_t> tiff);

/// Of XMP: tiff:Orientation="6" or tiff:Orientation>6.
std::optional<std::int32_t> orientation_of_xmp(std::span<const std::uint8_t> xmp);

/// 1 to 8, by the rules of Pillow's getexif: EXIF, else XMP; 1 for any other value.
[[nodiscard]] std::int32_t orientation_by(std::optional<std::int32_t> exif, std::optional<std::int32_t> xmp) noexcept;

}  // namespace navit_edge
