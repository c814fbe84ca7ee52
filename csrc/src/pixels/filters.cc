#include "pixels/filters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace navit_edge {
namespace {

/// Half the width of a filter at scale 1, in input pixels.
double support_of(Filter filter) {
  switch (filter) {
    case Filter::kNearest:  // has no weights
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
    case Filter::kNearest:
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

/// How many bits of fraction torch gives the weights of an axis, `most` being the largest: 16 bits must hold it.
int torch_weight_bits(double most) noexcept {
  int bits = 0;
  while (bits < kWeightBits && static_cast<std::int32_t>(0.5 + most * (std::int32_t{1} << (bits + 1))) < 1 << 15)
    ++bits;
  return bits;
}

std::int32_t rounded(double value) noexcept { return static_cast<std::int32_t>(value < 0 ? value - 0.5 : value + 0.5); }

struct Taps {
  std::int32_t first, count;
};

/// The weights of output x, whose sum is 1, into exact[count].
Taps exact_taps(std::int32_t x, std::int32_t in, std::int32_t out, Filter filter, double* exact) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;
  const double center = (x + 0.5) * scale;
  const std::int32_t first = std::max(0, static_cast<std::int32_t>(center - support + 0.5));
  const std::int32_t end = std::min(in, static_cast<std::int32_t>(center + support + 0.5));
  const std::int32_t count = end - first;
  double sum = 0.0;
  for (std::int32_t t = 0; t < count; ++t) {
    exact[t] = filter_value(filter, (t + first - center + 0.5) * inverse_scale);
    sum += exact[t];
  }
  for (std::int32_t t = 0; t < count && sum != 0.0; ++t) exact[t] /= sum;
  return {first, count};
}

/// The largest weight of the axis, at least 0.
double most_weight(std::int32_t in, std::int32_t out, Filter filter, double* exact) {
  double most = 0.0;
  for (std::int32_t x = 0; x < out; ++x) {
    const Taps taps = exact_taps(x, in, out, filter, exact);
    for (std::int32_t t = 0; t < taps.count; ++t) most = std::max(most, exact[t]);
  }
  return most;
}

}  // namespace

std::int32_t most_taps(std::int32_t in, std::int32_t out, Filter filter) noexcept {
  const double scale = std::max(static_cast<double>(in) / out, 1.0);
  return static_cast<std::int32_t>(std::ceil(support_of(filter) * scale)) * 2 + 1;
}

// Weights in double, each rounded to its bits of fraction; downscaling widens the filter (antialias). The order of the
// floating-point operations is part of the result: this file is compiled without contraction.
void compute_weights(std::int32_t in, std::int32_t out, Filter filter, Processor processor, AxisWeights& weights) {
  if (weights.in == in && weights.out == out && weights.filter == filter && weights.processor == processor) return;
  weights.in = 0;  // not valid until filled
  weights.taps = most_taps(in, out, filter);
  const auto taps = static_cast<std::size_t>(weights.taps);
  weights.first.resize(static_cast<std::size_t>(out));
  weights.count.resize(static_cast<std::size_t>(out));
  weights.weight.assign(static_cast<std::size_t>(out) * taps, 0);
  weights.exact.resize(taps);
  double* const exact = weights.exact.data();
  const int bits =
      processor == Processor::kTorchvision ? torch_weight_bits(most_weight(in, out, filter, exact)) : kWeightBits;
  const std::int32_t one = std::int32_t{1} << bits;
  const std::int32_t rest = std::int32_t{1} << (kWeightBits - bits);
  for (std::int32_t x = 0; x < out; ++x) {
    const Taps used = exact_taps(x, in, out, filter, exact);
    std::int32_t* fixed = weights.weight.data() + static_cast<std::size_t>(x) * taps;
    for (std::int32_t t = 0; t < used.count; ++t) fixed[t] = rounded(exact[t] * one) * rest;
    weights.first[static_cast<std::size_t>(x)] = used.first;
    weights.count[static_cast<std::size_t>(x)] = used.count;
  }
  weights.out = out;
  weights.filter = filter;
  weights.processor = processor;
  weights.in = in;
}

// Positions are summed up, not multiplied: the sum's rounding decides between neighbours if they are equally far.
void nearest_indices(std::int32_t in, std::int32_t out, std::vector<std::int32_t>& indices) {
  const double step = static_cast<double>(in) / out;
  double position = step * 0.5;
  indices.resize(static_cast<std::size_t>(out));
  for (std::int32_t& index : indices) {
    const auto found = static_cast<std::int32_t>(position);
    index = found < in ? found : -1;
    position += step;
  }
}

// Of n outputs each has most_taps <= 2 * support * in / n + 3 taps: n times that grows with n, whatever the rounding.
void AxisTable::reserve(std::int32_t in_px, std::int32_t out_least, std::int32_t out_most, Filter wanted) {
  const auto outputs = (static_cast<std::size_t>(out_most) + 3) / 4 * 4;
  const auto all_taps = static_cast<std::size_t>(2 * support_of(wanted) * std::max(in_px, out_most));
  for (std::vector<std::int32_t>* one : {&first_quad, &quad_count, &start}) one->reserve(outputs);
  words.reserve((all_taps + 9 * outputs) / 4 * kMostWeightWords);
  weights.first.reserve(outputs);
  weights.count.reserve(outputs);
  weights.weight.reserve(all_taps + 3 * outputs);
  weights.exact.reserve(static_cast<std::size_t>(most_taps(in_px, out_least, wanted)));
}

std::size_t AxisTable::bytes() const noexcept {
  std::size_t bytes = weights.exact.capacity() * sizeof(double);
  for (const std::vector<std::int32_t>* one :
       {&first_quad, &quad_count, &start, &words, &weights.first, &weights.count, &weights.weight}) {
    bytes += one->capacity() * sizeof(std::int32_t);
  }
  return bytes;
}

void AxisTable::prepare(std::int32_t in_px, std::int32_t out_px, Filter wanted, Processor whose,
                        const ResizeKernels& kernels) {
  if (in == in_px && out == out_px && filter == wanted && processor == whose) return;
  in = 0;  // not valid until filled
  compute_weights(in_px, out_px, wanted, whose, weights);
  const std::size_t outputs = (static_cast<std::size_t>(out_px) + 3) / 4 * 4;  // the last ones repeat the last output
  first_quad.resize(outputs);
  quad_count.resize(outputs);
  start.resize(outputs);
  most_quads = 1;
  for (std::size_t x = 0; x < outputs; ++x) {
    const std::size_t from = std::min(x, static_cast<std::size_t>(out_px) - 1);
    const std::int32_t first = weights.first[from];
    first_quad[x] = first / 4;
    quad_count[x] = (first + weights.count[from] - 1) / 4 - first / 4 + 1;
    most_quads = std::max(most_quads, quad_count[x]);
  }
  words_stride = most_quads * kernels.weight_words;
  words.assign(outputs * static_cast<std::size_t>(words_stride), 0);
  for (std::size_t x = 0; x < outputs; ++x) {
    const std::size_t from = std::min(x, static_cast<std::size_t>(out_px) - 1);
    const std::int32_t* weight = weights.weight.data() + from * static_cast<std::size_t>(weights.taps);
    std::int32_t* to = words.data() + x * static_cast<std::size_t>(words_stride);
    std::int32_t sum = 0;  // of the weights
    for (std::int32_t q = 0; q < quad_count[x]; ++q, to += kernels.weight_words) {
      std::int32_t taps[4] = {};
      for (std::int32_t t = 0; t < 4; ++t) {
        const std::int32_t tap = 4 * (first_quad[x] + q) + t - weights.first[from];
        if (tap >= 0 && tap < weights.count[from]) taps[t] = weight[tap];
        sum += taps[t];
      }
      kernels.encode(taps, to);
    }
    start[x] = (std::int32_t{1} << (kWeightBits - 1)) + kernels.pixel_bias * sum;
  }
  out = out_px;
  filter = wanted;
  processor = whose;
  in = in_px;
}

RowPicker::RowPicker(const ResizeKernels& kernels)
    : start_((std::int32_t{1} << (kWeightBits - 1)) + kernels.pixel_bias * kOne) {
  for (int t = 0; t < 4; ++t) {
    std::int32_t taps[4] = {};
    taps[t] = kOne;
    kernels.encode(taps, words_[t]);
  }
}

}  // namespace navit_edge
