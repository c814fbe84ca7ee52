// Plans under deadlines.
#pragma once

#include "plan/assign_budget.h"

namespace navit_edge {

/// `plan` (made without a look at deadlines) with its packs in order of urgency, or, if more images are on time so,
/// packs of images with like deadlines. Packs run one after the other. Fills `late`.
Plan meet_deadlines(Plan plan, TokenCounts tokens, const PlanLimits& limits);

}  // namespace navit_edge
