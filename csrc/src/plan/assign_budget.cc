#include "plan/assign_budget.h"

#include <algorithm>
#include <array>
#include <limits>

#include "plan/two_streams.h"

namespace navit_edge {

bool holds(const Budget& budget, const PackPlan& pack) noexcept {
  return pack.tokens <= budget.tokens && static_cast<std::int64_t>(pack.images.size()) <= budget.images &&
         (budget.longest == 0 || pack.longest <= budget.longest);
}

void price(PackPlan& pack, const PlanLimits& limits) {
  pack.predicted_us = std::numeric_limits<double>::infinity();
  const PackShape shape = pack.shape();
  for (std::size_t i = 0; i < limits.budgets.size(); ++i) {
    if (!holds(limits.budgets[i], pack)) continue;
    const double time = limits.cost.pack_us(i, limits.budgets[i].tokens, shape);
    if (time < pack.predicted_us) {
      pack.predicted_us = time;
      pack.budget = static_cast<std::int32_t>(i);
    }
  }
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
