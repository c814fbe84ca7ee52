#include "navit_edge/jpeg.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "navit_edge/error.h"
#include "pixels/image_check.h"
#include "pixels/resizer.h"
#ifdef NAVIT_EDGE_JPEG
#include "decode/jpeg_reader.h"
#endif

namespace navit_edge {
namespace {

constexpr std::uint8_t kEnd = 0xD9;
constexpr std::uint8_t kScan = 0xDA;

/// Markers that stand alone, without a length: TEM, RST0 to RST7, SOI.
bool stands_alone(std::uint8_t marker) { return marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8); }

std::string text_of(Size size) { return std::to_string(size.height_px) + " x " + std::to_string(size.width_px); }

}  // namespace

void check_jpeg_scans(std::span<const std::uint8_t> file) {
  const std::uint8_t* at = file.data();
  const std::uint8_t* const end = at + file.size();
  std::int32_t scans = 0;
  while (at < end) {
    // What lies between markers, coded pixels or garbage, is passed over as decoders do.
    at = static_cast<const std::uint8_t*>(std::memchr(at, 0xFF, static_cast<std::size_t>(end - at)));
    if (at == nullptr) return;
    while (at < end && *at == 0xFF) ++at;
    if (at == end) return;
    const std::uint8_t marker = *at++;
    if (marker == 0 || stands_alone(marker)) continue;
    if (marker == kEnd) return;
    if (marker == kScan && ++scans > kMostJpegScans) {
      throw InvalidInput(
          "the JPEG file has more than " + std::to_string(kMostJpegScans) +
          " scans, each of which takes as long as a whole image; expected at most that many; save it anew");
    }
    if (end - at < 2) return;
    const std::ptrdiff_t length = at[0] * 256 + at[1];
    at += length < end - at ? length : end - at;
  }
}

#ifdef NAVIT_EDGE_JPEG

namespace {

void check_size(Size size, const JpegOptions& options) {
  if (options.expected.height_px > 0 && size != options.expected) {
    throw InvalidInput("the JPEG file is " + text_of(size) + " pixels (height x width); expected " +
                       text_of(options.expected) + ", as its header was read before; check the file");
  }
  if (std::int64_t{size.height_px} * size.width_px > options.most_pixels) {
    throw InvalidInput("the JPEG file is " + text_of(size) + " pixels (height x width); expected at most " +
                       std::to_string(options.most_pixels) + " in all; raise JpegOptions::most_pixels");
  }
}

}  // namespace

JpegImage decode_jpeg(std::span<const std::uint8_t> file, const JpegOptions& options) {
  check_jpeg_scans(file);
  if (options.resize && (std::min(options.resize->height_px, options.resize->width_px) < 1 ||
                         std::max(options.resize->height_px, options.resize->width_px) > kMostSidePx)) {
    throw InvalidInput("the target size is " + text_of(*options.resize) +
                       " pixels (height x width); both must be at least 1 and at most " + std::to_string(kMostSidePx));
  }
  if (options.resize && !has_filter(options.processor, options.filter)) {
    throw InvalidInput("filter is '" + std::string(word_of(options.filter)) +
                       "'; expected bilinear or bicubic with processor \"torchvision\"; \"pillow\" has all filters");
  }
  JpegReader reader(file);
  const Size size = reader.size();
  check_size(size, options);
  const Size target = options.resize.value_or(size);
  JpegImage image;
  image.view.height_px = target.height_px;
  image.view.width_px = target.width_px;
  image.view.channels = reader.channels();
  image.view.format = reader.channels() == 1 ? PixelFormat::kGray : PixelFormat::kRgb;
  const std::size_t row_bytes = static_cast<std::size_t>(target.width_px) * static_cast<std::size_t>(reader.channels());
  // Not make_unique, which would write zeros first.
  image.pixels.reset(new std::uint8_t[static_cast<std::size_t>(target.height_px) * row_bytes]);
  image.view.data = image.pixels.get();
  reader.start();
  if (target == size) {
    for (std::int32_t y = 0; y < size.height_px; ++y) {
      reader.next_row_to(image.pixels.get() + static_cast<std::size_t>(y) * row_bytes);
    }
  } else {
    image.view.resized_from = size;
    thread_local Resizer resizer;
    const PixelRows rows = PixelRows::as_they_come(size, reader.channels(), reader, pixel_kernels(best_simd_level()));
    resizer.rows(
        rows, target, options.filter, 0, target.height_px,
        [&](std::int32_t y, const std::uint8_t* row) {
          std::memcpy(image.pixels.get() + static_cast<std::size_t>(y) * row_bytes, row, row_bytes);
        },
        options.processor);
  }
  reader.finish();
  return image;
}

#else

const JpegLibrary& open_jpeg_library(const std::string&) {
  static const JpegLibrary none{
      "",
      "navit_edge was built without jpeglib.h; pip install --no-deps "
      "--ignore-requires-python comma-deps-libjpeg, or apt install libjpeg-dev, and build it again"};
  return none;
}

JpegImage decode_jpeg(std::span<const std::uint8_t>, const JpegOptions&) {
  throw InvalidInput("JPEG files cannot be decoded here: " + open_jpeg_library().why_not);
}

#endif

}  // namespace navit_edge
