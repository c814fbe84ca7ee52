// The budget of a pack, its time, and when each pack of a plan finishes.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "navit_edge/learned_cost.h"
#include "navit_edge/plan.h"
#include "plan/bin_packing.h"

namespace navit_edge {

/// The budget that holds a pack and is predicted fastest (of equals the smallest), and the cost model's time of the
/// pack there; -1 if none holds it.
struct BudgetTime {
  std::int32_t budget = -1;
  double us = std::numeric_limits<double>::infinity();
};
[[nodiscard]] BudgetTime fastest_budget(const PackShape& pack, const PlanLimits& limits) noexcept;
/// The same by what measuring has taught.
[[nodiscard]] BudgetTime fastest_budget(const PackShape& pack, const PlanLimits& limits,
                                        const LearnedCost& learned) noexcept;

/// Gives a pack its fastest budget, and that time.
void assign_budget(PackPlan& pack, const PlanLimits& limits);

/// Sets where each pack runs and when it finishes, in the order given, on the streams or the devices of `limits`;
/// returns when the last one does.
double schedule(std::vector<PackPlan>& packs, const PlanLimits& limits);
/// The same on the streams of one device.
double schedule(std::vector<PackPlan>& packs, int streams);

}  // namespace navit_edge
