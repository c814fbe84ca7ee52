#include "pixels/image_check.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

struct FormatSpec {
  const char* name;
  std::int32_t channels;  // 0: any of 1, 3, 4
  int planes;             // besides `data`
};

/// [PixelFormat]
constexpr std::array<FormatSpec, 10> kFormats{{{"by channels", 0, 0},
                                               {"gray", 1, 0},
                                               {"RGB", 3, 0},
                                               {"BGR", 3, 0},
                                               {"RGBx", 4, 0},
                                               {"BGRx", 4, 0},
                                               {"RGBA", 4, 0},
                                               {"BGRA", 4, 0},
                                               {"NV12", 1, 1},
                                               {"I420", 1, 2}}};

void check_stride(const std::string& who, const char* what, std::int64_t stride, std::int64_t row_bytes, bool one_row) {
  const std::int64_t step = stride < 0 ? -stride : stride;
  if (step < row_bytes && !one_row) {
    throw InvalidInput(who + " has " + what + " " + std::to_string(stride) +
                       " bytes apart, which overlap; expected at least " + std::to_string(row_bytes) +
                       ", what a row has, or that much backwards; pass the stride in bytes, or 0 for adjacent rows");
  }
}

}  // namespace

void check_image(const ImageView& image, const std::string& who) {
  const std::string size = std::to_string(image.height_px) + " x " + std::to_string(image.width_px);
  if (image.height_px < 1 || image.width_px < 1) {
    throw InvalidInput(who + " has " + size + " pixels (height x width); both sides must be at least 1");
  }
  if (image.height_px > kMostSidePx || image.width_px > kMostSidePx) {
    throw InvalidInput(who + " has " + size + " pixels (height x width); expected at most " +
                       std::to_string(kMostSidePx) + " a side; tile it");
  }
  if (image.data == nullptr) throw InvalidInput(who + " has no pixels: its data is null; expected " + size + " pixels");
  const auto format = static_cast<std::size_t>(image.format);
  if (format >= kFormats.size()) {
    throw InvalidInput(who + " has the pixel format " + std::to_string(static_cast<std::int32_t>(image.format)) +
                       "; expected one of PixelFormat");
  }
  const FormatSpec& spec = kFormats[format];
  if (spec.channels == 0 && image.channels != 1 && image.channels != 3 && image.channels != 4) {
    throw InvalidInput(who + " has " + std::to_string(image.channels) +
                       " channels; expected 1 (gray), 3 (RGB) or 4 (RGBA), 8 bits each; convert it first");
  }
  if (spec.channels > 0 && image.channels != spec.channels) {
    throw InvalidInput(who + " is " + spec.name + " with " + std::to_string(image.channels) + " channels; expected " +
                       std::to_string(spec.channels) + "; set ImageView::channels");
  }
  check_stride(who, "rows", image.stride(), std::int64_t{image.width_px} * image.channels, image.height_px == 1);
  const std::int64_t pairs = (std::int64_t{image.width_px} + 1) / 2;
  if (spec.planes > 0 && image.next_frame != nullptr) {
    throw InvalidInput(who + " is " + spec.name +
                       " with a frame that follows; expected RGB or another format without planes");
  }
  for (int i = 0; i < spec.planes; ++i) {
    if (image.planes[i] == nullptr) {
      throw InvalidInput(who + " is " + spec.name + " and lacks a chroma plane: planes[" + std::to_string(i) +
                         "] is null; expected " + std::to_string((image.height_px + 1) / 2) + " x " +
                         std::to_string(pairs) + " chroma values");
    }
    const std::int64_t row_bytes = pairs * (spec.planes == 1 ? 2 : 1);
    check_stride(who, "chroma rows", image.plane_stride(i), row_bytes, image.height_px <= 2);
  }
}

void check_image(const ImageView& image, const std::string& who, Alpha alpha) {
  check_image(image, who);
  const PixelFormat format = image.pixel_format();
  if (alpha == Alpha::kReject && (format == PixelFormat::kRgba || format == PixelFormat::kBgra)) {
    throw InvalidInput(who +
                       " has an alpha channel, and alpha is \"reject\"; expected RGB; "
                       "composite it over a colour, or drop alpha with image[:, :, :3]");
  }
}

void check_image(const ImageView& image, const std::string& who, const PreprocessSpec& preprocess) {
  check_image(image, who, preprocess.alpha);
  if (image.next_frame != nullptr && preprocess.frames == 1) {
    throw InvalidInput(who +
                       " is two frames, and the bundle takes images; pass them one by one, or export the model for "
                       "films: --frames 2");
  }
}

std::uint64_t bytes_of(const ImageView& view) {
  const auto rows = static_cast<std::uint64_t>(std::max(view.height_px, 0));
  std::uint64_t bytes = rows * static_cast<std::uint64_t>(std::llabs(view.stride()));
  for (int plane = 0; plane < 2; ++plane) {
    if (view.planes[plane] == nullptr) continue;
    bytes += (rows + 1) / 2 * static_cast<std::uint64_t>(std::llabs(view.plane_stride(plane)));
  }
  return view.next_frame != nullptr ? 2 * bytes : bytes;
}

}  // namespace navit_edge
