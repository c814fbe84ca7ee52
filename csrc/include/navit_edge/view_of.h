// Views of pixels in containers, checked against their size; a view of a temporary does not compile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/image.h"

namespace navit_edge {

/// Bytes in a row: std::vector<std::uint8_t>, std::array, std::span.
template <class T>
concept PixelContainer = std::ranges::contiguous_range<T> && std::ranges::sized_range<T> &&
                         std::is_same_v<std::remove_cv_t<std::ranges::range_value_t<T>>, std::uint8_t>;

/// Borrows `pixels`, [height_px, width_px, channels] with adjacent rows; `format` says how many channels: 1, 3 or 4.
/// Throws InvalidInput if `pixels` has another number of bytes, and for NV12 and I420, which have planes.
template <PixelContainer Pixels>
[[nodiscard]] ImageView view_of(const Pixels& pixels, Size size, PixelFormat format = PixelFormat::kRgb) {
  ImageView view;
  view.data = std::ranges::data(pixels);
  view.height_px = size.height_px;
  view.width_px = size.width_px;
  view.format = format;
  if (format == PixelFormat::kNv12 || format == PixelFormat::kI420) {
    throw InvalidInput("view_of takes pixels of one plane; fill the planes of an ImageView for NV12 and I420");
  }
  view.channels = channels_of(format);
  const std::int64_t expected = std::int64_t{size.height_px} * size.width_px * view.channels;
  if (static_cast<std::int64_t>(std::ranges::size(pixels)) != expected) {
    throw InvalidInput("the image has " + std::to_string(std::ranges::size(pixels)) + " bytes; expected " +
                       std::to_string(expected) + " for " + std::to_string(size.height_px) + " x " +
                       std::to_string(size.width_px) + " pixels of " + std::to_string(view.channels) +
                       " channels; give rows that are not adjacent as an ImageView");
  }
  return view;
}
/// A temporary would be gone before its view is read. Name it, or hand it over: `owned_image`.
template <PixelContainer Pixels>
  requires(!std::ranges::borrowed_range<Pixels>)
ImageView view_of(const Pixels&& pixels, Size size, PixelFormat format = PixelFormat::kRgb) = delete;

/// Takes `pixels` over: an image that may outlive the call. Throws as `view_of` does.
template <PixelContainer Pixels>
  requires(!std::is_reference_v<Pixels> && !std::ranges::borrowed_range<Pixels>)
[[nodiscard]] OwnedImage owned_image(Pixels&& pixels, Size size, PixelFormat format = PixelFormat::kRgb) {
  const auto owner = std::make_shared<const Pixels>(std::move(pixels));
  return {view_of(*owner, size, format), owner};
}

}  // namespace navit_edge
