#include "pack/band_writer.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <variant>
#include <vector>

#include "base/index.h"
#include "pixels/kernels/pixel_kernels.h"
#include "pixels/pixel_rows.h"

namespace navit_edge {
namespace {

/// Where the bytes of a frame go: patch by patch, row-major over the grid, P rows of P * C bytes each. A patch holds
/// its frames one after another.
struct PatchLayout {
  std::int32_t patch_px;
  std::int32_t frames;
  Grid grid;
  std::uint8_t* first_patch;  // of this frame
  const PatchTarget& target;
  const PixelKernels& pixels;

  [[nodiscard]] std::size_t row_bytes() const { return index(patch_px) * kChannels; }
  [[nodiscard]] std::size_t frame_bytes() const { return index(patch_px) * row_bytes(); }
  [[nodiscard]] std::size_t patch_bytes() const { return index(frames) * frame_bytes(); }
  [[nodiscard]] std::uint8_t* patch_row(std::int32_t row) const {
    return first_patch + index(row) * index(grid.cols) * patch_bytes();
  }
};

/// A patch row is written whole, and still in the cache: which of its patches are blank.
void look_for_blank(std::int32_t row, const PatchLayout& to) {
  if (to.target.blank == nullptr) return;
  std::uint8_t* const blank = to.target.blank + index(row) * index(to.grid.cols);
  const std::uint8_t* patch = to.patch_row(row);
  const std::size_t pixels = index(to.patch_px) * index(to.patch_px);
  for (std::int32_t c = 0; c < to.grid.cols; ++c, patch += to.patch_bytes()) {
    blank[c] = to.pixels.blank(patch, pixels, to.target.blank_range) ? 1 : 0;
  }
}

/// Copies row y of the resized image to its patches. kRowBytes: P * C where it is known when compiling, 0 elsewhere.
template <std::size_t kRowBytes>
void scatter_row(const std::uint8_t* row, std::int32_t y, const PatchLayout& to) {
  const std::size_t row_bytes = kRowBytes != 0 ? kRowBytes : to.row_bytes();
  const std::size_t patch_bytes = row_bytes * index(to.patch_px) * index(to.frames);
  const std::int32_t patch_row = y / to.patch_px;
  const std::size_t inside = index(y % to.patch_px) * row_bytes;
  if (to.target.places != nullptr) {
    const std::int32_t* place = to.target.places + index(patch_row) * index(to.grid.cols);
    for (std::int32_t c = 0; c < to.grid.cols; ++c, row += row_bytes) {
      if (place[c] >= 0) std::memcpy(to.first_patch + index(place[c]) * patch_bytes + inside, row, row_bytes);
    }
    return;
  }
  std::uint8_t* out = to.patch_row(patch_row) + inside;
  for (std::int32_t c = 0; c < to.grid.cols; ++c, row += row_bytes, out += patch_bytes) {
    std::memcpy(out, row, row_bytes);
  }
  if (y % to.patch_px == to.patch_px - 1) look_for_blank(patch_row, to);
}

/// Moves a band of an image that is neither resized nor converted. Patch after patch is written whole, from P rows at
/// once: by row, each line of the cache would be written in parts.
template <std::size_t kRowBytes>
void move_rows(const PixelRows& image, const Band& band, const PatchLayout& to) {
  const std::size_t row_bytes = kRowBytes != 0 ? kRowBytes : to.row_bytes();
  const std::int64_t stride = image.stride();
  std::uint8_t* out = to.patch_row(band.row_begin);
  for (std::int32_t row = band.row_begin; row < band.row_end; ++row) {
    const std::uint8_t* const first = image.pixels(row * to.patch_px, 0, image.size().width_px, nullptr);
    for (std::int32_t c = 0; c < to.grid.cols; ++c) {
      const std::uint8_t* from = first + index(c) * row_bytes;
      for (std::int32_t i = 0; i < to.patch_px; ++i, from += stride, out += row_bytes) {
        std::memcpy(out, from, row_bytes);
      }
      out += to.patch_bytes() - to.frame_bytes();
    }
    look_for_blank(row, to);
  }
}

template <std::size_t kRowBytes>
void write_rows(const PixelRows& image, const Band& band, const PreprocessSpec& preprocess, const PixelKernels& pixels,
                const Segment& segment, Size image_size, const Rgb& pad_rgb, const PatchLayout& to,
                WorkerScratch& scratch) {
  const Size target{to.grid.rows * to.patch_px, to.grid.cols * to.patch_px};
  const bool gray = image.channels() == 1;
  const Size content = resized_size(image_size, segment.placement);  // less than the target if that is filled up
  if (image.direct() && !gray && image.size() == target && content == target && to.target.places == nullptr) {
    return move_rows<kRowBytes>(image, band, to);
  }
  const std::int32_t row_begin = band.row_begin * to.patch_px;
  const std::int32_t row_end = band.row_end * to.patch_px;
  if (!segment.placement.resized) {
    return pad_crop(image, pixels, segment.placement, target, pad_rgb, row_begin, row_end, scratch.pad_crop,
                    [&](std::int32_t y, const std::uint8_t* row) { scatter_row<kRowBytes>(row, y, to); });
  }
  std::vector<std::uint8_t>& mixed = scratch.pad_crop.mixed;  // a row whose end, or all of it, is the colour
  const auto fill_from = [&](std::int32_t column) {
    mixed.resize(index(target.width_px) * kChannels);
    for (std::size_t i = index(column) * kChannels; i < mixed.size(); ++i) mixed[i] = pad_rgb[i % kChannels];
  };
  if (content.width_px < target.width_px) fill_from(content.width_px);
  if (gray) scratch.three.resize(index(content.width_px) * kChannels + kPixelSlack);
  std::uint8_t* const expanded = scratch.three.data();
  const std::int32_t content_end = std::clamp(content.height_px, row_begin, row_end);
  if (content_end > row_begin) {
    scratch.resizer.rows(
        image, content, preprocess.filter, row_begin, content_end,
        [&](std::int32_t y, const std::uint8_t* row) {
          if (gray) pixels.expand(row, index(content.width_px), expanded);
          const std::uint8_t* from = gray ? expanded : row;
          if (content.width_px < target.width_px) {
            std::memcpy(mixed.data(), from, index(content.width_px) * kChannels);
            from = mixed.data();
          }
          scatter_row<kRowBytes>(from, y, to);
        },
        preprocess.processor);
  }
  if (content_end == row_end) return;
  fill_from(0);
  for (std::int32_t y = content_end; y < row_end; ++y) scatter_row<kRowBytes>(mixed.data(), y, to);
}

void write_frame(const Band& band, const ImageView& image, const Segment& segment, const PreprocessSpec& preprocess,
                 const PatchTarget& target, std::uint8_t* first_patch, WorkerScratch& scratch) {
  const PixelKernels& pixels = pixel_kernels(best_simd_level());
  const PixelRows source = PixelRows::rgb(image, preprocess.alpha, preprocess.background, pixels);
  const PatchLayout to{preprocess.patch_px, preprocess.frames, segment.grid, first_patch, target, pixels};
  const Size size = image.image_size();
  Rgb pad_rgb{};
  if (const auto* native = std::get_if<Native>(&preprocess.sizing.rule)) pad_rgb = native->pad_rgb;
  if (const auto* fills = std::get_if<NavitResize>(&preprocess.sizing.rule)) pad_rgb = fills->pad_rgb;
  switch (preprocess.patch_px) {
    case 16:
      return write_rows<16 * kChannels>(source, band, preprocess, pixels, segment, size, pad_rgb, to, scratch);
    case 14:
      return write_rows<14 * kChannels>(source, band, preprocess, pixels, segment, size, pad_rgb, to, scratch);
    case 32:
      return write_rows<32 * kChannels>(source, band, preprocess, pixels, segment, size, pad_rgb, to, scratch);
    default:
      return write_rows<0>(source, band, preprocess, pixels, segment, size, pad_rgb, to, scratch);
  }
}

}  // namespace

void write_band(const Band& band, const ImageView& image, const Segment& segment, const PreprocessSpec& preprocess,
                const PatchTarget& target, WorkerScratch& scratch) {
  const std::size_t frame_bytes = index(preprocess.patch_px) * index(preprocess.patch_px) * kChannels;
  for (std::int32_t frame = 0; frame < preprocess.frames; ++frame) {
    write_frame(band, image.frame(frame), segment, preprocess, target, target.first_patch + index(frame) * frame_bytes,
                scratch);
  }
}

}  // namespace navit_edge
