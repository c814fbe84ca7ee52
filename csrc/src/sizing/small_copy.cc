#include "sizing/small_copy.h"

#include <algorithm>
#include <cstring>

#include "base/index.h"

namespace navit_edge {
namespace {

/// Pixels of the copy along a side of an image whose longer side has `longest` pixels: rounded half up, at least 1.
std::int32_t copied(std::int32_t side_px, std::int32_t longest_px) {
  if (longest_px <= kSmallCopySide) return side_px;
  return static_cast<std::int32_t>(std::max<std::int64_t>(
      1, (std::int64_t{2} * side_px * kSmallCopySide + longest_px) / (std::int64_t{2} * longest_px)));
}

/// The pixel in the middle of the i-th of `count` equal parts.
std::int32_t middle(std::int32_t i, std::int32_t count, std::int32_t side_px) {
  return static_cast<std::int32_t>((std::int64_t{2} * i + 1) * side_px / (std::int64_t{2} * count));
}

/// kBytes of each of the pixels at `columns`, kStep bytes apart in `out`.
template <std::size_t kBytes, std::size_t kStep = kBytes>
void gather(const std::uint8_t* row, const std::int32_t* columns, std::int32_t count, std::uint8_t* out) {
  for (std::int32_t i = 0; i < count; ++i) std::memcpy(out + kStep * index(i), row + kStep * index(columns[i]), kBytes);
}

}  // namespace

SmallCopy::SmallCopy(const ImageView& image, const PreprocessSpec& preprocess)
    : image_(image),
      rows_(copied(image.height_px, std::max(image.height_px, image.width_px))),
      cols_(copied(image.width_px, std::max(image.height_px, image.width_px))),
      planar_(image.pixel_format() == PixelFormat::kNv12 || image.pixel_format() == PixelFormat::kI420),
      kernels_(pixel_kernels(best_simd_level())),
      gathered_(PixelRows::rgb(gathered_view(), preprocess.alpha, preprocess.background, kernels_)) {
  for (std::int32_t i = 0; i < cols_; ++i) columns_[index(i)] = middle(i, cols_, image.width_px);
}

void SmallCopy::luma(std::int32_t i, std::uint8_t* out) {
  const std::int32_t y = middle(i, rows_, image_.height_px);
  planar_ ? gather_planes(y) : gather_pixels(y);
  const std::int32_t count = planar_ ? 2 * cols_ : cols_;
  const std::uint8_t* in = gathered_.pixels(0, 0, count, converted_.data());
  if (gathered_.channels() == 1) {
    std::memcpy(out, in, index(cols_));
    return;
  }
  if (!planar_) return kernels_.luma(in, index(cols_), out);
  kernels_.luma(in, index(count), twice_.data());
  for (std::size_t x = 0; x < index(cols_); ++x) out[x] = twice_[2 * x];
}

ImageView SmallCopy::gathered_view() {
  ImageView view = image_;
  view.data = pixels_.data();
  view.planes[0] = chroma_[0].data();
  view.planes[1] = chroma_[1].data();
  view.height_px = 1;
  view.width_px = planar_ ? 2 * cols_ : cols_;
  view.row_stride_bytes = 0;
  view.plane_stride_bytes[0] = view.plane_stride_bytes[1] = 0;
  return view;
}

void SmallCopy::gather_pixels(std::int32_t y) {
  const std::uint8_t* row = image_.data + y * image_.stride();
  const PixelFormat format = image_.pixel_format();
  if (image_.channels == 1) return gather<1>(row, columns_.data(), cols_, pixels_.data());
  if (image_.channels == 3) return gather<3>(row, columns_.data(), cols_, pixels_.data());
  if (format == PixelFormat::kRgbx || format == PixelFormat::kBgrx) {  // the last x may be nobody's
    return gather<3, 4>(row, columns_.data(), cols_, pixels_.data());
  }
  gather<4>(row, columns_.data(), cols_, pixels_.data());
}

void SmallCopy::gather_planes(std::int32_t y) {
  const std::uint8_t* row = image_.data + y * image_.stride();
  const bool nv12 = image_.pixel_format() == PixelFormat::kNv12;
  const std::uint8_t* chroma[2] = {nullptr, nullptr};
  for (int p = 0; p < (nv12 ? 1 : 2); ++p) chroma[p] = image_.planes[p] + y / 2 * image_.plane_stride(p);
  for (std::int32_t i = 0; i < cols_; ++i) {
    const std::int32_t x = columns_[index(i)];
    pixels_[2 * index(i)] = pixels_[2 * index(i) + 1] = row[x];
    if (nv12) {
      std::memcpy(&chroma_[0][2 * index(i)], chroma[0] + 2 * (x / 2), 2);
    } else {
      chroma_[0][index(i)] = chroma[0][x / 2];
      chroma_[1][index(i)] = chroma[1][x / 2];
    }
  }
}

}  // namespace navit_edge
