#include "navit_edge/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr int kStepBits = 3;
constexpr int kSteps = 1 << kStepBits;  // of an octave

}  // namespace

Buckets Buckets::exponential(double first, int octaves, double scale) {
  Buckets buckets;
  buckets.exponential_ = true;
  buckets.coarse_ = kSteps;
  buckets.per_first_ = scale / first;
  buckets.bounds_.push_back(first / scale);
  for (int octave = 0; octave < octaves; ++octave) {
    for (int step = 1; step <= kSteps; ++step) {
      // One rounding, in the division: 1.125e-06 is printed as that.
      buckets.bounds_.push_back(std::ldexp(first * (kSteps + step), octave) / (kSteps * scale));
    }
  }
  return buckets;
}

Buckets Buckets::linear(double last, int count) {
  Buckets buckets;
  buckets.per_first_ = count / last;
  for (int i = 1; i <= count; ++i) buckets.bounds_.push_back(last * i / count);
  return buckets;
}

const Buckets& Buckets::seconds() {
  static const Buckets all = exponential(1, 27, 1e6);
  return all;
}
const Buckets& Buckets::ratio() {
  static const Buckets all = linear(1, 20);
  return all;
}
const Buckets& Buckets::images() {
  static const Buckets all = exponential(1, 12);
  return all;
}
const Buckets& Buckets::tokens() {
  static const Buckets all = exponential(1, 16);
  return all;
}

std::size_t Buckets::index(double value) const noexcept {
  if (!(value > bounds_.front())) return 0;
  if (value > bounds_.back()) return bounds_.size();
  const double steps = value * per_first_;
  std::size_t i = 0;
  if (exponential_) {
    // The exponent and the first bits of the fraction count the steps; less one unit, since a bucket holds its upper
    // bound. No logarithm, no search.
    constexpr int kShift = std::numeric_limits<double>::digits - 1 - kStepBits;
    constexpr std::uint64_t kOne = std::bit_cast<std::uint64_t>(1.0) >> kShift;
    const std::uint64_t bits = (std::bit_cast<std::uint64_t>(steps) - 1) >> kShift;
    i = bits < kOne ? 0 : static_cast<std::size_t>(bits - kOne) + 1;
  } else {
    i = static_cast<std::size_t>(std::ceil(steps)) - 1;
  }
  // The product was rounded: at a bound it may lie a step off. The bounds decide.
  i = std::min(i, bounds_.size() - 1);
  if (value > bounds_[i]) return i + 1;
  return i > 0 && value <= bounds_[i - 1] ? i - 1 : i;
}

void Histogram::observe(double value) {
  if (std::isnan(value)) value = 0;
  const bool first = count() == 0;
  min = first ? value : std::min(min, value);
  max = first ? value : std::max(max, value);
  sum += value;
  ++counts[buckets->index(value)];
}

std::uint64_t Histogram::count() const noexcept {
  std::uint64_t all = 0;
  for (const std::uint64_t one : counts) all += one;
  return all;
}

double Histogram::mean() const noexcept {
  const std::uint64_t all = count();
  return all == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(all);
}

double Histogram::quantile(double q) const {
  if (!(q >= 0 && q <= 1)) {
    throw InvalidInput("the quantile asked for is " + std::to_string(q) + "; expected 0 to 1, as 0.99 for p99");
  }
  const std::uint64_t all = count();
  if (all == 0) return std::numeric_limits<double>::quiet_NaN();
  const double rank = q * static_cast<double>(all);
  double below = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const auto here = static_cast<double>(counts[i]);
    if (below + here < rank) {
      below += here;
      continue;
    }
    const double low = std::max(i == 0 ? min : buckets->bound(i - 1), min);
    const double high = std::min(i == buckets->size() ? max : buckets->bound(i), max);
    return low + (std::max(high, low) - low) * std::clamp((rank - below) / here, 0.0, 1.0);
  }
  return max;  // a rank that rounding put above the last value
}

}  // namespace navit_edge
