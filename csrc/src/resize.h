// Pillow's resize, bit for bit: a separable convolution in 22-bit fixed point with 8-bit pixels between the passes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "navit_edge/image.h"
#include "navit_edge/types.h"
#include "resize_kernels.h"

namespace navit_edge {

enum class Filter { kBox, kBilinear, kHamming, kBicubic, kLanczos };

/// The names that `parse_filter` takes.
std::span<const std::string_view> resize_filter_names() noexcept;
Filter parse_filter(std::string_view name);  // throws InvalidInput

/// The fixed-point weights of one axis.
struct AxisWeights {
  std::int32_t in = 0;
  std::int32_t out = 0;
  Filter filter = Filter::kBilinear;
  std::int32_t taps = 0;             // most taps of an output
  std::vector<std::int32_t> first;   // [out] first input
  std::vector<std::int32_t> count;   // [out] taps in use, at least 1
  std::vector<std::int32_t> weight;  // [out, taps], scaled by 2^22, zero behind `count`
};

void compute_weights(std::int32_t in, std::int32_t out, Filter filter, AxisWeights& weights);

/// Whether rows are combined before columns. The pixels between the passes are rounded to 8 bits, so the order shows in
/// the result. Pillow 13 goes down first where the height shrinks by more than twice what the width does; Pillow before
/// 13 never does.
bool goes_down_first(Size image, Size target) noexcept;

/// Resizes images row by row and keeps its buffers from one call to the next. One thread at a time. Peak memory does
/// not depend on the image's height.
class Resizer {
 public:
  explicit Resizer(SimdLevel level = best_simd_level()) : kernels_(resize_kernels(level)) {}

  /// Takes row y of the resized image: target width * 3 bytes, valid during the call.
  using RowSink = std::function<void(std::int32_t y, const std::uint8_t* row)>;

  /// Hands rows [row_begin, row_end) of `image` resized to `target` to `sink`, in order. The image has 3 channels and
  /// both sizes at least 1 pixel a side.
  void rows(const ImageView& image, Size target, Filter filter, std::int32_t row_begin, std::int32_t row_end,
            const RowSink& sink);

 private:
  void prepare_across(std::int32_t in_width, std::int32_t out_width, Filter filter, std::size_t ring_rows);
  void across_block(const std::uint8_t* const* in_rows, std::uint8_t* const* out_rows);
  void combine_rows(const ImageView& image, std::int32_t y, std::size_t bytes, std::uint8_t* out);
  void across_then_down(const ImageView& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                        const RowSink& sink);
  void down_then_across(const ImageView& image, std::int32_t row_begin, std::int32_t row_end, const RowSink& sink);
  [[nodiscard]] std::uint8_t* ring_row(std::int32_t row) {
    return ring_.data() + (static_cast<std::size_t>(row) & (ring_rows_ - 1)) * ring_stride_;
  }

  const ResizeKernels& kernels_;
  AxisWeights across_;
  AxisWeights down_;
  std::vector<std::uint8_t> columns_in_;   // [in width * 3, kBlockRows]
  std::vector<std::uint8_t> columns_out_;  // [out width * 3, kBlockRows]
  std::vector<std::uint8_t> ring_;         // [ring_rows_, ring_stride_]: rows that went across
  std::size_t ring_rows_ = 0;              // a power of two
  std::size_t ring_stride_ = 0;
  std::vector<const std::uint8_t*> taps_;  // [down_.taps] rows that make one
  std::vector<std::uint8_t> combined_;     // rows that went down
};

}  // namespace navit_edge
