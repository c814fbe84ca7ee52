// Plain values shared by every header. Letters used everywhere: T tokens in a pack (padding included),
// N images in a pack, P patch side in pixels, C channels, F = P*P*C, D width, L longest image in tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "navit_edge/export.h"

namespace navit_edge {

/// Element types of graph inputs and outputs. Values are part of the backend ABI: never renumber.
enum class DType : std::int32_t {
  kFloat32 = 1,
  kFloat16 = 2,
  kBFloat16 = 3,
  kUInt8 = 4,
  kInt32 = 5,
};

/// Bytes of one element.
NAVIT_EDGE_API std::size_t element_bytes(DType dtype) noexcept;

/// Channels of a pixel in `patches`.
inline constexpr std::int32_t kChannels = 3;

/// A colour: red, green, blue.
using Rgb = std::array<std::uint8_t, 3>;

/// A raster size in pixels.
struct Size {
  std::int32_t height_px = 0;
  std::int32_t width_px = 0;
  friend bool operator==(const Size&, const Size&) = default;
};

/// A patch grid: rows * cols patch tokens, prefix tokens (CLS, registers) not counted.
struct Grid {
  std::int32_t rows = 0;
  std::int32_t cols = 0;
  [[nodiscard]] std::int64_t tokens() const noexcept { return std::int64_t{rows} * cols; }
  friend bool operator==(const Grid&, const Grid&) = default;
};

}  // namespace navit_edge
