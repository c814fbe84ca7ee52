// The textbook rules: images in a given order into packs of one budget.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "navit_edge/plan.h"

namespace navit_edge {

using TokenCounts = std::span<const std::int32_t>;  // [images]
using ImageOrder = std::span<const std::int32_t>;   // indices into TokenCounts

/// Where a pack of this budget is full: its target. An image above it travels alone.
std::int32_t fill_limit(const Budget& budget) noexcept;

void append(PackPlan& pack, std::int32_t image, std::int32_t tokens);

/// Into the first pack with room, or into the fullest with room; `order` says which image comes first.
std::vector<PackPlan> first_fit(ImageOrder order, TokenCounts tokens, const Budget& budget);
std::vector<PackPlan> best_fit(ImageOrder order, TokenCounts tokens, const Budget& budget);
/// Into the last pack, or a new one. With `order` decreasing this is "similar-length", as given it is "fifo".
std::vector<PackPlan> next_fit(ImageOrder order, TokenCounts tokens, const Budget& budget);

/// `order` cut into packs so that the sum of their predicted times is the least that any cut of it has.
std::vector<PackPlan> best_cut(ImageOrder order, TokenCounts tokens, const Budget& budget, std::size_t budget_index,
                               const CostModel& cost);

}  // namespace navit_edge
