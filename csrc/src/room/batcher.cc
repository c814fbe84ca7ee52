#include "room/batcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>

#include "plan/fit.h"
#include "plan/price.h"

namespace navit_edge {
namespace {

/// As many waiting images are looked at for one pack: several times what a pack holds.
constexpr std::size_t kWindow = 256;
/// A pack of like lengths must be cheaper by this much than one in the order of urgency.
constexpr double kWorthwhile = 0.97;

}  // namespace

Batcher::Batcher(const PlanLimits& limits)
    : limits_(&limits),
      most_tokens_(fill_limit(limits.budgets.back())),
      most_images_(limits.budgets.back().images),
      shares_us_(static_cast<std::size_t>(longest_image(limits.budgets)) + 1) {
  window_.reserve(kWindow);
  by_urgency_.picked.reserve(kWindow);
  by_length_.picked.reserve(kWindow);
}

double Batcher::pack_us(const PackShape& shape) const {
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < limits_->budgets.size(); ++i) {
    const Budget& budget = limits_->budgets[i];
    if (shape.tokens > budget.tokens || shape.images > budget.images) continue;
    if (budget.longest != 0 && shape.longest > budget.longest) continue;
    least = std::min(least, limits_->cost.pack_us(i, budget.tokens, shape));
  }
  return least;
}

double Batcher::alone_us(std::int32_t tokens) const {
  return pack_us({tokens, 1, tokens, std::int64_t{tokens} * tokens});
}

double Batcher::share_us(std::int32_t tokens) const {
  std::atomic<double>& known = shares_us_[static_cast<std::size_t>(tokens)];
  if (const double share = known.load(std::memory_order_relaxed); share > 0) return share;
  double least = alone_us(tokens);
  const std::int64_t squares = std::int64_t{tokens} * tokens;
  for (std::int64_t n = 2; n <= most_images_ && n * tokens <= most_tokens_; ++n) {
    least = std::min(least, pack_us({n * tokens, n, tokens, n * squares}) / static_cast<double>(n));
  }
  known.store(least, std::memory_order_relaxed);
  return least;
}

bool Batcher::full(const Queue& queue) const {
  if (queue.size() >= static_cast<std::size_t>(most_images_)) return true;
  std::int64_t tokens = 0;
  for (const Waiting* image : queue.order()) {
    tokens += image->result.tokens;
    if (tokens >= most_tokens_) return true;
  }
  return false;
}

void Batcher::draft(Clock::time_point start, const Pace& pace, Draft& out) const {
  out.picked.clear();
  out.best = 0;
  PackShape shape;
  double shares = 0;
  Clock::time_point due = Clock::time_point::max();
  for (std::size_t i = 0; i < window_.size() && shape.images < most_images_; ++i) {
    const Candidate& candidate = window_[i];
    const bool first = shape.images == 0;
    PackShape with = shape;
    with.tokens += candidate.tokens;
    with.images += 1;
    with.longest = std::max<std::int64_t>(with.longest, candidate.tokens);
    with.squares += std::int64_t{candidate.tokens} * candidate.tokens;
    if (!first && with.tokens > most_tokens_) continue;
    const double time = pack_us(with);
    if (time == std::numeric_limits<double>::infinity()) continue;
    // Who is late even alone has nothing to lose: it makes no pack smaller.
    Clock::time_point due_with = due;
    if (candidate.image->deadline < due &&
        after(start, pace.safe_us(alone_us(candidate.tokens))) <= candidate.image->deadline) {
      due_with = candidate.image->deadline;
    }
    if (!first && due_with != Clock::time_point::max() && after(start, pace.safe_us(time)) > due_with) continue;
    due = due_with;
    shape = with;
    shares += candidate.image->share_us;
    out.picked.push_back(static_cast<std::int32_t>(i));
    const double waste = time / shares;
    if (first || waste <= out.waste) {
      out.waste = waste;
      out.time_us = time;
      out.due = due;
      out.best = out.picked.size();
    }
  }
}

void Batcher::look_at(const Queue& queue) {
  window_.clear();
  for (Waiting* image : queue.order()) {
    if (window_.size() == kWindow) break;
    window_.push_back({image, image->result.tokens, static_cast<std::int32_t>(window_.size())});
  }
}

Clock::time_point Batcher::leaves_by(const Queue& queue, Clock::time_point now, const Pace& pace) {
  look_at(queue);
  draft(now, pace, by_urgency_);
  if (by_urgency_.due == Clock::time_point::max()) return Clock::time_point::max();
  return after(by_urgency_.due, -pace.safe_us(by_urgency_.time_us));
}

void Batcher::take(Queue& queue, Clock::time_point start, const Pace& pace, Batch& batch) {
  look_at(queue);
  const auto take_picked = [&](const Draft& draft) {
    batch.images.clear();
    for (std::size_t i = 0; i < draft.best; ++i) {
      batch.images.push_back(window_[static_cast<std::size_t>(draft.picked[i])].image);
    }
  };
  draft(start, pace, by_urgency_);
  take_picked(by_urgency_);
  // Lengths matter where attention pads to the longest image. A waste of 1 cannot be bettered.
  if (kWorthwhile * by_urgency_.waste > 1 && window_.size() > by_urgency_.best) {
    const std::int32_t length = window_.front().tokens;
    std::sort(window_.begin() + 1, window_.end(), [&](const Candidate& a, const Candidate& b) {
      const std::int32_t left = std::abs(a.tokens - length);
      const std::int32_t right = std::abs(b.tokens - length);
      return left != right ? left < right : a.rank < b.rank;
    });
    draft(start, pace, by_length_);
    if (by_length_.waste < kWorthwhile * by_urgency_.waste) take_picked(by_length_);
  }

  batch.plan.images.clear();
  batch.plan.tokens = batch.plan.longest = batch.plan.budget = 0;
  batch.plan.squares = 0;
  for (Waiting* image : batch.images) {
    append(batch.plan, static_cast<std::int32_t>(batch.plan.images.size()), image->result.tokens);
    queue.remove(*image);
  }
  price(batch.plan, *limits_);
}

}  // namespace navit_edge
