// What every entry point asks of an image: whether it can be read, and how much memory it keeps.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

inline constexpr std::int32_t kMostSidePx = 1 << 20;

/// Throws InvalidInput where `image` cannot be read. `who` opens the message: "image 3".
void check_image(const ImageView& image, const std::string& who);

/// Also if it has an alpha channel and `alpha` is kReject.
void check_image(const ImageView& image, const std::string& who, Alpha alpha);

/// Also if it has an alpha channel that is to be rejected, or two frames and the model takes one.
void check_image(const ImageView& image, const std::string& who, const PreprocessSpec& preprocess);

/// Bytes of pixels that the view borrows, as far as rows go.
std::uint64_t bytes_of(const ImageView& view);

}  // namespace navit_edge
