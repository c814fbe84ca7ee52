// Turning pixels upright.
#pragma once

#include <cstdint>
#include <memory>

#include "navit_edge/image.h"

namespace navit_edge {

/// Whether height and width change places.
[[nodiscard]] constexpr bool turns_sideways(std::int32_t orientation) noexcept { return orientation >= 5; }

/// `image` turned and mirrored as EXIF's orientation says, 1 to 8, in `pixels`: [height_px * width_px * channels], in
/// adjacent rows. Of formats without planes. As Pillow's ImageOps.exif_transpose.
ImageView turned_upright(const ImageView& image, std::int32_t orientation, std::uint8_t* pixels);

}  // namespace navit_edge
