// How long packs really take, measured against the cost model's word.
#pragma once

#include <algorithm>
#include <cmath>

namespace navit_edge {

/// Follows the ratio of measured to predicted time, and how much it scatters. A model that was not calibrated is right
/// in proportion only, and a machine is not always the one it was calibrated on.
class CostCorrection {
 public:
  /// `ratio`: until something has been measured.
  explicit CostCorrection(double ratio) : ratio_(ratio) {}

  void observe(double predicted_us, double measured_us) noexcept {
    if (!(predicted_us > 0) || !(measured_us > 0)) return;
    const double ratio = measured_us / predicted_us;
    if (!std::isfinite(ratio)) return;  // of a model that predicts next to nothing
    if (count_ == 0) {
      ratio_ = ratio;
    } else {
      // A pause of the machine is no measure: what is far off counts as a fourfold at most.
      const double seen = std::min(ratio, 4 * ratio_);
      const double weight = std::max(kWeight, 1.0 / (count_ + 1));
      scatter_ += weight * (std::abs(seen - ratio_) - scatter_);
      ratio_ += weight * (seen - ratio_);
    }
    if (count_ < 1000) count_ += 1;
  }

  /// Whether anything has been measured.
  [[nodiscard]] bool known() const noexcept { return count_ > 0; }
  [[nodiscard]] double ratio() const noexcept { return ratio_; }
  /// What to expect.
  [[nodiscard]] double expected_us(double predicted_us) const noexcept { return ratio_ * predicted_us; }
  /// The same with some room for how it scatters.
  [[nodiscard]] double safe_us(double predicted_us) const noexcept { return (ratio_ + scatter_) * predicted_us; }

 private:
  static constexpr double kWeight = 0.1;
  double ratio_;
  double scatter_ = 0;  // mean absolute deviation
  double count_ = 0;
};

}  // namespace navit_edge
