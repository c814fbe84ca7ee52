// Budgets, times and finishes of packs that were put together without looking at them.
#pragma once

#include <vector>

#include "navit_edge/plan.h"
#include "plan/bin_packing.h"

namespace navit_edge {

[[nodiscard]] bool holds(const Budget& budget, const PackPlan& pack) noexcept;

/// Gives a pack the budget that holds it and is predicted fastest (of equals the smallest), and that time.
void price(PackPlan& pack, const PlanLimits& limits);

/// Sets when each pack finishes, in the order given, on the streams of `limits`; returns when the last one does.
double schedule(std::vector<PackPlan>& packs, int streams);

}  // namespace navit_edge
