#include "navit_edge/resize.h"

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/index.h"
#include "navit_edge/error.h"
#include "pixels/image_check.h"
#include "pixels/resizer.h"

namespace navit_edge {
namespace {}  // namespace

void convert_to_rgb(const ImageView& image, Alpha alpha, const Rgb& background, std::uint8_t* out) {
  check_image(image, "the image", alpha);
  const PixelKernels& kernels = pixel_kernels(best_simd_level());
  const PixelRows rows = PixelRows::rgb(image, alpha, background, kernels);
  const auto width = static_cast<std::size_t>(image.width_px);
  std::vector<std::uint8_t> scratch(rows.scratch_bytes(image.width_px));
  std::vector<std::uint8_t> three(width * kChannels + kPixelSlack);
  for (std::int32_t y = 0; y < image.height_px; ++y, out += width * kChannels) {
    const std::uint8_t* row = rows.pixels(y, 0, image.width_px, scratch.data());
    if (rows.channels() == 1) {
      kernels.expand(row, width, three.data());
      row = three.data();
    }
    std::memcpy(out, row, width * kChannels);
  }
}

std::int32_t resized_channels(const ImageView& image) noexcept {
  switch (image.pixel_format()) {
    case PixelFormat::kGray:
      return 1;
    case PixelFormat::kRgba:
    case PixelFormat::kBgra:
      return 4;
    default:
      return 3;
  }
}

void resize_image(const ImageView& image, Size target, Filter filter, std::uint8_t* out, Processor processor) {
  check_image(image, "the image");
  if (target.height_px < 1 || target.width_px < 1 || target.height_px > kMostSidePx || target.width_px > kMostSidePx) {
    throw InvalidInput("the target size is " + std::to_string(target.height_px) + " x " +
                       std::to_string(target.width_px) +
                       " pixels (height x width); both must be at least 1 and at most " + std::to_string(kMostSidePx));
  }
  if (!has_filter(processor, filter)) {
    throw InvalidInput("filter is '" + std::string(word_of(filter)) +
                       "'; expected bilinear or bicubic with processor=\"torchvision\"; \"pillow\" has all filters");
  }
  const PixelKernels& pixels = pixel_kernels(best_simd_level());
  // Pillow premultiplies, so that hidden colours do not bleed; not if it copies pixels.
  const bool blends = processor != Processor::kTorchvision && resized_channels(image) == 4 &&
                      filter != Filter::kNearest && image.size() != target;
  const PixelRows source = PixelRows::own(image, blends, pixels);
  const std::size_t row_bytes = index(target.width_px) * index(source.channels());
  thread_local Resizer resizer;
  resizer.rows(
      source, target, filter, 0, target.height_px,
      [&](std::int32_t y, const std::uint8_t* row) {
        std::uint8_t* to = out + index(y) * row_bytes;
        if (blends) {
          pixels.unpremultiply(row, index(target.width_px), to);
        } else {
          std::memcpy(to, row, row_bytes);
        }
        if (image.pixel_format() == PixelFormat::kBgra) {
          for (std::size_t at = 0; at < row_bytes; at += 4) std::swap(to[at], to[at + 2]);
        }
      },
      processor);
}

}  // namespace navit_edge
