// Planning: integers only. Which images share a pack.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

enum class Strategy { kFirstFitDecreasing, kSimilarLength };

/// "first-fit-decreasing" | "similar-length"; throws InvalidInput for another name.
NAVIT_EDGE_API Strategy parse_strategy(std::string_view name);

struct PlanLimits {
  std::vector<Budget> budgets;  // ascending in tokens
  Strategy strategy = Strategy::kFirstFitDecreasing;
};

struct PackPlan {
  std::vector<std::int32_t> images;  // indices into the input, in the order they lie in the pack
  std::int32_t tokens = 0;           // used, prefix tokens included
  std::int32_t longest = 0;          // L
  std::int32_t budget = 0;           // index into PlanLimits::budgets: the smallest that holds the pack
};

/// Distributes images of `token_counts` tokens (prefix tokens included) over packs. Every image lands in exactly one
/// pack; the same input gives the same plan. Throws OverBudget for an image above every budget.
NAVIT_EDGE_API std::vector<PackPlan> plan_packs(std::span<const std::int32_t> token_counts, const PlanLimits& limits);

}  // namespace navit_edge
