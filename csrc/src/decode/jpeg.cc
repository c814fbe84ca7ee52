#include "navit_edge/jpeg.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "decode/jpeg_markers.h"
#include "navit_edge/error.h"
#include "pixels/image_check.h"
#include "pixels/resizer.h"
#ifdef NAVIT_EDGE_JPEG
#include "decode/jpeg_reader.h"
#endif

namespace navit_edge {
namespace {

std::string text_of(Size size) { return std::to_string(size.height_px) + " x " + std::to_string(size.width_px); }

}  // namespace

void check_jpeg_scans(std::span<const std::uint8_t> file) {
  std::int32_t scans = 0;
  JpegMarkers markers(file);
  while (const auto marker = markers.next()) {
    if (marker->code != kJpegScan || ++scans <= kMostJpegScans) continue;
    throw InvalidInput(
        "the JPEG file has more than " + std::to_string(kMostJpegScans) +
        " scans, each of which takes as long as a whole image; expected at most that many; save it anew");
  }
}

std::int32_t jpeg_scale(Size image, Size target) noexcept {
  for (const std::int32_t scale : {8, 4, 2}) {
    const auto fits = [scale](std::int32_t side, std::int32_t wanted) {
      return (std::int64_t{side} + scale - 1) / scale >= 2 * std::int64_t{wanted};
    };
    if (fits(image.height_px, target.height_px) && fits(image.width_px, target.width_px)) return scale;
  }
  return 1;
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
  const bool scales = options.resize && options.decode == Decode::kScaled;
  reader.start(scales ? jpeg_scale(size, target) : 1);
  const Size decoded = reader.rows_size();
  if (target == size) {
    for (std::int32_t y = 0; y < size.height_px; ++y) {
      reader.next_row_to(image.pixels.get() + static_cast<std::size_t>(y) * row_bytes);
    }
  } else {
    image.view.resized_from = size;
    thread_local Resizer resizer;
    const PixelRows rows =
        PixelRows::as_they_come(decoded, reader.channels(), reader, pixel_kernels(best_simd_level()));
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
