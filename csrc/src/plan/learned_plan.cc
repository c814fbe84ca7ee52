#include "plan/learned_plan.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "plan/bin_packing.h"

namespace navit_edge {
namespace {

/// Budgets are used by other rules if one is off by more than this against the others.
constexpr double kWorthwhile = 0.25;

double slowness_of(const PlanLimits& limits, const LearnedCost& learned, std::size_t b) noexcept {
  const Budget& budget = limits.budgets[b];
  const std::int64_t tokens = fill_limit(budget);
  const double us = limits.cost.pack_us(b, budget.tokens, {tokens, 4, tokens / 4, tokens * tokens / 4});
  const double slowness = us > 0 ? learned.us(b, us) / us : 1;
  return std::isfinite(slowness) && slowness > 0 ? slowness : 1;
}

}  // namespace

std::vector<double> relative_slowness(const PlanLimits& limits, const LearnedCost& learned) {
  if (!learned.known || limits.budgets.size() < 2 || limits.cost.budgets.empty()) return {};
  std::vector<double> all;
  const double overall = slowness_of(limits, learned, limits.budgets.size() - 1);
  for (std::size_t b = 0; b < limits.budgets.size(); ++b) all.push_back(slowness_of(limits, learned, b) / overall);
  const auto [least, most] = std::minmax_element(all.begin(), all.end());
  if (*most <= (1 + kWorthwhile) * *least) all.clear();
  return all;
}

void slow_down(CostModel& cost, const std::vector<double>& slowness) {
  if (slowness.empty()) return;
  if (cost.budgets.size() == 1) cost.budgets.resize(slowness.size(), cost.budgets.front());
  for (std::size_t b = 0; b < slowness.size(); ++b) {
    cost.budgets[b].fixed_us *= slowness[b];
    cost.budgets[b].us_per_token *= slowness[b];
    cost.budgets[b].us_per_score *= slowness[b];
  }
}

}  // namespace navit_edge
