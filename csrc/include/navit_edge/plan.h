// Planning: integers only. Which images share a pack.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "navit_edge/cost.h"
#include "navit_edge/manifest.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// One of several devices that share the packs of a run, each a whole pack at a time.
struct PlanDevice {
  double slowness = 1;  // the time of a pack there, in parts of what the cost model says; infinity: it takes none
  double ready_us = 0;  // when it has done what it had before
};

/// What binds a plan, all at once.
struct PlanLimits {
  std::vector<Budget> budgets;  // ascending in tokens
  Strategy strategy = Strategy::kAuto;
  CostModel cost;                                 // without coefficients: those of S/16 on a GPU are assumed
  Strategy base = Strategy::kFirstFitDecreasing;  // what kAuto keeps unless it finds something faster
  int streams = 1;                                // 2: two packs may run at once, each with half of the device
  std::vector<double> deadlines_us;               // from the start of the run: one for each image, or none
  std::vector<PlanDevice> devices;                // two and more: the packs are spread over them; else one
};

struct PackPlan {
  std::vector<std::int32_t> images;  // indices into the input, in the order they lie in the pack
  std::int32_t tokens = 0;           // used, prefix tokens included
  std::int32_t longest = 0;          // L
  std::int32_t budget = 0;           // index into PlanLimits::budgets: of those that hold the pack, the fastest
  std::int32_t device = 0;           // index into PlanLimits::devices
  std::int64_t squares = 0;          // the sum of l^2
  double predicted_us = 0;           // alone on the whole device, by the cost model
  double finish_us = 0;              // predicted, from the start of the run

  [[nodiscard]] PackShape shape() const noexcept {
    return {tokens, static_cast<std::int64_t>(images.size()), longest, squares};
  }
};

struct Plan {
  std::vector<PackPlan> packs;          // in the order in which they run
  std::vector<std::int32_t> late;       // images whose pack is predicted to finish after their deadline, ascending
  double predicted_us = 0;              // of the whole run
  Strategy strategy = Strategy::kAuto;  // what was used; kAuto if it found a split of its own
};

/// Distributes images of `token_counts` tokens (prefix tokens included) over packs. Every image lands in exactly one
/// pack, and no pack is above a limit. The same input gives the same plan; except for kFifo, kFirstFit, kBestFit and
/// with deadlines, the lengths in each pack do not depend on the order of the images. Packs are filled up to the
/// `target_tokens` of their budget; an image above it travels alone. With deadlines, packs run one after the other,
/// those that are urgent first; an image that cannot be on time is named in `late` and runs after the others. O(n log
/// n); O(n * images of a pack) if attention is padded or whole. Throws OverBudget for an image above every budget,
/// InvalidInput for limits that make no sense.
NAVIT_EDGE_API Plan plan_packs(std::span<const std::int32_t> token_counts, const PlanLimits& limits);

/// Most tokens that one image may have: 0 if there is no budget.
NAVIT_EDGE_API std::int32_t longest_image(std::span<const Budget> budgets) noexcept;

}  // namespace navit_edge
