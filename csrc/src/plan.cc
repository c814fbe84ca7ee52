#include "navit_edge/plan.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>

#include "navit_edge/error.h"
#include "plan_detail.h"

namespace navit_edge {
namespace {

/// Free tokens of every open pack, as a tree of maxima: the first pack with room is found in O(log packs).
class FirstFitTree {
 public:
  explicit FirstFitTree(std::size_t packs) : leaves_(std::bit_ceil(std::max<std::size_t>(packs, 1))) {
    free_.assign(2 * leaves_, 0);
  }

  void set(std::size_t pack, std::int32_t free) {
    std::size_t node = leaves_ + pack;
    free_[node] = free;
    for (node /= 2; node >= 1; node /= 2) free_[node] = std::max(free_[2 * node], free_[2 * node + 1]);
  }

  /// The lowest pack with `tokens` free, or `none`.
  [[nodiscard]] std::size_t first(std::int32_t tokens) const {
    if (free_[1] < tokens) return none;
    std::size_t node = 1;
    while (node < leaves_) node = free_[2 * node] >= tokens ? 2 * node : 2 * node + 1;
    return node - leaves_;
  }

  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

 private:
  std::size_t leaves_;
  std::vector<std::int32_t> free_;  // [2 * leaves], node i over nodes 2i and 2i+1
};

void append(PackPlan& pack, std::int32_t image, std::int32_t tokens) {
  pack.images.push_back(image);
  pack.tokens += tokens;
  pack.longest = std::max(pack.longest, tokens);
}

/// Where a pack is full: the filling target, or the budget for an image that alone exceeds the target.
std::int32_t fill_limit(const Budget& budget) {
  return budget.target_tokens > 0 ? std::min(budget.target_tokens, budget.tokens) : budget.tokens;
}

std::vector<PackPlan> first_fit_decreasing(std::span<const std::int32_t> order, std::span<const std::int32_t> tokens,
                                           const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  FirstFitTree room(order.size());
  for (const std::int32_t image : order) {
    const std::int32_t need = tokens[static_cast<std::size_t>(image)];
    std::size_t index = room.first(need);
    if (index == FirstFitTree::none) {
      index = packs.size();
      packs.emplace_back();
    }
    PackPlan& pack = packs[index];
    append(pack, image, need);
    const bool full = static_cast<std::int64_t>(pack.images.size()) >= budget.images;
    room.set(index, full ? 0 : std::max(0, limit - pack.tokens));
  }
  return packs;
}

std::vector<PackPlan> similar_length(std::span<const std::int32_t> order, std::span<const std::int32_t> tokens,
                                     const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  for (const std::int32_t image : order) {
    const std::int32_t need = tokens[static_cast<std::size_t>(image)];
    if (packs.empty() || std::int64_t{packs.back().tokens} + need > limit ||
        static_cast<std::int64_t>(packs.back().images.size()) >= budget.images) {
      packs.emplace_back();
    }
    append(packs.back(), image, need);
  }
  return packs;
}

void check_budgets(std::span<const Budget> budgets) {
  if (budgets.empty()) throw InvalidInput("the planner was given no token budget; give at least one");
  for (std::size_t i = 0; i < budgets.size(); ++i) {
    const Budget& budget = budgets[i];
    if (budget.tokens < 1 || budget.images < 1) {
      throw InvalidInput("budget " + std::to_string(i) + " holds " + std::to_string(budget.tokens) + " tokens and " +
                         std::to_string(budget.images) + " images; each must be at least 1");
    }
    if (i > 0 && budget.tokens <= budgets[i - 1].tokens) {
      throw InvalidInput("budgets must ascend in tokens; found " + std::to_string(budgets[i - 1].tokens) + " before " +
                         std::to_string(budget.tokens));
    }
  }
}

}  // namespace

Strategy parse_strategy(std::string_view name) {
  if (name == "first-fit-decreasing") return Strategy::kFirstFitDecreasing;
  if (name == "similar-length") return Strategy::kSimilarLength;
  throw InvalidInput("unknown planning strategy '" + std::string(name) +
                     "'; known: first-fit-decreasing, similar-length");
}

std::string over_budget_message(std::size_t image, std::int64_t tokens, std::span<const Budget> budgets) {
  std::string list;
  for (const Budget& budget : budgets) list += std::to_string(budget.tokens) + ",";
  list += std::to_string(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(1, tokens))));
  return "image " + std::to_string(image) + " needs " + std::to_string(tokens) + " tokens; the largest budget is " +
         std::to_string(budgets.back().tokens) + "; rebuild with --token-budgets " + list +
         " or lower max_tokens_per_image";
}

std::vector<PackPlan> plan_packs(std::span<const std::int32_t> token_counts, const PlanLimits& limits) {
  check_budgets(limits.budgets);
  const Budget& largest = limits.budgets.back();
  for (std::size_t i = 0; i < token_counts.size(); ++i) {
    if (token_counts[i] < 1) {
      throw InvalidInput("image " + std::to_string(i) + " has " + std::to_string(token_counts[i]) +
                         " tokens; every image needs at least 1");
    }
    if (token_counts[i] > largest.tokens) throw OverBudget(over_budget_message(i, token_counts[i], limits.budgets));
  }

  std::vector<std::int32_t> order(token_counts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return token_counts[static_cast<std::size_t>(a)] > token_counts[static_cast<std::size_t>(b)];
  });

  std::vector<PackPlan> packs = limits.strategy == Strategy::kFirstFitDecreasing
                                    ? first_fit_decreasing(order, token_counts, largest)
                                    : similar_length(order, token_counts, largest);
  for (PackPlan& pack : packs) {
    const auto holds = [&](const Budget& budget) {
      return pack.tokens <= budget.tokens && static_cast<std::int64_t>(pack.images.size()) <= budget.images;
    };
    pack.budget = static_cast<std::int32_t>(std::find_if(limits.budgets.begin(), limits.budgets.end(), holds) -
                                            limits.budgets.begin());
  }
  return packs;
}

}  // namespace navit_edge
