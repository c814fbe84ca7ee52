#include "plan/assign_budget.h"

#include <algorithm>
#include <array>

#include "plan/spread.h"
#include "plan/two_streams.h"

namespace navit_edge {

namespace {

/// `time(budget, us)`: what is compared.
template <class Time>
BudgetTime fastest_by(const PackShape& pack, const PlanLimits& limits, Time time) noexcept {
  BudgetTime fastest;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < limits.budgets.size(); ++i) {
    const Budget& budget = limits.budgets[i];
    if (pack.tokens > budget.tokens || pack.images > budget.images) continue;
    if (budget.longest != 0 && pack.longest > budget.longest) continue;
    const double us = limits.cost.pack_us(i, budget.tokens, pack);
    const double compared = time(i, us);
    if (fastest.budget >= 0 && !(compared < least)) continue;
    fastest = {static_cast<std::int32_t>(i), us};
    least = compared;
  }
  return fastest;
}

}  // namespace

BudgetTime fastest_budget(const PackShape& pack, const PlanLimits& limits) noexcept {
  return fastest_by(pack, limits, [](std::size_t, double us) { return us; });
}

BudgetTime fastest_budget(const PackShape& pack, const PlanLimits& limits, const LearnedCost& learned) noexcept {
  if (limits.budgets.size() == 1) return fastest_budget(pack, limits);
  return fastest_by(pack, limits, [&](std::size_t budget, double us) { return learned.us(budget, us); });
}

void assign_budget(PackPlan& pack, const PlanLimits& limits) {
  const BudgetTime fastest = fastest_budget(pack.shape(), limits);
  pack.predicted_us = fastest.us;
  if (fastest.budget >= 0) pack.budget = fastest.budget;
}

double schedule(std::vector<PackPlan>& packs, const PlanLimits& limits) {
  if (limits.devices.size() < 2) return schedule(packs, limits.streams);
  std::vector<double> times;
  times.reserve(packs.size());
  for (const PackPlan& pack : packs) times.push_back(pack.predicted_us);
  const std::vector<std::size_t> on = spread(times, limits.devices);
  std::vector<double> ends;
  for (const PlanDevice& device : limits.devices) ends.push_back(device.ready_us);
  double last = 0;
  for (std::size_t i = 0; i < packs.size(); ++i) {
    packs[i].device = static_cast<std::int32_t>(on[i]);
    packs[i].finish_us = ends[on[i]] += limits.devices[on[i]].slowness * packs[i].predicted_us;
    last = std::max(last, packs[i].finish_us);
  }
  return last;
}

double schedule(std::vector<PackPlan>& packs, int streams) {
  std::size_t paired = 0;
  if (streams >= 2) {
    std::vector<double> times;
    times.reserve(packs.size());
    for (const PackPlan& pack : packs) times.push_back(pack.predicted_us);
    paired = packs_on_two_streams(times);
  }
  std::array<double, 2> busy{0, 0};
  for (std::size_t i = 0; i < paired; ++i) {
    double& stream = *std::min_element(busy.begin(), busy.end());
    stream += 2 / kOneStreamCost * packs[i].predicted_us;
    packs[i].finish_us = stream;
  }
  double now = *std::max_element(busy.begin(), busy.end());
  for (std::size_t i = paired; i < packs.size(); ++i) packs[i].finish_us = now += packs[i].predicted_us;
  return now;
}

}  // namespace navit_edge
