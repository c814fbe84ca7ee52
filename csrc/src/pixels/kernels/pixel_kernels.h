// Conversions of pixels within a row, compiled once for each instruction set. All levels give the same bits.
//
// Every function may write up to 16 bytes behind what it is asked for (kPixelSlack) and reads nothing behind its input.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pixels/kernels/resize_kernels.h"

namespace navit_edge {

inline constexpr std::size_t kPixelSlack = 16;

/// Y'CbCr -> R'G'B' in 16 bits of fraction: R = (y (Y - offset) + red_v (V - 128) + 2^15) >> 16, clipped; G and B
/// alike.
struct YuvCoefficients {
  std::int32_t offset, y, red_v, green_u, green_v, blue_u;
};

struct PixelKernels {
  /// BGR -> RGB.
  void (*swap)(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out);
  /// Three of four bytes: RGBx -> RGB, or BGRx -> RGB if `swap`. At least one pixel.
  void (*take_three)(const std::uint8_t* in, std::size_t pixels, bool swap, std::uint8_t* out);
  /// RGBA -> RGB over an opaque colour, as Pillow's alpha_composite; BGRA -> RGB if `swap`.
  void (*composite)(const std::uint8_t* in, std::size_t pixels, bool swap, const std::uint8_t* background,
                    std::uint8_t* out);
  /// RGBA -> the same premultiplied, as Pillow's convert("RGBa").
  void (*premultiply)(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out);
  /// Back, as Pillow's convert("RGBA").
  void (*unpremultiply)(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out);
  /// Gray -> RGB.
  void (*expand)(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out);
  /// 4:2:0 -> RGB. Pixel x takes u[x / 2 * step] and v[x / 2 * step]; `step` is 1, or 2: then v is u + 1.
  void (*yuv)(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v, std::size_t step, std::size_t pixels,
              const YuvCoefficients& coefficients, std::uint8_t* out);
  /// RGB -> luma, as Pillow's convert("L"). Writes nothing behind the last pixel.
  void (*luma)(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out);
  /// Whether no two values of a channel differ by more than `range` among `pixels` RGB pixels. At least one.
  bool (*blank)(const std::uint8_t* in, std::size_t pixels, std::int32_t range);
};

/// `level` must be one that this CPU runs.
const PixelKernels& pixel_kernels(SimdLevel level) noexcept;

extern const PixelKernels kPixelsPortable;
#if defined(__x86_64__)
extern const PixelKernels kPixelsAvx2;
#endif

}  // namespace navit_edge
