#include "plan/choose.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "plan/pair_fill.h"

namespace navit_edge {
namespace {

/// If T is the pack's own, predictions of two splits differ by less than they err; below this share the base stays.
constexpr double kWorthChanging = 0.99;
/// A set that fits one pack is split only for more than a second stream alone would save (two_streams.h).
constexpr double kWorthSplitting = 0.90;

/// So that streams or devices end together.
void sort_longest_first(std::vector<PackPlan>& packs) {
  std::stable_sort(packs.begin(), packs.end(),
                   [](const PackPlan& a, const PackPlan& b) { return a.predicted_us > b.predicted_us; });
}

/// The best plan so far.
class BestPlan {
 public:
  explicit BestPlan(const PlanLimits& limits) : limits_(limits) {}

  void offer(std::vector<PackPlan> packs, Strategy strategy, double worth) {
    for (PackPlan& pack : packs) assign_budget(pack, limits_);
    if (limits_.devices.size() > 1) sort_longest_first(packs);
    const double time = schedule(packs, limits_);
    if (!best_.packs.empty() && time >= worth * best_.predicted_us) return;
    best_ = {std::move(packs), {}, time, strategy};
  }

  [[nodiscard]] const Plan& plan() const noexcept { return best_; }
  Plan take() { return std::move(best_); }

 private:
  const PlanLimits& limits_;
  Plan best_;
};

/// Long packs first on two streams.
void longest_first(std::vector<PackPlan>& packs, const PlanLimits& limits) {
  if (limits.streams < 2) return;
  for (PackPlan& pack : packs) assign_budget(pack, limits);
  sort_longest_first(packs);
}

/// True if no plan of `images` has fewer packs.
bool is_fewest(const std::vector<PackPlan>& packs, ImageOrder images, TokenCounts tokens, const Budget& budget) {
  std::int64_t total = 0;
  for (const std::int32_t image : images) total += tokens[static_cast<std::size_t>(image)];
  const std::int64_t by_tokens = (total + fill_limit(budget) - 1) / fill_limit(budget);
  const std::int64_t by_images = (std::ssize(images) + budget.images - 1) / budget.images;
  return std::ssize(packs) <= std::max(by_tokens, by_images);
}

/// Packs of one budget, as few as is found.
std::vector<PackPlan> fewest_packs(ImageOrder decreasing, TokenCounts tokens, const Budget& budget) {
  std::vector<PackPlan> fewest = first_fit(decreasing, tokens, budget);
  for (const auto fit : {best_fit, pair_fill}) {
    if (is_fewest(fewest, decreasing, tokens, budget)) break;
    std::vector<PackPlan> packs = fit(decreasing, tokens, budget);
    if (packs.size() < fewest.size()) fewest = std::move(packs);
  }
  return fewest;
}

/// T is the pack's own: what counts is how little attention is padded, how many packs there are, and how even.
void offer_dynamic(BestPlan& best, ImageOrder decreasing, TokenCounts tokens, const PlanLimits& limits) {
  const Budget& largest = limits.budgets.back();
  const double worth = best.plan().packs.size() == 1 ? kWorthSplitting : kWorthChanging;
  if (limits.cost.attention == AttentionCost::kSegments) {
    best.offer(fewest_packs(decreasing, tokens, largest), Strategy::kAuto, worth);
    return;
  }
  std::vector<PackPlan> cut = best_cut(decreasing, tokens, largest, limits.budgets.size() - 1, limits.cost);
  longest_first(cut, limits);
  best.offer(std::move(cut), Strategy::kAuto, worth);
}

/// A pack with much room, taken apart into packs of smaller budgets if that is faster.
std::vector<PackPlan> split_underfilled(std::vector<PackPlan> packs, TokenCounts tokens, const PlanLimits& limits) {
  std::vector<PackPlan> out;
  out.reserve(packs.size());
  for (PackPlan& pack : packs) {
    assign_budget(pack, limits);
    double least = pack.predicted_us;
    std::vector<PackPlan> parts;
    for (std::int32_t budget = 0; budget < pack.budget; ++budget) {
      const Budget& smaller = limits.budgets[static_cast<std::size_t>(budget)];
      if (pack.longest > longest_image({&smaller, 1})) continue;
      std::vector<PackPlan> some = first_fit(pack.images, tokens, smaller);  // the longest lies first in each pack
      double time = 0;
      for (PackPlan& part : some) {
        assign_budget(part, limits);
        time += part.predicted_us;
      }
      if (time < least) {
        least = time;
        parts = std::move(some);
      }
    }
    if (parts.empty()) {
      out.push_back(std::move(pack));
    } else {
      std::move(parts.begin(), parts.end(), std::back_inserter(out));
    }
  }
  return out;
}

/// T is the budget's: each budget in turn is the one that is filled; images above it go to the largest.
void offer_fixed(BestPlan& best, ImageOrder decreasing, TokenCounts tokens, const PlanLimits& limits) {
  best.offer(first_fit(decreasing, tokens, limits.budgets.back()), Strategy::kFirstFitDecreasing, 1.0);
  best.offer(best_fit(decreasing, tokens, limits.budgets.back()), Strategy::kBestFitDecreasing, 1.0);
  for (std::size_t i = limits.budgets.size(); i-- > 0;) {
    const Budget& budget = limits.budgets[i];
    const std::int32_t most = longest_image({&budget, 1});
    const auto below = std::partition_point(decreasing.begin(), decreasing.end(), [&](std::int32_t image) {
      return tokens[static_cast<std::size_t>(image)] > most;
    });
    const ImageOrder above(decreasing.begin(), below);
    const ImageOrder rest(below, decreasing.end());
    std::vector<PackPlan> packs = first_fit(above, tokens, limits.budgets.back());
    std::vector<PackPlan> others = fewest_packs(rest, tokens, budget);
    std::move(others.begin(), others.end(), std::back_inserter(packs));
    best.offer(split_underfilled(std::move(packs), tokens, limits), Strategy::kAuto, 1.0);
  }
}

/// Several devices: packs that are so small that each device gets one, two or some more, of a size.
void offer_parts(BestPlan& best, ImageOrder decreasing, TokenCounts tokens, const PlanLimits& limits) {
  constexpr std::int64_t kMostParts = 4;  // of a device
  if (decreasing.empty()) return;
  const Budget& largest = limits.budgets.back();
  std::int64_t total = 0;
  for (const std::int32_t image : decreasing) total += tokens[static_cast<std::size_t>(image)];
  const auto images = std::ssize(decreasing);
  for (std::int64_t parts = 1; parts <= kMostParts; ++parts) {
    const std::int64_t packs = parts * std::ssize(limits.devices);
    if (packs > images) break;
    Budget part = largest;
    const std::int64_t share = (total + packs - 1) / packs;
    part.target_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(fill_limit(largest), share));
    part.images = static_cast<std::int32_t>(std::min<std::int64_t>(largest.images, (images + packs - 1) / packs));
    best.offer(best_fit(decreasing, tokens, part), Strategy::kAuto, kWorthChanging);
    part.images = largest.images;
    best.offer(best_fit(decreasing, tokens, part), Strategy::kAuto, kWorthChanging);
    if (limits.cost.dynamic_tokens && limits.cost.attention != AttentionCost::kSegments) {
      best.offer(best_cut(decreasing, tokens, part, limits.budgets.size() - 1, limits.cost), Strategy::kAuto,
                 kWorthChanging);
    }
  }
}

}  // namespace

