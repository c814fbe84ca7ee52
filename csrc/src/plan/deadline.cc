#include "plan/deadline.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "base/index.h"
#include "plan/choose.h"

namespace navit_edge {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Packs of consecutive images, the most urgent first, so that every accepted image is on time.
///
/// done_[j] is the earliest time at which the first j accepted images can all be done, each pack of consecutive ones
/// and done before its first image's deadline, the earliest it holds. If no such time exists the longest image
/// accepted so far is given up (Moore, Management Science 15, 1968) and the rest is computed again from there.
class UrgentPacks {
 public:
  UrgentPacks(TokenCounts tokens, const PlanLimits& limits) : tokens_(tokens), limits_(limits) {}

  /// `urgent`: images in ascending order of deadline.
  void accept(ImageOrder urgent) {
    for (const std::int32_t image : urgent) {
      accepted_.push_back(image);
      if (extend(accepted_.size())) continue;
      const auto longest = std::max_element(accepted_.begin(), accepted_.end(), [&](std::int32_t a, std::int32_t b) {
        return tokens_[index(a)] < tokens_[index(b)];
      });
      given_up_.push_back(*longest);
      const auto from = static_cast<std::size_t>(longest - accepted_.begin());
      accepted_.erase(longest);
      for (std::size_t j = from + 1; j <= accepted_.size(); ++j) {
        // Never worse than before for those that stayed; if it fails all the same, the last one is given up, too.
        if (extend(j)) continue;
        given_up_.push_back(accepted_[j - 1]);
        accepted_.erase(accepted_.begin() + static_cast<std::ptrdiff_t>(j - 1));
        --j;
      }
    }
  }

  [[nodiscard]] std::vector<PackPlan> packs() const {
    std::vector<PackPlan> packs;
    for (std::size_t end = accepted_.size(); end > 0; end = begin_[end]) packs.push_back(pack(begin_[end], end));
    std::reverse(packs.begin(), packs.end());
    return packs;
  }

  [[nodiscard]] const std::vector<std::int32_t>& given_up() const noexcept { return given_up_; }

 private:
  [[nodiscard]] PackPlan pack(std::size_t first, std::size_t end) const {
    PackPlan out;
    for (std::size_t i = first; i < end; ++i) append(out, accepted_[i], tokens_[index(accepted_[i])]);
    assign_budget(out, limits_);
    return out;
  }

  /// Computes done_[end] from those before it; false if the images cannot all be on time.
  bool extend(std::size_t end) {
    done_.resize(std::max(done_.size(), end + 1), kNever);
    begin_.resize(done_.size(), 0);
    done_[end] = kNever;
    const std::int32_t limit = fill_limit(limits_.budgets.back());
    PackPlan pack;  // of the images first..end
    for (std::size_t first = end; first-- > 0;) {
      const std::int32_t need = tokens_[index(accepted_[first])];
      if (first + 1 < end && std::int64_t{pack.tokens} + need > limit) break;
      append(pack, accepted_[first], need);
      if (static_cast<std::int64_t>(pack.images.size()) > limits_.budgets.back().images) break;
      assign_budget(pack, limits_);
      const double done = done_[first] + pack.predicted_us;
      if (done <= limits_.deadlines_us[index(accepted_[first])] && done < done_[end]) {
        done_[end] = done;
        begin_[end] = first;
      }
    }
    return done_[end] < kNever;
  }

  TokenCounts tokens_;
  const PlanLimits& limits_;
  std::vector<std::int32_t> accepted_;
  std::vector<std::int32_t> given_up_;
  std::vector<double> done_{0};        // [accepted + 1]
  std::vector<std::size_t> begin_{0};  // [accepted + 1], of the pack that ends there
};

double urgency(const PackPlan& pack, const PlanLimits& limits) {
  double earliest = kNever;
  for (const std::int32_t image : pack.images) earliest = std::min(earliest, limits.deadlines_us[index(image)]);
  return earliest;
}

void name_late(Plan& plan, const PlanLimits& limits) {
  plan.predicted_us = schedule(plan.packs, 1);
  plan.late.clear();
  for (const PackPlan& pack : plan.packs) {
    for (const std::int32_t image : pack.images) {
      if (pack.finish_us > limits.deadlines_us[index(image)]) plan.late.push_back(image);
    }
  }
  std::sort(plan.late.begin(), plan.late.end());
}

/// Packs of `images` by the caller's strategy, without deadlines.
std::vector<PackPlan> without_deadlines(std::vector<std::int32_t> images, TokenCounts tokens,
                                        const PlanLimits& limits) {
  std::sort(images.begin(), images.end());
  std::vector<std::int32_t> decreasing = images;
  std::stable_sort(decreasing.begin(), decreasing.end(),
                   [&](std::int32_t a, std::int32_t b) { return tokens[index(a)] > tokens[index(b)]; });
  if (limits.strategy == Strategy::kAuto) return choose_packs(images, decreasing, tokens, limits).packs;
  std::vector<PackPlan> packs = named_packs(limits.strategy, images, decreasing, tokens, limits.budgets.back());
  for (PackPlan& pack : packs) assign_budget(pack, limits);
  return packs;
}

/// As many images on time as this finds, in packs of like deadlines; then the others.
Plan urgent_plan(TokenCounts tokens, const PlanLimits& limits) {
  std::vector<std::int32_t> urgent(tokens.size());
  std::iota(urgent.begin(), urgent.end(), 0);
  std::stable_sort(urgent.begin(), urgent.end(), [&](std::int32_t a, std::int32_t b) {
    const double left = limits.deadlines_us[index(a)];
    const double right = limits.deadlines_us[index(b)];
    return left != right ? left < right : tokens[index(a)] > tokens[index(b)];
  });
  UrgentPacks search(tokens, limits);
  // Those without a deadline have nothing to be late for: they are packed by the strategy, after the rest.
  const auto free = std::partition_point(
      urgent.begin(), urgent.end(), [&](std::int32_t image) { return limits.deadlines_us[index(image)] < kNever; });
  search.accept({urgent.begin(), free});
  Plan plan;
  plan.packs = search.packs();
  std::vector<std::int32_t> others(free, urgent.end());
  others.insert(others.end(), search.given_up().begin(), search.given_up().end());
  if (!others.empty()) {
    std::vector<PackPlan> rest = without_deadlines(std::move(others), tokens, limits);
    std::move(rest.begin(), rest.end(), std::back_inserter(plan.packs));
  }
  return plan;
}

}  // namespace

Plan meet_deadlines(Plan plan, TokenCounts tokens, const PlanLimits& limits) {
  std::stable_sort(plan.packs.begin(), plan.packs.end(),
                   [&](const PackPlan& a, const PackPlan& b) { return urgency(a, limits) < urgency(b, limits); });
  name_late(plan, limits);
  if (plan.late.empty()) return plan;
  Plan urgent = urgent_plan(tokens, limits);
  name_late(urgent, limits);
  urgent.strategy = plan.strategy;
  return urgent.late.size() < plan.late.size() ? urgent : plan;
}

}  // namespace navit_edge
