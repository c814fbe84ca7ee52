#include "resize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>
#include <utility>

#include "image_check.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"

namespace navit_edge {
namespace {

constexpr std::array<std::string_view, 5> kFilterNames{"box", "bilinear", "hamming", "bicubic", "lanczos"};

/// Half the width of a filter at scale 1, in input pixels.
double support_of(Filter filter) {
  switch (filter) {
    case Filter::kBox:
      return 0.5;
    case Filter::kBilinear:
    case Filter::kHamming:
      return 1.0;
    case Filter::kBicubic:
      return 2.0;
    case Filter::kLanczos:
      return 3.0;
  }
  return 1.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double filter_value(Filter filter, double x) {
  switch (filter) {
    case Filter::kBox:
      return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case Filter::kBilinear:
      x = std::fabs(x);
      return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::kHamming:
      x = std::fabs(x);
      if (x == 0.0) return 1.0;
      if (x >= 1.0) return 0.0;
      x *= std::numbers::pi;
      // Pillow's constants are floats, and the last bit counts.
      return std::sin(x) / x * (0.54F + 0.46F * std::cos(x));
    case Filter::kBicubic: {  // Keys, a = -0.5
      constexpr double a = -0.5;
      x = std::fabs(x);
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
      return 0.0;
    }
    case Filter::kLanczos:
      return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
  return 0.0;
}

}  // namespace

std::span<const std::string_view> resize_filter_names() noexcept { return kFilterNames; }

Filter parse_filter(std::string_view name) {
  for (std::size_t i = 0; i < kFilterNames.size(); ++i) {
    if (name == kFilterNames[i]) return static_cast<Filter>(i);
  }
  throw InvalidInput("unknown resize filter '" + std::string(name) +
                     "'; known: box, bilinear, hamming, bicubic, lanczos");
}

// Weights in double, each rounded to 22 bits of fraction; downscaling widens the filter (antialias). The order of the
// floating-point operations is part of the result: this file is compiled without contraction.
void compute_weights(std::int32_t in, std::int32_t out, Filter filter, AxisWeights& weights) {
  if (weights.in == in && weights.out == out && weights.filter == filter) return;
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;

  weights.in = 0;  // not valid until filled
  weights.taps = static_cast<std::int32_t>(std::ceil(support)) * 2 + 1;
  const auto taps = static_cast<std::size_t>(weights.taps);
  weights.first.resize(static_cast<std::size_t>(out));
  weights.count.resize(static_cast<std::size_t>(out));
  weights.weight.assign(static_cast<std::size_t>(out) * taps, 0);
  std::vector<double> exact(taps);
  for (std::int32_t x = 0; x < out; ++x) {
    const double center = (x + 0.5) * scale;
    const std::int32_t first = std::max(0, static_cast<std::int32_t>(center - support + 0.5));
    const std::int32_t end = std::min(in, static_cast<std::int32_t>(center + support + 0.5));
    const std::int32_t count = end - first;
    double sum = 0.0;
    for (std::int32_t t = 0; t < count; ++t) {
      const double value = filter_value(filter, (t + first - center + 0.5) * inverse_scale);
      exact[static_cast<std::size_t>(t)] = value;
      sum += value;
    }
    std::int32_t* fixed = weights.weight.data() + static_cast<std::size_t>(x) * taps;
    for (std::int32_t t = 0; t < count; ++t) {
      double value = exact[static_cast<std::size_t>(t)];
      if (sum != 0.0) value /= sum;
      value *= std::int32_t{1} << kWeightBits;
      fixed[t] = static_cast<std::int32_t>(value < 0 ? value - 0.5 : value + 0.5);
    }
    weights.first[static_cast<std::size_t>(x)] = first;
    weights.count[static_cast<std::size_t>(x)] = count;
  }
  weights.out = out;
  weights.filter = filter;
  weights.in = in;
}

bool goes_down_first(Size image, Size target) noexcept {
  const std::int64_t rows_lost = std::int64_t{image.height_px} - target.height_px;
  const std::int64_t columns_lost = std::int64_t{image.width_px} - target.width_px;
  return rows_lost > 0 && rows_lost > 2 * columns_lost;
}

void Resizer::prepare_across(std::int32_t in_width, std::int32_t out_width, Filter filter, std::size_t ring_rows) {
  compute_weights(in_width, out_width, filter, across_);
  const auto padded = [](std::size_t bytes) { return (bytes + 15) / 16 * 16; };
  const std::size_t out_bytes = static_cast<std::size_t>(out_width) * kChannels;
  columns_in_.resize(static_cast<std::size_t>(in_width) * kChannels * kBlockRows);
  columns_out_.resize(padded(out_bytes) * kBlockRows);
  ring_rows_ = ring_rows;
  ring_stride_ = padded(out_bytes);
  ring_.resize(ring_rows_ * ring_stride_);
}

void Resizer::across_block(const std::uint8_t* const* in_rows, std::uint8_t* const* out_rows) {
  kernels_.to_columns(in_rows, static_cast<std::size_t>(across_.in) * kChannels, columns_in_.data());
  kernels_.across(columns_in_.data(), across_.first.data(), across_.count.data(), across_.weight.data(), across_.taps,
                  across_.out, columns_out_.data());
  kernels_.to_rows(columns_out_.data(), static_cast<std::size_t>(across_.out) * kChannels, out_rows);
}

/// Row y of the target from the rows that taps_ names.
void Resizer::combine_rows(const ImageView& image, std::int32_t y, std::size_t bytes, std::uint8_t* out) {
  const auto row = static_cast<std::size_t>(y);
  const std::int32_t first = down_.first[row];
  const std::int32_t count = down_.count[row];
  taps_.resize(static_cast<std::size_t>(down_.taps));
  for (std::int32_t t = 0; t < count; ++t) {
    taps_[static_cast<std::size_t>(t)] =
        ring_rows_ != 0 ? ring_row(first + t) : image.data + (first + t) * image.stride();
  }
  kernels_.down(taps_.data(), down_.weight.data() + row * static_cast<std::size_t>(down_.taps), count, bytes, out);
}

void Resizer::across_then_down(const ImageView& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                               const RowSink& sink) {
  const bool down = image.height_px != target.height_px;
  const std::size_t out_bytes = static_cast<std::size_t>(target.width_px) * kChannels;
  combined_.resize(out_bytes);
  const auto first_input = [&](std::int32_t y) { return down ? down_.first[static_cast<std::size_t>(y)] : y; };
  std::int32_t ready = first_input(row_begin);  // input rows before this one went across
  for (std::int32_t y = row_begin; y < row_end; ++y) {
    const std::int32_t end = first_input(y) + (down ? down_.count[static_cast<std::size_t>(y)] : 1);
    for (; ring_rows_ != 0 && ready < end; ready += kBlockRows) {
      const std::uint8_t* in_rows[kBlockRows];
      std::uint8_t* out_rows[kBlockRows];
      for (std::int32_t r = 0; r < kBlockRows; ++r) {
        // Lanes below the image repeat its last row; what they give lands in ring rows that nobody reads.
        in_rows[r] = image.data + std::min(ready + r, image.height_px - 1) * image.stride();
        out_rows[r] = ring_row(ready + r);
      }
      across_block(in_rows, out_rows);
    }
    if (down) {
      combine_rows(image, y, out_bytes, combined_.data());
      sink(y, combined_.data());
    } else {
      sink(y, ring_row(y));
    }
  }
}

void Resizer::down_then_across(const ImageView& image, std::int32_t row_begin, std::int32_t row_end,
                               const RowSink& sink) {
  const std::size_t in_bytes = static_cast<std::size_t>(image.width_px) * kChannels;
  const std::size_t ring_rows = std::exchange(ring_rows_, 0);  // the taps are rows of the image itself
  combined_.resize(in_bytes * kBlockRows);
  for (std::int32_t y = row_begin; y < row_end; y += kBlockRows) {
    const std::uint8_t* in_rows[kBlockRows];
    std::uint8_t* out_rows[kBlockRows];
    const std::int32_t rows = std::min<std::int32_t>(kBlockRows, row_end - y);
    for (std::int32_t r = 0; r < kBlockRows; ++r) {
      std::uint8_t* combined = combined_.data() + static_cast<std::size_t>(std::min(r, rows - 1)) * in_bytes;
      if (r < rows) combine_rows(image, y + r, in_bytes, combined);
      in_rows[r] = combined;
      out_rows[r] = ring_.data() + static_cast<std::size_t>(r) * ring_stride_;
    }
    across_block(in_rows, out_rows);
    for (std::int32_t r = 0; r < rows; ++r) sink(y + r, out_rows[r]);
  }
  ring_rows_ = ring_rows;
}

void Resizer::rows(const ImageView& image, Size target, Filter filter, std::int32_t row_begin, std::int32_t row_end,
                   const RowSink& sink) {
  const bool across = image.width_px != target.width_px;
  const bool down = image.height_px != target.height_px;
  if (!across && !down) {
    for (std::int32_t y = row_begin; y < row_end; ++y) sink(y, image.data + y * image.stride());
    return;
  }
  if (down) compute_weights(image.height_px, target.height_px, filter, down_);
  ring_rows_ = 0;
  if (across) {
    const std::size_t taps = down ? static_cast<std::size_t>(down_.taps) : 1;
    const bool down_first = down && goes_down_first(image.size(), target);
    prepare_across(image.width_px, target.width_px, filter,
                   down_first ? std::size_t{kBlockRows} : std::bit_ceil(taps + kBlockRows));
    if (down_first) return down_then_across(image, row_begin, row_end, sink);
  }
  across_then_down(image, target, row_begin, row_end, sink);
}

void resize_image(const ImageView& image, Size target, std::string_view filter, std::uint8_t* out) {
  check_image(image, "the image");
  if (target.height_px < 1 || target.width_px < 1) {
    throw InvalidInput("the target size is " + std::to_string(target.height_px) + " x " +
                       std::to_string(target.width_px) + " pixels (height x width); both must be at least 1");
  }
  const std::size_t row_bytes = static_cast<std::size_t>(target.width_px) * kChannels;
  thread_local Resizer resizer;
  resizer.rows(image, target, parse_filter(filter), 0, target.height_px, [&](std::int32_t y, const std::uint8_t* row) {
    std::memcpy(out + static_cast<std::size_t>(y) * row_bytes, row, row_bytes);
  });
}

}  // namespace navit_edge
