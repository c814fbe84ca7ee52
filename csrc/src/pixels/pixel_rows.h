// An image of any format as rows of 1, 3 or 4 bytes a pixel, converted where it must be and handed out where it lies
// where it need not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "navit_edge/image.h"
#include "navit_edge/vocabulary.h"
#include "pixels/kernels/pixel_kernels.h"
#include "pixels/row_source.h"

namespace navit_edge {

/// Borrows the image. Reading is safe from several threads at once.
class PixelRows {
 public:
  /// The image in RGB, or in one channel if it is gray; `background` is for Alpha::kComposite.
  static PixelRows rgb(const ImageView& image, Alpha alpha, const Rgb& background, const PixelKernels& kernels);

  /// The image in as many channels as it has: gray, RGB, or four, which are premultiplied if `premultiply` and stay
  /// in the image's order. NV12 and I420 as RGB.
  static PixelRows own(const ImageView& image, bool premultiply, const PixelKernels& kernels);

  /// An image of 1 or 3 channels that is not in memory: its rows as they come. Reading is for one thread, and as
  /// RowSource has it. Borrows `source`.
  static PixelRows as_they_come(Size size, std::int32_t channels, RowSource& source, const PixelKernels& kernels);

  [[nodiscard]] Size size() const noexcept { return image_.size(); }
  [[nodiscard]] std::int32_t channels() const noexcept { return channels_; }

  /// Bytes from row to row of the image. Of use if direct().
  [[nodiscard]] std::int64_t stride() const noexcept { return image_.stride(); }

  /// Whether pixels() returns rows of the image itself and leaves the scratch alone.
  [[nodiscard]] bool direct() const noexcept { return conversion_ == Conversion::kNone; }

  /// Bytes that pixels() may write for `pixels` pixels.
  [[nodiscard]] std::size_t scratch_bytes(std::int32_t pixels) const noexcept {
    return direct() || source_ != nullptr
               ? 0
               : static_cast<std::size_t>(pixels) * static_cast<std::size_t>(channels_) + kPixelSlack;
  }

  /// Pixels [x_begin, x_end) of row y: (x_end - x_begin) * channels bytes. x_begin is even.
  const std::uint8_t* pixels(std::int32_t y, std::int32_t x_begin, std::int32_t x_end, std::uint8_t* scratch) const;

 private:
  enum class Conversion { kNone, kSwap, kTakeThree, kComposite, kPremultiply, kYuv, kFromSource };

  PixelRows(const ImageView& image, const PixelKernels& kernels) : image_(image), kernels_(&kernels) {}
  void set_yuv();

  ImageView image_;
  const PixelKernels* kernels_;
  RowSource* source_ = nullptr;
  std::int32_t channels_ = 3;
  Conversion conversion_ = Conversion::kNone;
  bool swap_ = false;
  Rgb background_{};
  YuvCoefficients coefficients_{};
};

/// The integer coefficients of a colour matrix (docs/preprocessing.md).
YuvCoefficients yuv_coefficients(YuvMatrix matrix, YuvRange range);

}  // namespace navit_edge
