// What measuring has taught of a cost model's word.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "navit_edge/cxx20.h"

namespace navit_edge {

/// Microseconds from those of a CostModel: factor * budget[b] * model^(1 + slope). As it is made: the model's own word.
struct LearnedCost {
  static constexpr std::size_t kMostBudgets = 16;  // those beyond share the last one's

  double factor = 1;
  double slope = 0;  // below 0: a large pack is cheaper than the model says next to a small one
  std::array<double, kMostBudgets> budget;
  bool known = false;  // whether anything has been measured

  LearnedCost() noexcept { budget.fill(1); }

  /// Of a pack of a budget. Never falls as `model_us` grows.
  [[nodiscard]] double us(std::size_t b, double model_us) const noexcept {
    if (!(model_us > 0) || !std::isfinite(model_us)) return model_us;
    const double all = factor * budget[std::min(b, kMostBudgets - 1)];
    return slope == 0 ? all * model_us : all * std::pow(model_us, 1 + slope);
  }
};

}  // namespace navit_edge
