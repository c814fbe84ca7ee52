// Predictions that learn: the cost model's word against what was measured.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "navit_edge/learned_cost.h"

namespace navit_edge {

/// Follows the ratio of measured to predicted time of one engine in one way of running it, in logarithms: a speed that
/// all packs share, what each budget takes on top of it, how it changes with the size of a pack, and how it scatters.
///
/// The speed is a median of the last packs, a newer one counting for more: half as much after kHalfLife packs. One
/// outlier moves it no further than the packs beside it do. If the last few packs agree on another speed, those from
/// before the change are forgotten. Budget and size are learned from how packs differ from those run shortly before and
/// after, so that a change of speed teaches nothing of them; a budget counts once kHandful of its packs were seen.
///
/// Not thread-safe. Fixed memory: nothing is allocated.
class Predictor {
 public:
  static constexpr std::size_t kHandful = 4;
  static constexpr double kHalfLife = 8;  // packs

  /// `ratio`: until something has been measured.
  explicit Predictor(double ratio = 1) noexcept { assume(ratio); }

  /// Another ratio until something has been measured; after that nothing.
  void assume(double ratio) noexcept {
    if (count_ == 0) center_.factor = safe_.factor = ratio_ = ratio;
  }
  /// A pack of `budget` took `measured_us`, of which the model said `model_us`.
  void observe(std::size_t budget, double model_us, double measured_us) noexcept;

  [[nodiscard]] bool known() const noexcept { return count_ > 0; }
  /// How often it has forgotten what was before a change.
  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// What to expect: for plans.
  [[nodiscard]] const LearnedCost& center() const noexcept { return center_; }
  /// What some nine of ten packs keep: for promises.
  [[nodiscard]] const LearnedCost& safe() const noexcept { return safe_; }
  /// Measured to predicted of the packs as they come.
  [[nodiscard]] double ratio() const noexcept { return ratio_; }
  [[nodiscard]] double expected_us(std::size_t budget, double model_us) const noexcept {
    return center_.us(budget, model_us);
  }
  [[nodiscard]] double safe_us(std::size_t budget, double model_us) const noexcept {
    return safe_.us(budget, model_us);
  }
  /// The standard deviation of the logarithm, by the median of deviations.
  [[nodiscard]] double scatter() const noexcept { return scatter_; }

 private:
  static constexpr std::size_t kKept = 32;   // packs
  static constexpr std::size_t kWindow = 7;  // packs in which those beside the middle one are compared with it
  static constexpr std::size_t kRecent = 5;  // that tell of a change
  static constexpr std::size_t kBudgets = LearnedCost::kMostBudgets;

  struct Pack {
    double ratio = 0;  // logarithms
    double size = 0;
    std::uint32_t budget = 0;
  };
  /// A speed and how much it counts, for plans and for promises.
  struct Weighted {
    double value = 0;
    double of_plans = 0;
    double of_promises = 0;
  };

  /// `age` 0: the newest.
  [[nodiscard]] const Pack& pack(std::size_t age) const noexcept { return packs_[(next_ + kKept - 1 - age) % kKept]; }
  /// The logarithm of the ratio without what its budget and its size explain.
  [[nodiscard]] double speed(std::size_t age) const noexcept;
  [[nodiscard]] double on_top(std::size_t budget) const noexcept;
  [[nodiscard]] double median_of(std::size_t count, std::size_t from = 0) const noexcept;
  void learn_differences() noexcept;
  [[nodiscard]] double deviation(double center, double within) const noexcept;
  [[nodiscard]] double quantile(double Weighted::* weight, double above) const noexcept;
  void forget_before_a_change() noexcept;
  void conclude() noexcept;

  std::array<Pack, kKept> packs_{};
  std::size_t next_ = 0;
  std::size_t kept_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t changes_ = 0;
  std::array<double, kBudgets> budget_{};       // logarithms
  std::array<std::uint32_t, kBudgets> seen_{};  // packs of each that were compared
  std::array<std::array<double, kHandful>, kBudgets> first_{};
  double size_products_ = 0;  // decaying sums of a regression
  double size_squares_ = 0;
  double slope_ = 0;

  std::array<Weighted, kKept> sorted_{};  // [kept_]
  std::size_t budgets_ = 0;               // one more than the largest that was seen
  double scatter_ = 0;
  double ratio_ = 1;
  LearnedCost center_;
  LearnedCost safe_;
};

}  // namespace navit_edge
