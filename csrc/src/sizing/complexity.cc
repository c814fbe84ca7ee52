// Gradient energy of a small copy. The copy takes single pixels of the image: a mean over boxes would read all of it,
// and would blur away the very detail that asks for more tokens.
#include "navit_edge/complexity.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/index.h"
#include "pixels/image_check.h"
#include "pixels/pixel_rows.h"
#include "sizing/checked.h"

namespace navit_edge {
namespace {

constexpr std::int32_t kSide = 64;  // the longer side of the copy, in pixels

/// Pixels of the copy along a side of an image whose longer side has `longest` pixels: rounded half up, at least 1.
std::int32_t copied(std::int32_t side_px, std::int32_t longest_px) {
  if (longest_px <= kSide) return side_px;
  return static_cast<std::int32_t>(
      std::max<std::int64_t>(1, (std::int64_t{2} * side_px * kSide + longest_px) / (std::int64_t{2} * longest_px)));
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

/// The copy, row by row: pixels of the image gathered into a row in the image's own format, which is read as every row
/// is.
class SmallCopy {
 public:
  SmallCopy(const ImageView& image, const PreprocessSpec& preprocess)
      : image_(image),
        rows_(copied(image.height_px, std::max(image.height_px, image.width_px))),
        cols_(copied(image.width_px, std::max(image.height_px, image.width_px))),
        planar_(image.pixel_format() == PixelFormat::kNv12 || image.pixel_format() == PixelFormat::kI420),
        gathered_(PixelRows::rgb(gathered_view(), preprocess.alpha, preprocess.background,
                                 pixel_kernels(best_simd_level()))) {
    for (std::int32_t i = 0; i < cols_; ++i) columns_[index(i)] = middle(i, cols_, image.width_px);
  }

  [[nodiscard]] std::int32_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::int32_t cols() const noexcept { return cols_; }

  /// Luma of row i, as Pillow's convert("L").
  void luma(std::int32_t i, std::uint8_t* out) {
    const std::int32_t y = middle(i, rows_, image_.height_px);
    planar_ ? gather_planes(y) : gather_pixels(y);
    const std::int32_t count = planar_ ? 2 * cols_ : cols_;
    const std::uint8_t* in = gathered_.pixels(0, 0, count, converted_.data());
    if (gathered_.channels() == 1) {
      std::memcpy(out, in, index(cols_));
      return;
    }
    const std::size_t step = planar_ ? 2 * kChannels : kChannels;
    for (std::size_t x = 0; x < index(cols_); ++x, in += step) {
      out[x] = static_cast<std::uint8_t>((in[0] * 19595 + in[1] * 38470 + in[2] * 7471 + 0x8000) >> 16);
    }
  }

 private:
  /// One row. Of 4:2:0 each pixel comes twice, so that it has a chroma value of its own.
  ImageView gathered_view() {
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

  void gather_pixels(std::int32_t y) {
    const std::uint8_t* row = image_.data + y * image_.stride();
    const PixelFormat format = image_.pixel_format();
    if (image_.channels == 1) return gather<1>(row, columns_.data(), cols_, pixels_.data());
    if (image_.channels == 3) return gather<3>(row, columns_.data(), cols_, pixels_.data());
    if (format == PixelFormat::kRgbx || format == PixelFormat::kBgrx) {  // the last x may be nobody's
      return gather<3, 4>(row, columns_.data(), cols_, pixels_.data());
    }
    gather<4>(row, columns_.data(), cols_, pixels_.data());
  }

  void gather_planes(std::int32_t y) {
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

  const ImageView& image_;
  std::int32_t rows_;
  std::int32_t cols_;
  bool planar_;
  std::array<std::int32_t, kSide> columns_;
  std::array<std::uint8_t, 4 * kSide> pixels_;
  std::array<std::array<std::uint8_t, 2 * kSide>, 2> chroma_;
  std::array<std::uint8_t, 2 * kSide * kChannels + kPixelSlack> converted_;
  PixelRows gathered_;
};

/// The sum of |a - b|.
std::int32_t difference(const std::uint8_t* a, const std::uint8_t* b, std::int32_t count) {
  std::int32_t sum = 0;
  for (std::int32_t i = 0; i < count; ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}

}  // namespace

double image_complexity(const ImageView& image, const PreprocessSpec& preprocess) {
  check_image(image, "the image", preprocess);
  return checked_complexity(image, preprocess);
}

double checked_complexity(const ImageView& image, const PreprocessSpec& preprocess) {
  SmallCopy copy(image, preprocess);
  const std::int32_t cols = copy.cols();
  std::array<std::uint8_t, kSide> lines[2];
  std::int64_t sum = 0;
  for (std::int32_t i = 0; i < copy.rows(); ++i) {
    std::uint8_t* const line = lines[i % 2].data();
    copy.luma(i, line);
    sum += difference(line, line + 1, cols - 1);
    if (i > 0) sum += difference(line, lines[(i - 1) % 2].data(), cols);
  }
  const std::int64_t pairs = std::int64_t{copy.rows()} * (cols - 1) + std::int64_t{copy.rows() - 1} * cols;
  return pairs == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(255 * pairs);
}

}  // namespace navit_edge
