// Images that are turned by their metadata, and how a session decodes a file.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "navit_edge/image_source.h"
#include "support/check.h"
#include "support/image_files.h"

inline Bytes text(const std::string& given) { return {given.begin(), given.end()}; }

/// EXIF with one entry: orientation, as a SHORT.
inline Bytes exif(std::uint8_t orientation, bool little) {
  Bytes out = text(joined({std::string_view("Exif\0\0", 6), little ? "II" : "MM"}));
  const auto put = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      out.push_back(static_cast<std::uint8_t>(value >> 8 * (little ? i : bytes - 1 - i)));
    }
  };
  put(42, 2);
  put(8, 4);
  put(1, 2);
  put(0x0112, 2);
  put(3, 2);
  put(1, 4);
  put(orientation, 2);
  put(0, 2);
  put(0, 4);
  return out;
}

inline navit_edge::OwnedImage decoded(const Bytes& file, const navit_edge::PreprocessSpec& preprocess = {},
                                      std::optional<navit_edge::Size> resized = std::nullopt,
                                      navit_edge::Decode decode = navit_edge::Decode::kExact) {
  const navit_edge::DecodeTarget target{preprocess, [&](navit_edge::Size) { return resized; }, decode};
  const std::shared_ptr<navit_edge::ImageSource> source = navit_edge::file_source({file.data(), file.size()});
  CHECK(source->held_bytes() == file.size());
  const std::uint64_t bytes = source->open(target);
  navit_edge::OwnedImage image = source->decode();
  CHECK(bytes == static_cast<std::uint64_t>(image.view.height_px) * static_cast<std::uint64_t>(image.view.stride()));
  return image;
}

inline navit_edge::PreprocessSpec upright() {
  navit_edge::PreprocessSpec preprocess;
  preprocess.orientation = navit_edge::Orientation::kApply;
  return preprocess;
}

/// Where the pixel (y, x) of the upright image lies in the stored one of `size`, by EXIF 2.32, 4.6.5.1.6: which sides
/// of the upright image the stored row 0 and column 0 are.
inline std::pair<int, int> stored(int orientation, navit_edge::Size size, int y, int x) {
  const int bottom = size.height_px - 1;
  const int right = size.width_px - 1;
  switch (orientation) {
    case 2:
      return {y, right - x};  // row 0: top, column 0: right
    case 3:
      return {bottom - y, right - x};  // bottom, right
    case 4:
      return {bottom - y, x};  // bottom, left
    case 5:
      return {x, y};  // left, top
    case 6:
      return {bottom - x, y};  // right, top
    case 7:
      return {bottom - x, right - y};  // right, bottom
    case 8:
      return {x, right - y};  // left, bottom
    default:
      return {y, x};
  }
}

inline bool is_turned(const navit_edge::ImageView& turned, const navit_edge::ImageView& whole, int orientation) {
  const auto channels = static_cast<std::size_t>(whole.channels);
  for (int y = 0; y < turned.height_px; ++y) {
    for (int x = 0; x < turned.width_px; ++x) {
      const auto [row, column] = stored(orientation, whole.size(), y, x);
      if (std::memcmp(turned.data + y * turned.stride() + x * turned.channels,
                      whole.data + row * whole.stride() + column * whole.channels, channels) != 0) {
        return false;
      }
    }
  }
  return true;
}
