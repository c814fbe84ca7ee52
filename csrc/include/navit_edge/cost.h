// What a pack costs: predicted microseconds, measured coefficients or assumed ones (docs/planning.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// What decides a pack's time besides its budget.
struct PackShape {
  std::int64_t tokens = 0;   // used
  std::int64_t images = 0;   // N
  std::int64_t longest = 0;  // L
  std::int64_t squares = 0;  // the sum of l^2

  /// With one more image, of `length` tokens.
  [[nodiscard]] PackShape with(std::int64_t length) const noexcept {
    return {tokens + length, images + 1, length > longest ? length : longest, squares + length * length};
  }
};

/// Predicted time of a pack alone on the whole device: fixed_us + us_per_token * T + us_per_score * S.
struct NAVIT_EDGE_API CostModel {
  AttentionCost attention = AttentionCost::kSegments;
  bool dynamic_tokens = false;      // T is the pack's own; false: T is the budget's
  bool measured = false;            // by `bench --calibrate`; false: assumed from the model's sizes
  std::vector<BudgetCost> budgets;  // one for each budget, or one for all

  /// Of `packs` packs of a budget that compute `tokens` tokens and `scores` products of queries and keys in all.
  [[nodiscard]] double total_us(std::size_t budget, double packs, double tokens, double scores) const noexcept {
    const BudgetCost& cost = budgets[budgets.size() == 1 ? 0 : budget];
    return cost.fixed_us * packs + cost.us_per_token * tokens + cost.us_per_score * scores;
  }
  [[nodiscard]] double pack_us(std::size_t budget, std::int32_t budget_tokens, const PackShape& pack) const noexcept;
};

/// Coefficients from the model's sizes alone: FLOPs of the linear layers and of attention at a stated rate, and a fixed
/// time a layer. Of two cores with AVX-512 and bf16, or of a GPU in 16 bits: right in proportion, not in size.
NAVIT_EDGE_API BudgetCost assumed_cost(const ModelSpec& model, DeviceKind device) noexcept;

/// The same for the instructions and cores of this machine, or a GPU, in a precision. The proportions stay, so that
/// plans are the same everywhere.
NAVIT_EDGE_API BudgetCost assumed_cost(const ModelSpec& model, DeviceKind device, Precision precision) noexcept;

/// The engine's measured coefficients, or `assumed_cost`.
NAVIT_EDGE_API CostModel cost_model(const Manifest& manifest, const EngineSpec& engine);
/// The same of an engine or a group by id. A group's coefficients are its engines', if all were measured. Throws
/// BundleError if the bundle holds neither.
NAVIT_EDGE_API CostModel cost_model(const Manifest& manifest, const std::string& id);

}  // namespace navit_edge
