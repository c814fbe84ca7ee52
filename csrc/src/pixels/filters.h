// The filters of Pillow and torchvision: the weights of an output pixel, in 22-bit fixed point, and how the kernels
// take them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "navit_edge/vocabulary.h"
#include "pixels/kernels/resize_kernels.h"

namespace navit_edge {

/// The fixed-point weights of one axis. Not for kNearest.
struct AxisWeights {
  std::int32_t in = 0;
  std::int32_t out = 0;
  Filter filter = Filter::kBilinear;
  Processor processor = Processor::kPillow;
  std::int32_t taps = 0;             // most taps of an output
  std::vector<std::int32_t> first;   // [out] first input
  std::vector<std::int32_t> count;   // [out] taps in use, at least 1
  std::vector<std::int32_t> weight;  // [out, taps], scaled by 2^22, zero behind `count`
  std::vector<double> exact;         // [taps] of the output at hand
};

/// Most taps of an output: 2 * ceil(support * max(in / out, 1)) + 1.
std::int32_t most_taps(std::int32_t in, std::int32_t out, Filter filter) noexcept;

/// Pillow rounds weights to 22 bits of fraction. Torch keeps them in 16 bits: it takes as many bits of fraction, up to
/// 22, as the largest weight of the axis allows. They come scaled by 2^22 all the same, which changes no sum's
/// rounding.
void compute_weights(std::int32_t in, std::int32_t out, Filter filter, Processor processor, AxisWeights& weights);

/// kNearest: which input each output takes; -1 (a zero) if rounding carries the last one over the edge.
void nearest_indices(std::int32_t in, std::int32_t out, std::vector<std::int32_t>& indices);

/// The weights of one axis as the kernels take them: taps in quads that start at multiples of four. Arrays are per
/// output, padded to a multiple of four outputs.
struct AxisTable {
  /// Fills the table, unless it is that already.
  void prepare(std::int32_t in_px, std::int32_t out_px, Filter wanted, Processor whose, const ResizeKernels& kernels);

  /// Sets memory aside, so that `prepare` allocates nothing for an axis of up to `in_px` inputs and `out_least` to
  /// `out_most` outputs. Not for kNearest.
  void reserve(std::int32_t in_px, std::int32_t out_least, std::int32_t out_most, Filter wanted);
  /// Bytes set aside.
  [[nodiscard]] std::size_t bytes() const noexcept;

  std::int32_t in = 0;
  std::int32_t out = 0;
  Filter filter = Filter::kBilinear;
  Processor processor = Processor::kPillow;
  std::vector<std::int32_t> first_quad;
  std::vector<std::int32_t> quad_count;
  std::vector<std::int32_t> start;  // what a sum starts with: one half, and what makes up for the kernels' bias
  std::vector<std::int32_t> words;  // [outputs, words_stride]
  std::int32_t most_quads = 0;
  std::int32_t words_stride = 0;
  AxisWeights weights;  // what the words were made of
};

/// Most quads of an output: `most_taps` from anywhere within a quad.
inline std::int32_t quads_bound(std::int32_t in, std::int32_t out, Filter filter) noexcept {
  return (most_taps(in, out, filter) + 6) / 4;
}

/// The weights that make the vertical pass hand out one row of a quad as it is.
class RowPicker {
 public:
  explicit RowPicker(const ResizeKernels& kernels);
  [[nodiscard]] const std::int32_t* words(std::int32_t row) const noexcept { return words_[row % 4]; }
  [[nodiscard]] std::int32_t start() const noexcept { return start_; }

 private:
  static constexpr std::int32_t kOne = std::int32_t{1} << kWeightBits;
  std::int32_t start_;
  std::int32_t words_[4][4] = {};
};

}  // namespace navit_edge
