#include "fit.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace navit_edge {
namespace {

constexpr std::size_t kPixelBytes = 3;

std::size_t bytes(std::int32_t pixels) { return static_cast<std::size_t>(pixels) * kPixelBytes; }

}  // namespace

void fit_rows(Resizer& resizer, const ImageView& image, const Placement& placement, Size target, Filter filter,
              const std::array<std::uint8_t, 3>& pad_rgb, std::int32_t row_begin, std::int32_t row_end,
              const Resizer::RowSink& sink) {
  if (placement.resized) return resizer.rows(image, target, filter, row_begin, row_end, sink);

  thread_local std::vector<std::uint8_t> blank;  // a row that the image does not reach
  thread_local std::vector<std::uint8_t> mixed;  // a row that it reaches in part; its ends keep the colour
  blank.resize(bytes(target.width_px));
  for (std::size_t i = 0; i < blank.size(); ++i) blank[i] = pad_rgb[i % kPixelBytes];
  mixed = blank;

  // The part of the image that lies on the target.
  const std::int32_t top = placement.top_px;
  const std::int32_t left = std::max(0, placement.left_px);
  const std::int32_t cut = std::max(0, -placement.left_px);
  const std::int32_t width = std::min(image.width_px - cut, target.width_px - left);
  const auto covered = [&](std::int32_t row) { return std::clamp(row, std::max(0, top), top + image.height_px); };
  const std::int32_t first = std::clamp(covered(row_begin), row_begin, row_end);
  const std::int32_t last = std::clamp(covered(row_end), first, row_end);

  for (std::int32_t y = row_begin; y < first; ++y) sink(y, blank.data());
  if (first < last) {  // at the image's own size the resizer moves rows
    resizer.rows(image, image.size(), filter, first - top, last - top, [&](std::int32_t y, const std::uint8_t* row) {
      row += bytes(cut);
      if (width < target.width_px) {
        std::memcpy(mixed.data() + bytes(left), row, bytes(width));
        row = mixed.data();
      }
      sink(y + top, row);
    });
  }
  for (std::int32_t y = last; y < row_end; ++y) sink(y, blank.data());
}

}  // namespace navit_edge
