// The strategy "auto": whichever packs are predicted to be done first.
#pragma once

#include "plan/assign_budget.h"

namespace navit_edge {

/// Packs of a named strategy, not kAuto. `decreasing`: the images, the longest first; `given`: as they came.
std::vector<PackPlan> named_packs(Strategy strategy, ImageOrder given, ImageOrder decreasing, TokenCounts tokens,
                                  const Budget& budget);

/// The plan of kAuto, without deadlines; each pack with its budget and times.
Plan choose_packs(ImageOrder given, ImageOrder decreasing, TokenCounts tokens, const PlanLimits& limits);

}  // namespace navit_edge
