#include "decode/file_rows.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "navit_edge/error.h"
#include "pixels/image_check.h"
#include "pixels/kernels/pixel_kernels.h"
#include "pixels/pixel_rows.h"
#include "pixels/resizer.h"

namespace navit_edge {
namespace {

std::string sides_of(Size size) {
  return std::to_string(size.height_px) + " x " + std::to_string(size.width_px) + " pixels (height x width)";
}

PixelFormat format_of(std::int32_t channels) {
  return channels == 1 ? PixelFormat::kGray : channels == 3 ? PixelFormat::kRgb : PixelFormat::kRgba;
}

}  // namespace

std::size_t FileRows::row_bytes() const noexcept {
  return static_cast<std::size_t>(rows_size().width_px) * static_cast<std::size_t>(channels());
}

const std::uint8_t* FileRows::row(std::int32_t y) {
  const std::size_t apart = row_bytes() + kPixelSlack;
  kept_.resize(kBlockRows * apart);
  const auto place = [&](std::int32_t at) { return kept_.data() + static_cast<std::size_t>(at % kBlockRows) * apart; };
  while (next_ <= y) next_row_to(place(next_));
  return place(y);
}

void FileRows::next_row_to(std::uint8_t* to) {
  read_row(to);
  ++next_;
}

void FileRows::finish() {
  const std::int32_t last = rows_size().height_px - 1;
  if (next_ <= last) row(last);
  read_end();
}

void check_request(const DecodeRequest& request, Size size, const char* format) {
  const std::string who = std::string("the ") + format + " file is " + sides_of(size);
  if (request.expected.height_px > 0 && size != request.expected) {
    throw InvalidInput(who + "; expected " + sides_of(request.expected) +
                       ", as its header was read before; check the file");
  }
  if (std::int64_t{size.height_px} * size.width_px > request.most_pixels) {
    throw InvalidInput(who + "; expected at most " + std::to_string(request.most_pixels) +
                       " in all; raise DecodeRequest::most_pixels");
  }
  if (!request.resize) return;
  if (std::min(request.resize->height_px, request.resize->width_px) < 1 ||
      std::max(request.resize->height_px, request.resize->width_px) > kMostSidePx) {
    throw InvalidInput("the target size is " + sides_of(*request.resize) + "; both must be at least 1 and at most " +
                       std::to_string(kMostSidePx));
  }
  if (!has_filter(request.processor, request.filter)) {
    throw InvalidInput("filter is '" + std::string(word_of(request.filter)) +
                       "'; expected bilinear or bicubic with processor \"torchvision\"; \"pillow\" has all filters");
  }
}

DecodedFile image_of(FileRows& rows, Size size, const DecodeRequest& request) {
  const Size target = request.resize.value_or(size);
  const Size decoded = rows.rows_size();
  DecodedFile image;
  image.view.height_px = target.height_px;
  image.view.width_px = target.width_px;
  image.view.channels = rows.channels();
  image.view.format = format_of(rows.channels());
  const auto row_bytes = static_cast<std::size_t>(image.view.stride());
  // Not make_unique, which would write zeros first.
  image.pixels.reset(new std::uint8_t[static_cast<std::size_t>(target.height_px) * row_bytes + kPixelSlack]);
  image.view.data = image.pixels.get();
  const auto place = [&](std::int32_t y) { return image.pixels.get() + static_cast<std::size_t>(y) * row_bytes; };
  if (target == size) {
    for (std::int32_t y = 0; y < size.height_px; ++y) rows.next_row_to(place(y));
  } else {
    image.view.resized_from = size;
    thread_local Resizer resizer;
    const PixelRows source = PixelRows::as_they_come(decoded, rows.channels(), rows, pixel_kernels(best_simd_level()));
    resizer.rows(
        source, target, request.filter, 0, target.height_px,
        [&](std::int32_t y, const std::uint8_t* row) { std::memcpy(place(y), row, row_bytes); }, request.processor);
  }
  rows.finish();
  return image;
}

}  // namespace navit_edge
