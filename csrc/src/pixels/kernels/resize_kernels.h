// The inner loops of resize.cc, compiled once for each instruction set. All levels give the same bits.
//
// Taps go through in groups of four: a "quad" is four taps of one value in one 32-bit word, which is what dot-product
// instructions eat. Along a row a quad is four neighbouring pixels of one channel, down the columns four neighbouring
// rows. The weights of a filter are laid out for quads that start at multiples of four, zero if a tap is not used.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pixels/simd_level.h"

namespace navit_edge {

inline constexpr int kWeightBits = 22;  // fraction bits of a weight: 32 - 8 bits of pixel - 2 of headroom
inline constexpr int kBlockRows = 16;   // rows that the horizontal pass treats at once
inline constexpr int kBlockQuads = kBlockRows / 4;
inline constexpr std::size_t kPadding = 64;  // columns of quad lines and of rows are padded to a multiple of this

inline constexpr int kMostWeightWords = 4;  // of all levels

struct ResizeKernels {
  std::int32_t weight_words;  // 32-bit words that hold the weights of one quad
  std::int32_t pixel_bias;    // what the kernels take off each pixel; the start of a sum makes up for it

  /// weight[4] -> words[weight_words].
  void (*encode)(const std::int32_t* weight, std::int32_t* words);

  /// Rows of `pixels` pixels, rows[kBlockRows], -> out[pixel quads][channels][kBlockRows][4 taps]. Channels: 1, 3 or 4.
  void (*spread)(const std::uint8_t* const* rows, std::size_t pixels, std::int32_t channels, std::uint8_t* out);

  /// Horizontal pass over spread rows, for `groups` times four output pixels. Arrays are per output pixel.
  /// `lines`[kBlockQuads]: quad lines, [groups * 4 * channels][4 rows] each.
  void (*across)(const std::uint8_t* spread, std::int32_t spread_first_quad, std::int32_t channels,
                 const std::int32_t* first_quad, const std::int32_t* quad_count, const std::int32_t* start,
                 const std::int32_t* words, std::int32_t words_stride, std::int32_t groups, std::uint8_t* const* lines);

  /// rows[4] of `bytes` -> a quad line [bytes, padded][4 rows].
  void (*interleave)(const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* line);

  /// Vertical pass: out[i] = clip((start + sum of weights * lines[q][i]) >> kWeightBits), for `bytes` padded to a
  /// multiple of kPadding.
  void (*down)(const std::uint8_t* const* lines, const std::int32_t* words, std::int32_t quads, std::int32_t start,
               std::size_t bytes, std::uint8_t* out);
};

/// `level` must be one that this CPU runs.
const ResizeKernels& resize_kernels(SimdLevel level) noexcept;

extern const ResizeKernels kResizePortable;
#if defined(__x86_64__)
extern const ResizeKernels kResizeAvx2;
extern const ResizeKernels kResizeAvx512;
#elif defined(__aarch64__)
extern const ResizeKernels kResizeNeon;
#endif

}  // namespace navit_edge
