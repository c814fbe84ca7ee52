#include "pixels/pad_crop.h"

#include <algorithm>
#include <cstring>

namespace navit_edge {
namespace {

std::size_t bytes(std::int32_t pixels) { return static_cast<std::size_t>(pixels) * kChannels; }

}  // namespace

void pad_crop(const PixelRows& image, const PixelKernels& kernels, const Placement& placement, Size target,
              const Rgb& pad_rgb, std::int32_t row_begin, std::int32_t row_end, PadCropRows& kept,
              FunctionRef<void(std::int32_t y, const std::uint8_t* row)> sink) {
  auto& [blank, mixed, scratch, three] = kept;
  blank.resize(bytes(target.width_px));
  for (std::size_t i = 0; i < blank.size(); ++i) blank[i] = pad_rgb[i % kChannels];
  mixed = blank;

  // The part of the image that lies on the target.
  const Size size = image.size();
  const std::int32_t top = placement.top_px;
  const std::int32_t left = std::max(0, placement.left_px);
  const std::int32_t cut = std::max(0, -placement.left_px);
  const std::int32_t width = std::min(size.width_px - cut, target.width_px - left);
  const auto covered = [&](std::int32_t row) { return std::clamp(row, std::max(0, top), top + size.height_px); };
  const std::int32_t first = std::clamp(covered(row_begin), row_begin, row_end);
  const std::int32_t last = std::clamp(covered(row_end), first, row_end);
  const bool gray = image.channels() == 1;
  scratch.resize(image.scratch_bytes(size.width_px));
  if (gray) three.resize(bytes(size.width_px) + kPixelSlack);

  for (std::int32_t y = row_begin; y < first; ++y) sink(y, blank.data());
  for (std::int32_t y = first; y < last; ++y) {
    const std::uint8_t* row = image.pixels(y - top, 0, size.width_px, scratch.data());
    if (gray) {
      kernels.expand(row, static_cast<std::size_t>(size.width_px), three.data());
      row = three.data();
    }
    row += bytes(cut);
    if (width < target.width_px) {
      std::memcpy(mixed.data() + bytes(left), row, bytes(width));
      row = mixed.data();
    }
    sink(y, row);
  }
  for (std::int32_t y = last; y < row_end; ++y) sink(y, blank.data());
}

}  // namespace navit_edge
