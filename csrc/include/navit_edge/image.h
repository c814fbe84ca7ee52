// An image: borrowed, or with what keeps it alive.
#pragma once

#include <cstdint>
#include <memory>

#include "navit_edge/types.h"

namespace navit_edge {

/// How the bytes of an image are read. 'x' is a byte that is there and is not looked at.
enum class PixelFormat : std::int32_t {
  kByChannels,  // 1 channel: kGray, 3: kRgb, 4: kRgba
  kGray,
  kRgb,
  kBgr,
  kRgbx,
  kBgrx,
  kRgba,  // alpha not premultiplied
  kBgra,
  kNv12,  // 4:2:0: `data` is Y, planes[0] holds U and V in turn
  kI420,  // 4:2:0: `data` is Y, planes[0] is U, planes[1] is V
};

/// Bytes from one pixel of `data` to the next; 3 for kByChannels.
[[nodiscard]] constexpr std::int32_t channels_of(PixelFormat format) noexcept {
  switch (format) {
    case PixelFormat::kGray:
    case PixelFormat::kNv12:
    case PixelFormat::kI420:
      return 1;
    case PixelFormat::kRgbx:
    case PixelFormat::kBgrx:
    case PixelFormat::kRgba:
    case PixelFormat::kBgra:
      return 4;
    default:
      return 3;
  }
}

/// What turns Y'CbCr into R'G'B'.
enum class YuvMatrix : std::int32_t { kBt601, kBt709 };

/// Y in 16..235 and chroma in 16..240 (cameras, video), or all three in 0..255 (JPEG).
enum class YuvRange : std::int32_t { kLimited, kFull };

/// Pixels of one 8-bit image, (row, column, channel) order. Borrows `data` and `planes`: the caller keeps them alive
/// and unchanged until the call that takes the view returns. Strides may be negative (a flipped view); a plane's
/// pixels within a row are adjacent.
struct ImageView {
  const std::uint8_t* data = nullptr;  // [height_px, width_px, channels] u8; the Y plane of NV12 and I420
  std::int32_t height_px = 0;
  std::int32_t width_px = 0;
  std::int32_t channels = 3;          // bytes from one pixel of `data` to the next: 1, 3 or 4
  std::int64_t row_stride_bytes = 0;  // 0: rows are adjacent (width_px * channels)
  PixelFormat format = PixelFormat::kByChannels;

  // NV12 and I420 only. Chroma has half the sides, rounded up.
  const std::uint8_t* planes[2] = {nullptr, nullptr};
  std::int64_t plane_stride_bytes[2] = {0, 0};  // 0: rows are adjacent
  YuvMatrix matrix = YuvMatrix::kBt601;
  YuvRange range = YuvRange::kLimited;

  /// The frame that follows it in a film, of the same size, strides and format; null: there is none. For a model that
  /// takes frames in pairs (PreprocessSpec::frames), which sees an image without it twice. Not of NV12 and I420.
  const std::uint8_t* next_frame = nullptr;

  /// Of pixels that have been resized to what their grid takes: the size of the image that they were, by which it is
  /// sized (Session::resized_size). {0, 0}: they are the image's own.
  Size resized_from{};

  /// Of the image: what is sized, and what a result says.
  [[nodiscard]] Size image_size() const noexcept { return resized_from.height_px > 0 ? resized_from : size(); }
  /// Of the pixels.
  [[nodiscard]] Size size() const noexcept { return {height_px, width_px}; }
  [[nodiscard]] std::int64_t stride() const noexcept {
    return row_stride_bytes != 0 ? row_stride_bytes : std::int64_t{width_px} * channels;
  }
  /// Bytes from row to row of planes[i], with 0 resolved.
  [[nodiscard]] std::int64_t plane_stride(int i) const noexcept {
    if (plane_stride_bytes[i] != 0) return plane_stride_bytes[i];
    return (std::int64_t{width_px} + 1) / 2 * (format == PixelFormat::kNv12 ? 2 : 1);
  }
  /// Itself, or from 1 the frame that follows it.
  [[nodiscard]] ImageView frame(std::int32_t number) const noexcept {
    ImageView view = *this;
    if (number > 0 && next_frame != nullptr) view.data = next_frame;
    view.next_frame = nullptr;
    return view;
  }
  /// `format`, with kByChannels resolved.
  [[nodiscard]] PixelFormat pixel_format() const noexcept {
    if (format != PixelFormat::kByChannels) return format;
    return channels == 1 ? PixelFormat::kGray : channels == 4 ? PixelFormat::kRgba : PixelFormat::kRgb;
  }
};

/// An image that may outlive the call that takes it. `owner` keeps the pixels alive and unchanged until they have been
/// read, and is then released, from any thread; null if the caller sees to that.
struct OwnedImage {
  ImageView view;
  std::shared_ptr<const void> owner;
};

}  // namespace navit_edge
