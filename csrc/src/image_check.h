// What every entry point asks of an image.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/image.h"

namespace navit_edge {

/// Throws InvalidInput where `image` cannot be read. `who` opens the message: "image 3".
inline void check_image(const ImageView& image, const std::string& who) {
  const std::string size = std::to_string(image.height_px) + " x " + std::to_string(image.width_px);
  if (image.height_px < 1 || image.width_px < 1) {
    throw InvalidInput(who + " has " + size + " pixels (height x width); both sides must be at least 1");
  }
  if (image.data == nullptr) throw InvalidInput(who + " has no pixels: its data is null; expected " + size + " pixels");
  if (image.channels != 3) {
    throw InvalidInput(who + " has " + std::to_string(image.channels) +
                       " channels; expected 3 (RGB, 8 bits each); convert it first");
  }
  const std::int64_t row_bytes = std::int64_t{image.width_px} * image.channels;
  const std::int64_t step = image.stride() < 0 ? -image.stride() : image.stride();
  if (step < row_bytes && image.height_px > 1) {
    throw InvalidInput(who + " has rows " + std::to_string(image.stride()) + " bytes apart, which overlap; a row of " +
                       std::to_string(image.width_px) + " pixels has " + std::to_string(row_bytes) + " bytes");
  }
}

}  // namespace navit_edge
