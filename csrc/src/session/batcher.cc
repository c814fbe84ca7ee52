#include "session/batcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>

#include "plan/assign_budget.h"
#include "plan/bin_packing.h"

namespace navit_edge {
namespace {

/// As many waiting images are looked at for one pack: several times what a pack holds.
constexpr std::size_t kWindow = 256;
/// As many of them are looked after when it is counted who will be on time.
constexpr std::size_t kForesight = 64;
/// What a pack is predicted to take at most, whatever the model says: kNever is that it fits no budget.
constexpr double kMostUs = 1e100;
constexpr double kNever = std::numeric_limits<double>::infinity();
/// A pack of like lengths must be cheaper by this much than one in the order of urgency.
constexpr double kWorthwhile = 0.97;
/// While late images wait, packs must come as close as this to the least waste: small ones for the sake of those that
/// can still be on time would let ever more come late.
constexpr double kFrugal = 1.5;
/// A late image steps back until this many times as much time has passed.
constexpr double kPatience = 4;
/// Until a worker that waits for a point in time has woken.
constexpr double kWakingUs = 1000;

double promised_us(const BudgetTime& time, const Predictor& predictor) {
  return time.budget < 0 ? kNever : predictor.safe_us(static_cast<std::size_t>(time.budget), time.us);
}

}  // namespace

Batcher::Batcher(const PlanLimits& limits)
    : limits_(&limits),
      most_tokens_(fill_limit(limits.budgets.back())),
      most_images_(limits.budgets.back().images),
      shares_us_(static_cast<std::size_t>(longest_image(limits.budgets)) + 1) {
  window_.reserve(kWindow);
  order_.reserve(kWindow);
  left_.reserve(kForesight);
  for (Draft* draft : {&by_urgency_, &by_length_}) {
    draft->picked.reserve(kWindow);
    draft->steps.reserve(kWindow);
  }
}

double Batcher::pack_us(const PackShape& shape) const {
  const BudgetTime fastest = fastest_budget(shape, *limits_);
  if (fastest.budget < 0) return kNever;
  return fastest.us < kMostUs ? fastest.us : kMostUs;
}

/// The budget on which it is expected to be fastest, and the model's time there; kNever fits none.
BudgetTime Batcher::pack_on(const PackShape& shape, const Predictor& predictor) const {
  BudgetTime fastest = fastest_budget(shape, *limits_, predictor.center());
  if (fastest.budget >= 0 && !(fastest.us < kMostUs)) fastest.us = kMostUs;
  return fastest;
}

double Batcher::alone_us(std::int32_t tokens) const {
  return pack_us({tokens, 1, tokens, std::int64_t{tokens} * tokens});
}

double Batcher::promised_alone_us(std::int32_t tokens, const Predictor& predictor) const {
  return promised_us(pack_on({tokens, 1, tokens, std::int64_t{tokens} * tokens}, predictor), predictor);
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
  for (const PendingImage* image : queue.order()) {
    tokens += image->result.tokens;
    if (tokens >= most_tokens_) return true;
  }
  return false;
}

/// Fills a pack in `order`, an order of the window; an image that does not fit is passed over.
void Batcher::draft(std::span<const std::int32_t> order, const Predictor& predictor, Draft& out) const {
  out.picked.clear();
  out.steps.clear();
  PackShape shape;
  double shares = 0;
  for (const std::int32_t i : order) {
    if (shape.images >= most_images_) break;
    const Candidate& candidate = window_[static_cast<std::size_t>(i)];
    const PackShape with = shape.with(candidate.tokens);
    if (shape.images > 0 && with.tokens > most_tokens_) continue;
    const BudgetTime time = pack_on(with, predictor);
    if (time.budget < 0) continue;
    shape = with;
    shares += candidate.image->share_us;
    out.picked.push_back(i);
    out.steps.push_back({promised_us(time, predictor), time.us / shares});
  }
}

/// How many of the window's images are on time if the first `count` of `draft` leave now, and the others after them
/// in packs of as many.
int Batcher::on_time(const Draft& draft, std::size_t count, Clock::time_point start, const Predictor& predictor) {
  left_.assign(std::min(window_.size(), kForesight), true);
  const auto keeps = [&](const Candidate& candidate, double us) {
    const PendingImage& image = *candidate.image;  // one that has stepped back is not counted: it was late once
    return !image.stepped_back && image.due != Clock::time_point::max() && after(start, us) <= image.due;
  };
  double us = draft.steps[count - 1].time_us;
  int kept = 0;
  for (std::size_t k = 0; k < count; ++k) {
    const auto i = static_cast<std::size_t>(draft.picked[k]);
    kept += keeps(window_[i], us) ? 1 : 0;
    if (i < left_.size()) left_[i] = false;
  }
  for (std::size_t begin = 0; begin < left_.size();) {
    PackShape shape;
    std::size_t end = begin;
    for (; end < left_.size() && shape.images < static_cast<std::int64_t>(count); ++end) {
      if (!left_[end]) continue;
      const PackShape with = shape.with(window_[end].tokens);
      if (shape.images > 0 && with.tokens > most_tokens_) break;
      shape = with;
    }
    if (shape.images > 0) us += promised_us(pack_on(shape, predictor), predictor);
    for (; begin < end; ++begin) kept += left_[begin] && keeps(window_[begin], us) ? 1 : 0;
  }
  return kept;
}

/// The best cut of a draft: most images on time if deadlines are at stake, then the least waste.
Batcher::Cut Batcher::best_cut_of(const Draft& draft, Stake stake, Clock::time_point start,
                                  const Predictor& predictor) {
  Cut best;
  double most_waste = kNever;
  if (stake == Stake::kBehind) {
    const auto less = [](const Draft::Step& a, const Draft::Step& b) { return a.waste < b.waste; };
    most_waste = kFrugal * std::min_element(draft.steps.begin(), draft.steps.end(), less)->waste;
  }
  for (std::size_t count = 1; count <= draft.picked.size(); ++count) {
    const double waste = draft.steps[count - 1].waste;
    if (waste > most_waste) continue;
    const Cut cut{count, stake == Stake::kNone ? 0 : on_time(draft, count, start, predictor), waste};
    if (best.count == 0 || cut.on_time > best.on_time || (cut.on_time == best.on_time && cut.waste <= best.waste))
      best = cut;
  }
  return best;
}

bool Batcher::late(const PendingImage& image, Clock::time_point start, const Predictor& predictor) const {
  if (image.due == Clock::time_point::max()) return false;
  const std::int32_t tokens = image.result.tokens;
  const BudgetTime alone = pack_on({tokens, 1, tokens, std::int64_t{tokens} * tokens}, predictor);
  return after(start, predictor.expected_us(static_cast<std::size_t>(std::max(alone.budget, 0)), alone.us)) > image.due;
}

void Batcher::let_late_ones_step_back(Queue& queue, Clock::time_point start, const Predictor& predictor) const {
  for (;;) {
    PendingImage* const head = *queue.order().begin();
    if (head->stepped_back || !late(*head, start, predictor)) return;  // once only: it does not wait for ever
    queue.put_back(*head, after(head->due, (kPatience - 1) * microseconds(head->due - head->submitted)));
  }
}

void Batcher::look_at(const Queue& queue, const Whom& whom) {
  window_.clear();
  order_.clear();
  double behind_us = whom.behind_us;
  const auto add = [&](PendingImage* image) {
    if (image->failed_on >= 0 && image->failed_on == whom.not_failed_on) return;
    order_.push_back(static_cast<std::int32_t>(window_.size()));
    window_.push_back({image, image->result.tokens});
  };
  for (PendingImage* image = queue.oldest(); image != nullptr && image->submitted < whom.elders;
       image = image->behind) {
    if (window_.size() == kWindow) break;
    add(image);
  }
  const std::size_t old = window_.size();
  for (PendingImage* image : queue.order()) {
    if (window_.size() == kWindow) break;
    if (behind_us > 0) {
      behind_us -= image->share_us;
      continue;
    }
    const auto end = window_.begin() + static_cast<std::ptrdiff_t>(old);
    const bool there = image->submitted < whom.elders &&
                       std::any_of(window_.begin(), end, [&](const Candidate& one) { return one.image == image; });
    if (!there) add(image);
  }
}

Clock::time_point Batcher::leaves_by(const Queue& queue, Clock::time_point now, const Predictor& predictor) {
  look_at(queue, {});
  draft(order_, predictor, by_urgency_);
  const Cut cut = best_cut_of(by_urgency_, Stake::kNone, now, predictor);
  const double us = by_urgency_.steps[cut.count - 1].time_us + kWakingUs;
  Clock::time_point leaves = Clock::time_point::max();
  for (const Candidate& candidate : window_) {  // one that is late already, too: waiting longer helps nobody
    if (candidate.image->due != Clock::time_point::max()) leaves = std::min(leaves, after(candidate.image->due, -us));
  }
  return leaves;
}

void Batcher::pick(Queue& queue, Clock::time_point start, const Predictor& predictor, Batch& batch, const Whom& whom) {
  let_late_ones_step_back(queue, start, predictor);
  look_at(queue, whom);
  batch.images.clear();
  if (window_.empty()) return;
  Stake stake = Stake::kNone;
  for (const Candidate& candidate : window_) {
    if (candidate.image->due == Clock::time_point::max()) continue;
    const bool missed = candidate.image->stepped_back || late(*candidate.image, start, predictor);
    stake = std::max(stake, missed ? Stake::kBehind : Stake::kDeadlines);
  }
  draft(order_, predictor, by_urgency_);
  const Draft* chosen = &by_urgency_;
  Cut cut = best_cut_of(by_urgency_, stake, start, predictor);
  // Lengths matter if attention pads to the longest image. A waste of 1 cannot be bettered.
  if (kWorthwhile * cut.waste > 1 && window_.size() > cut.count) {
    const std::int32_t length = window_.front().tokens;
    std::sort(order_.begin() + 1, order_.end(), [&](std::int32_t a, std::int32_t b) {
      const std::int32_t left = std::abs(window_[static_cast<std::size_t>(a)].tokens - length);
      const std::int32_t right = std::abs(window_[static_cast<std::size_t>(b)].tokens - length);
      return left != right ? left < right : a < b;
    });
    draft(order_, predictor, by_length_);
    const Cut other = best_cut_of(by_length_, stake, start, predictor);
    if (other.on_time > cut.on_time || (other.on_time == cut.on_time && other.waste < kWorthwhile * cut.waste)) {
      chosen = &by_length_;
      cut = other;
    }
  }

  for (std::size_t i = 0; i < cut.count; ++i) {
    batch.images.push_back(window_[static_cast<std::size_t>(chosen->picked[i])].image);
  }
  batch.plan.images.clear();
  batch.plan.tokens = batch.plan.longest = batch.plan.budget = 0;
  batch.plan.squares = 0;
  for (PendingImage* image : batch.images) {
    append(batch.plan, static_cast<std::int32_t>(batch.plan.images.size()), image->result.tokens);
  }
  const BudgetTime on = pack_on(batch.plan.shape(), predictor);
  batch.plan.budget = std::max(on.budget, 0);
  batch.plan.predicted_us = on.us;
}

void Batcher::take_out(Queue& queue, const Batch& batch) noexcept {
  for (PendingImage* image : batch.images) queue.remove(*image);
}

}  // namespace navit_edge
