// Plans by what measuring has taught.
#pragma once

#include <vector>

#include "navit_edge/learned_cost.h"
#include "navit_edge/plan.h"

namespace navit_edge {

/// How much longer than the cost model says a full pack of each budget takes, in parts of what one of the largest does.
/// Empty if none differs by as much as would change a plan for
/// good: packs that differ from call to call for nothing would be found no faster.
[[nodiscard]] std::vector<double> relative_slowness(const PlanLimits& limits, const LearnedCost& learned);

/// Makes each budget of a cost model so much slower. Empty: leaves it as it is.
void slow_down(CostModel& cost, const std::vector<double>& slowness);

}  // namespace navit_edge