std::vector<PackPlan> named_packs(Strategy strategy, ImageOrder given, ImageOrder decreasing, TokenCounts tokens,
                                  const Budget& budget) {
  switch (strategy) {
    case Strategy::kFifo:
      return next_fit(given, tokens, budget);
    case Strategy::kFirstFit:
      return first_fit(given, tokens, budget);
    case Strategy::kBestFit:
      return best_fit(given, tokens, budget);
    case Strategy::kBestFitDecreasing:
      return best_fit(decreasing, tokens, budget);
    case Strategy::kSimilarLength:
      return next_fit(decreasing, tokens, budget);
    case Strategy::kAuto:
    case Strategy::kFirstFitDecreasing:
      break;
  }
  return first_fit(decreasing, tokens, budget);
}

Plan choose_packs(ImageOrder given, ImageOrder decreasing, TokenCounts tokens, const PlanLimits& limits) {
  BestPlan best(limits);
  best.offer(named_packs(limits.base, given, decreasing, tokens, limits.budgets.back()), limits.base, 1.0);
  if (limits.cost.dynamic_tokens) {
    offer_dynamic(best, decreasing, tokens, limits);
  } else {
    offer_fixed(best, decreasing, tokens, limits);
  }
  if (limits.devices.size() > 1) offer_parts(best, decreasing, tokens, limits);
  return best.take();
}

}  // namespace navit_edge
