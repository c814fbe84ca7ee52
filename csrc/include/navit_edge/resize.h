// One image resized, as Pillow or torchvision does, or converted to RGB, as Pillow does.
#pragma once

#include <cstdint>

#include "navit_edge/image.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// The image in RGB, as the model sees it before the resize: channels put in order, gray repeated, NV12 and I420
/// converted, over `background` with Alpha::kComposite. `out` is [height_px, width_px, 3] u8, rows adjacent. Throws
/// InvalidInput.
NAVIT_EDGE_API void convert_to_rgb(const ImageView& image, Alpha alpha, const Rgb& background, std::uint8_t* out);

/// Channels of what `resize_image` gives for `image`: 1 (gray), 4 (RGBA, from RGBA and BGRA), or 3 (RGB, from the
/// rest).
NAVIT_EDGE_API std::int32_t resized_channels(const ImageView& image) noexcept;

/// Resizes one image as Pillow's Image.resize does (8-bit fixed-point separable convolution, antialiased; four channels
/// are premultiplied with the last for it), bit for bit. `out` is [target.height_px, target.width_px,
/// resized_channels(image)] u8, rows adjacent. With kTorchvision as its resize does (kBilinear and kBicubic only; all
/// channels alike). Throws InvalidInput.
NAVIT_EDGE_API void resize_image(const ImageView& image, Size target, Filter filter, std::uint8_t* out,
                                 Processor processor = Processor::kPillow);

}  // namespace navit_edge
