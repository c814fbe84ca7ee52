#include "plan/plan_packs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "plan/choose.h"
#include "plan/deadline.h"

namespace navit_edge {
namespace {

/// What is assumed if no coefficients are given: S/16 on a GPU. Only proportions matter to a plan.
BudgetCost default_cost() {
  ModelSpec model;
  model.width = 384;
  model.depth = 12;
  model.mlp_width = 1536;
  return assumed_cost(model, DeviceKind::kGpu);
}

/// Image indices, the longest first, equals in the order given: by counting, since lengths are small integers.
std::vector<std::int32_t> longest_first(std::span<const std::int32_t> token_counts) {
  std::vector<std::int32_t> order(token_counts.size());
  if (order.empty()) return order;
  const std::int32_t most = *std::max_element(token_counts.begin(), token_counts.end());
  const auto shorter_by = [&](std::int32_t tokens) { return static_cast<std::size_t>(most - tokens); };
  if (static_cast<std::size_t>(most) > 64 * order.size() + 65536) {  // few images, very long ones
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return token_counts[static_cast<std::size_t>(a)] > token_counts[static_cast<std::size_t>(b)];
    });
    return order;
  }
  std::vector<std::size_t> next(static_cast<std::size_t>(most) + 1, 0);  // [length below the longest]
  for (const std::int32_t tokens : token_counts) ++next[shorter_by(tokens)];
  std::exclusive_scan(next.begin(), next.end(), next.begin(), std::size_t{0});
  for (std::size_t i = 0; i < order.size(); ++i)
    order[next[shorter_by(token_counts[i])]++] = static_cast<std::int32_t>(i);
  return order;
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
    if (i > 0 && longest_image({&budgets[i], 1}) < longest_image({&budgets[i - 1], 1})) {
      throw InvalidInput("budget " + std::to_string(i) + " takes images of at most " +
                         std::to_string(longest_image({&budgets[i], 1})) + " tokens, fewer than the budget below it, " +
                         std::to_string(longest_image({&budgets[i - 1], 1})) + "; a larger budget takes as many");
    }
  }
}

void check_limits(std::size_t images, const PlanLimits& limits) {
  check_budgets(limits.budgets);
  const std::size_t costs = limits.cost.budgets.size();
  if (costs > 1 && costs != limits.budgets.size()) {
    throw InvalidInput("cost has coefficients for " + std::to_string(costs) + " budgets; there are " +
                       std::to_string(limits.budgets.size()) + "; give one set for each, or one for all");
  }
  for (const BudgetCost& cost : limits.cost.budgets) {
    for (const double value : {cost.fixed_us, cost.us_per_token, cost.us_per_score}) {
      if (!std::isfinite(value) || value < 0) {
        throw InvalidInput("cost has the coefficient " + std::to_string(value) + "; expected finite numbers, 0 and up");
      }
    }
  }
  bool takes_packs = limits.devices.empty();
  for (const PlanDevice& device : limits.devices) {
    if (!(device.slowness > 0) || !(device.ready_us >= 0) || !std::isfinite(device.ready_us)) {
      throw InvalidInput("a device has the slowness " + std::to_string(device.slowness) + " and is ready after " +
                         std::to_string(device.ready_us) + " us; expected more than 0, and 0 and up");
    }
    takes_packs |= std::isfinite(device.slowness);
  }
  if (!takes_packs) throw InvalidInput("no device takes packs; give at least one a finite slowness");
  if (!limits.deadlines_us.empty() && limits.deadlines_us.size() != images) {
    throw InvalidInput("there are " + std::to_string(limits.deadlines_us.size()) + " deadlines for " +
                       std::to_string(images) + " images; give one for each, or none");
  }
  for (std::size_t i = 0; i < limits.deadlines_us.size(); ++i) {
    if (!(limits.deadlines_us[i] >= 0)) {
      throw InvalidInput("the deadline of image " + std::to_string(i) + " is " +
                         std::to_string(limits.deadlines_us[i]) + " us; expected 0 and up, or infinity for none");
    }
  }
}

}  // namespace

std::int32_t longest_image(std::span<const Budget> budgets) noexcept {
  if (budgets.empty()) return 0;
  const Budget& largest = budgets.back();
  return largest.longest > 0 ? std::min(largest.longest, largest.tokens) : largest.tokens;
}

std::string over_budget_message(std::size_t image, std::int64_t tokens, std::span<const Budget> budgets) {
  const std::string what = "image " + std::to_string(image) + " needs " + std::to_string(tokens) + " tokens; ";
  const std::int32_t most = longest_image(budgets);
  if (most < budgets.back().tokens) {
    return what + "the longest image that the engine takes has " + std::to_string(most) +
           "; set overflow=\"downscale\" or lower max_tokens_per_image";
  }
  std::string list;
  for (const Budget& budget : budgets) list += std::to_string(budget.tokens) + ",";
  list += std::to_string(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(1, tokens))));
  return what + "the largest budget is " + std::to_string(most) + "; rebuild with --token-budgets " + list +
         ", set overflow=\"downscale\" or lower max_tokens_per_image";
}

Plan plan_packs(std::span<const std::int32_t> token_counts, const PlanLimits& given) {
  check_limits(token_counts.size(), given);
  PlanLimits limits = given;
  if (limits.cost.budgets.empty()) limits.cost.budgets = {default_cost()};
  if (limits.base == Strategy::kAuto) limits.base = Strategy::kFirstFitDecreasing;
  for (std::size_t i = 0; i < token_counts.size(); ++i) {
    if (token_counts[i] < 1) {
      throw InvalidInput("image " + std::to_string(i) + " has " + std::to_string(token_counts[i]) +
                         " tokens; every image needs at least 1");
    }
    if (token_counts[i] > longest_image(limits.budgets)) {
      throw OverBudget(over_budget_message(i, token_counts[i], limits.budgets));
    }
  }

  std::vector<std::int32_t> order(token_counts.size());
  std::iota(order.begin(), order.end(), 0);
  const std::vector<std::int32_t> decreasing = longest_first(token_counts);

  Plan plan;
  if (limits.strategy == Strategy::kAuto) {
    plan = choose_packs(order, decreasing, token_counts, limits);
  } else {
    plan.packs = named_packs(limits.strategy, order, decreasing, token_counts, limits.budgets.back());
    plan.strategy = limits.strategy;
    for (PackPlan& pack : plan.packs) assign_budget(pack, limits);
    plan.predicted_us = schedule(plan.packs, limits);
  }
  return limits.deadlines_us.empty() ? plan : meet_deadlines(std::move(plan), token_counts, limits);
}

}  // namespace navit_edge
