// A small copy of an image: single pixels of it, in luma. A mean over boxes would read all of the image, and would blur
// away the very detail that asks for more tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "pixels/pixel_rows.h"

namespace navit_edge {

inline constexpr std::int32_t kSmallCopySide = 64;  // the longer side of the copy, in pixels

/// The copy, row by row: pixels of the image gathered into a row in the image's own format, which is read as every row
/// is. Borrows the image, which can be read.
class SmallCopy {
 public:
  SmallCopy(const ImageView& image, const PreprocessSpec& preprocess);

  [[nodiscard]] std::int32_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::int32_t cols() const noexcept { return cols_; }

  /// Luma of row i, as Pillow's convert("L"): cols() values.
  void luma(std::int32_t i, std::uint8_t* out);

 private:
  /// One row. Of 4:2:0 each pixel comes twice, so that it has a chroma value of its own.
  ImageView gathered_view();
  void gather_pixels(std::int32_t y);
  void gather_planes(std::int32_t y);

  const ImageView& image_;
  std::int32_t rows_;
  std::int32_t cols_;
  bool planar_;
  const PixelKernels& kernels_;
  std::array<std::int32_t, kSmallCopySide> columns_;
  std::array<std::uint8_t, 4 * kSmallCopySide> pixels_;
  std::array<std::array<std::uint8_t, 2 * kSmallCopySide>, 2> chroma_;
  std::array<std::uint8_t, 2 * kSmallCopySide * kChannels + kPixelSlack> converted_;
  std::array<std::uint8_t, 2 * kSmallCopySide> twice_;  // luma of 4:2:0
  PixelRows gathered_;
};

}  // namespace navit_edge
