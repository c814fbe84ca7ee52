// The resize of Pillow or torchvision, bit for bit: a separable convolution in 22-bit fixed point with 8-bit pixels
// between the passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/function_ref.h"
#include "navit_edge/image.h"
#include "navit_edge/types.h"
#include "pixels/filters.h"
#include "pixels/kernels/resize_kernels.h"
#include "pixels/pixel_rows.h"

namespace navit_edge {

/// Whether rows are combined before columns. The pixels between the passes are rounded to 8 bits, so the order shows in
/// the result. Pillow 13 goes down first if the height shrinks by more than twice what the width does; Pillow before
/// 13 never does, nor does torchvision.
bool goes_down_first(Size image, Size target) noexcept;

/// Resizes images row by row and keeps its buffers from one call to the next. One thread at a time. What it holds are
/// the rows that one row of the result is made of, not the image.
class Resizer {
 public:
  explicit Resizer(SimdLevel level = best_simd_level()) : kernels_(resize_kernels(level)), picker_(kernels_) {}

  /// Takes row y of the resized image: target width * channels bytes, valid during the call.
  using RowSink = FunctionRef<void(std::int32_t y, const std::uint8_t* row)>;

  /// Hands rows [row_begin, row_end) of `image` resized to `target` to `sink`, in order.
  void rows(const PixelRows& image, Size target, Filter filter, std::int32_t row_begin, std::int32_t row_end,
            const RowSink& sink, Processor processor = Processor::kPillow);

  /// Sets memory aside: `rows` allocates nothing for an image of up to this size, in any format, with sides that go to
  /// two thirds of `target` to all of it.
  void reserve(Size image, Size target, Filter filter, Processor processor = Processor::kPillow);

  /// Bytes of the buffers that hold pixels.
  [[nodiscard]] std::size_t buffer_bytes() const noexcept {
    return spread_.capacity() + ring_.capacity() + scratch_.capacity() + combined_.capacity();
  }

  /// Bytes of all buffers, the weights' among them.
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  void untouched_rows(const PixelRows& image, std::int32_t row_begin, std::int32_t row_end, const RowSink& sink);
  void nearest_rows(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                    const RowSink& sink);
  void across_then_down(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                        const RowSink& sink);
  void down_then_across(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                        const RowSink& sink);

  void prepare_ring(std::size_t values, std::size_t quads);
  void across_block(const PixelRows& image, std::int32_t first_row);
  void interleave_quad(const PixelRows& image, std::int32_t quad);
  /// Horizontal pass of kBlockRows rows; rows(r, x_begin, x_end) is where the pixels of row r are.
  template <class Rows>
  void across_chunks(std::int32_t channels, std::uint8_t* const* lines, Rows rows);
  void combine(std::int32_t y, std::size_t bytes, std::uint8_t* out);

  [[nodiscard]] std::uint8_t* line(std::int32_t quad) {
    return ring_.data() + (static_cast<std::size_t>(quad) & (ring_quads_ - 1)) * ring_stride_;
  }

  const ResizeKernels& kernels_;
  RowPicker picker_;
  AxisTable across_;
  AxisTable down_;
  std::vector<std::uint8_t> spread_;  // pixels of a block of rows, as the horizontal pass takes them
  std::vector<std::uint8_t> ring_;    // [ring_quads_, ring_stride_] quad lines that await the vertical pass
  std::size_t ring_quads_ = 0;        // a power of two
  std::size_t ring_stride_ = 0;
  std::vector<std::uint8_t> scratch_;       // rows of the image, converted
  std::vector<std::uint8_t> combined_;      // rows that went down
  std::vector<const std::uint8_t*> lines_;  // [down_.most_quads]
  std::vector<std::int32_t> nearest_columns_;
  std::vector<std::int32_t> nearest_rows_;
};

}  // namespace navit_edge
