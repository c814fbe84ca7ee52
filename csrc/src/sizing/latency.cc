#include "sizing/latency.h"

#include <algorithm>
#include <limits>

#include "navit_edge/plan.h"

namespace navit_edge {

EngineLimits EngineLimits::of(const Manifest& manifest, const EngineSpec& engine) {
  return {engine.budgets, cost_model(manifest, engine), manifest.model.prefix_tokens};
}

double EngineLimits::predicted_us(std::int64_t patches, std::int32_t images) const noexcept {
  const std::int64_t length = patches + prefix_tokens;
  double fastest = std::numeric_limits<double>::infinity();
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    const Budget& budget = budgets[b];
    if (length > longest_image({&budget, 1})) continue;
    const std::int64_t target = std::max<std::int64_t>(budget.target_tokens, length);  // of a pack
    const std::int64_t most = std::min<std::int64_t>(budget.images, target / length);
    const std::int64_t packs = (images + most - 1) / most;
    // Of all packs together. A last pack that is not full costs its share of what grows with the images, so that more
    // tokens never cost less.
    const auto all = static_cast<double>(std::int64_t{images} * length);
    const auto each = static_cast<double>(length);
    const auto times = static_cast<double>(packs);
    const double tokens = cost.dynamic_tokens ? all : times * static_cast<double>(budget.tokens);
    double scores = all * each;  // padded and segments alike: the images are equally long
    if (cost.attention == AttentionCost::kWhole) {
      scores = cost.dynamic_tokens ? all * std::min(all, static_cast<double>(target))
                                   : tokens * static_cast<double>(budget.tokens);
    }
    const BudgetCost& own = cost.budgets[cost.budgets.size() == 1 ? 0 : b];
    fastest = std::min(fastest, own.fixed_us * times + own.us_per_token * tokens + own.us_per_score * scores);
  }
  return fastest;
}

double time_to_result_us(std::int64_t patches, const EngineLimits& engine, const Load& load) noexcept {
  return load.queued_us + engine.predicted_us(patches, std::max(1, load.images));
}

std::int64_t patches_in_time(double target_us, std::int64_t least, std::int64_t all, const EngineLimits& engine,
                             const Load& load) noexcept {
  const auto in_time = [&](std::int64_t patches) { return time_to_result_us(patches, engine, load) <= target_us; };
  if (all <= least || in_time(all)) return all;
  if (!in_time(least)) return least;
  std::int64_t fits = least;
  std::int64_t late = all;
  while (late - fits > 1) {
    const std::int64_t middle = fits + (late - fits) / 2;
    (in_time(middle) ? fits : late) = middle;
  }
  return fits;
}

}  // namespace navit_edge
