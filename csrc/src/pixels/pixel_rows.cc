#include "pixels/pixel_rows.h"

#include <cmath>

namespace navit_edge {

YuvCoefficients yuv_coefficients(YuvMatrix matrix, YuvRange range) {
  const double kr = matrix == YuvMatrix::kBt709 ? 0.2126 : 0.299;
  const double kb = matrix == YuvMatrix::kBt709 ? 0.0722 : 0.114;
  const double kg = 1.0 - kr - kb;
  const bool full = range == YuvRange::kFull;
  const double chroma = 2.0 * (full ? 1.0 : 255.0 / 224.0);
  const auto fixed = [](double value) { return static_cast<std::int32_t>(std::lround(value * 65536.0)); };
  return {full ? 0 : 16,
          fixed(full ? 1.0 : 255.0 / 219.0),
          fixed(chroma * (1.0 - kr)),
          fixed(-chroma * (1.0 - kb) * kb / kg),
          fixed(-chroma * (1.0 - kr) * kr / kg),
          fixed(chroma * (1.0 - kb))};
}

void PixelRows::set_yuv() {
  conversion_ = Conversion::kYuv;
  channels_ = 3;
  coefficients_ = yuv_coefficients(image_.matrix, image_.range);
  for (const int i : {0, 1}) image_.plane_stride_bytes[i] = image_.plane_stride(i);
}

PixelRows PixelRows::rgb(const ImageView& image, Alpha alpha, const Rgb& background, const PixelKernels& kernels) {
  PixelRows rows(image, kernels);
  switch (image.pixel_format()) {
    case PixelFormat::kGray:
      rows.channels_ = 1;
      break;
    case PixelFormat::kBgr:
      rows.conversion_ = Conversion::kSwap;
      break;
    case PixelFormat::kRgbx:
    case PixelFormat::kBgrx:
      rows.conversion_ = Conversion::kTakeThree;
      rows.swap_ = image.pixel_format() == PixelFormat::kBgrx;
      break;
    case PixelFormat::kRgba:
    case PixelFormat::kBgra:
      rows.conversion_ = alpha == Alpha::kComposite ? Conversion::kComposite : Conversion::kTakeThree;
      rows.swap_ = image.pixel_format() == PixelFormat::kBgra;
      rows.background_ = background;
      break;
    case PixelFormat::kNv12:
    case PixelFormat::kI420:
      rows.set_yuv();
      break;
    case PixelFormat::kRgb:
    case PixelFormat::kByChannels:
      break;
  }
  return rows;
}

PixelRows PixelRows::own(const ImageView& image, bool premultiply, const PixelKernels& kernels) {
  PixelRows rows(image, kernels);
  rows.channels_ = image.channels;
  switch (image.pixel_format()) {
    case PixelFormat::kRgba:
    case PixelFormat::kBgra:
      if (premultiply) rows.conversion_ = Conversion::kPremultiply;
      break;
    case PixelFormat::kBgr:
      rows.conversion_ = Conversion::kSwap;
      break;
    case PixelFormat::kRgbx:
    case PixelFormat::kBgrx:
      rows.channels_ = 3;
      rows.conversion_ = Conversion::kTakeThree;
      rows.swap_ = image.pixel_format() == PixelFormat::kBgrx;
      break;
    case PixelFormat::kNv12:
    case PixelFormat::kI420:
      rows.set_yuv();
      break;
    default:
      break;
  }
  return rows;
}

PixelRows PixelRows::as_they_come(Size size, std::int32_t channels, RowSource& source, const PixelKernels& kernels) {
  ImageView image;
  image.height_px = size.height_px;
  image.width_px = size.width_px;
  image.channels = channels;
  PixelRows rows(image, kernels);
  rows.channels_ = channels;
  rows.conversion_ = Conversion::kFromSource;
  rows.source_ = &source;
  return rows;
}

const std::uint8_t* PixelRows::pixels(std::int32_t y, std::int32_t x_begin, std::int32_t x_end,
                                      std::uint8_t* scratch) const {
  if (source_ != nullptr) return source_->row(y) + std::int64_t{x_begin} * channels_;
  const std::uint8_t* row = image_.data + y * image_.stride() + std::int64_t{x_begin} * image_.channels;
  const auto count = static_cast<std::size_t>(x_end - x_begin);
  switch (conversion_) {
    case Conversion::kNone:
    case Conversion::kFromSource:
      return row;
    case Conversion::kSwap:
      kernels_->swap(row, count, scratch);
      break;
    case Conversion::kTakeThree:
      kernels_->take_three(row, count, swap_, scratch);
      break;
    case Conversion::kComposite:
      kernels_->composite(row, count, swap_, background_.data(), scratch);
      break;
    case Conversion::kPremultiply:
      kernels_->premultiply(row, count, scratch);
      break;
    case Conversion::kYuv: {
      const bool nv12 = image_.pixel_format() == PixelFormat::kNv12;
      const std::int64_t pair = (x_begin / 2) * (nv12 ? 2 : 1);
      const std::uint8_t* u = image_.planes[0] + (y / 2) * image_.plane_stride_bytes[0] + pair;
      const std::uint8_t* v = nv12 ? u + 1 : image_.planes[1] + (y / 2) * image_.plane_stride_bytes[1] + pair;
      kernels_->yuv(row, u, v, nv12 ? 2 : 1, count, coefficients_, scratch);
      break;
    }
  }
  return scratch;
}

}  // namespace navit_edge
