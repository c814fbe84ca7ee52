#include "session/scheduler.h"

#include <algorithm>
#include <span>
#include <utility>

#include "plan/two_streams.h"

namespace navit_edge {
namespace {

/// As many packs in a row may leave before what is overdue; then it has its turn.
constexpr int kOvertakers = 3;

}  // namespace

Scheduler::Scheduler(const PlanLimits& limits, const Rules& rules, Queue& queue)
    : rules_(rules),
      queue_(&queue),
      batcher_(limits),
      corrections_{CostCorrection(1), CostCorrection(2 / kOneStreamCost)} {}

void Scheduler::add(RunJob& run, Clock::time_point now) {
  run.served = packs_started_ - std::min<std::uint64_t>(packs_started_, 1);
  run.waits_since = now;
  runs_.push_back(&run);
}

void Scheduler::remove(RunJob& run) { std::erase(runs_, &run); }

double Scheduler::waiting_us() const {
  double waiting_us = queue_->work_us();
  for (const RunJob* run : runs_) waiting_us += run->left_us;
  return waiting_us;
}

RunJob* Scheduler::next_run() const {
  const auto least = std::min_element(runs_.begin(), runs_.end(),
                                      [](const RunJob* a, const RunJob* b) { return a->served < b->served; });
  return least == runs_.end() ? nullptr : *least;
}

/// Whether submitted images go before the next pack of `run`. By turns; runs count as priority 0 without a deadline.
bool Scheduler::queue_first(const RunJob* run, Clock::time_point now) const {
  if (run == nullptr) return true;
  const PendingImage& head = **queue_->order().begin();
  if (head.priority != 0) return head.priority > 0;
  if (head.due != Clock::time_point::max()) {
    const double own_us = batcher_.alone_us(head.result.tokens);
    const double other_us = run->plans[run->next].predicted_us;
    if (after(now, corrections_[0].safe_us(own_us + other_us)) > head.due) return true;
  }
  return queue_served_ <= run->served;
}

/// Of what came longer ago than `aging_us`, what has waited longest, a run since its last pack.
Scheduler::Overdue Scheduler::overdue(bool images, Clock::time_point now) const {
  const auto waits_too_long = [&](Clock::time_point since) { return now > after(since, rules_.aging_us); };
  Overdue found;
  const PendingImage* const oldest = images ? queue_->oldest() : nullptr;
  if (oldest != nullptr && waits_too_long(oldest->submitted)) found.image = oldest;
  for (RunJob* run : runs_) {
    if (!waits_too_long(run->start)) continue;
    const bool longer = found.run != nullptr     ? run->waits_since < found.run->waits_since
                        : found.image != nullptr ? run->waits_since < found.image->submitted
                                                 : true;
    if (longer) found = {nullptr, run};
  }
  return found;
}

bool Scheduler::claim(ScheduledPack& pack, SlotGate& gate, bool hurry, Clock::time_point now,
                      Clock::time_point& look_again) {
  if (!gate.open()) return false;
  RunJob* run = next_run();
  bool images = !queue_->empty();
  if (images && rules_.batch_wait_us > 0 && !hurry && !batcher_.full(*queue_)) {
    look_again = std::min(after(queue_->oldest()->submitted, rules_.batch_wait_us),
                          batcher_.leaves_by(*queue_, now, corrections_[0]));
    images = look_again <= now;
  }
  if (!images && run == nullptr) return false;
  const Overdue late = overdue(images, now);
  const bool its_turn = overtaken_ >= kOvertakers;
  const bool old_images = its_turn && late.image != nullptr;
  const bool late_run = its_turn && late.run != nullptr;
  if (late_run) run = late.run;
  bool late_waits_on = late.image != nullptr || late.run != nullptr;
  if (!late_run && images && (old_images || queue_first(run, now))) {
    claim_images(pack, gate, now, old_images ? after(now, -rules_.aging_us) : Clock::time_point::min());
    if (late.image != nullptr) late_waits_on = queue_->oldest() == late.image;
  } else {
    const bool paired = gate.may_pair() && run->next < run->paired_packs;
    if (!gate.admits(paired)) {               // all cores are not free yet
      look_again = Clock::time_point::max();  // whoever frees them wakes this worker
      return false;
    }
    pack.paired = paired;
    claim_run(pack, *run, gate, now);
    if (late.run != nullptr) late_waits_on = run != late.run;
  }
  overtaken_ = late_waits_on ? overtaken_ + 1 : 0;
  ++packs_started_;
  pack.slot = gate.enter(pack.paired);
  pack.claimed = now;
  return true;
}

void Scheduler::claim_run(ScheduledPack& pack, RunJob& run, const SlotGate& gate, Clock::time_point now) {
  const std::size_t index = run.begin_pack(packs_started_ + 1, now);
  if (run.all_begun()) remove(run);
  pack.job = &run;
  pack.index = index;
  pack.plan = &run.plans[index];
  pack.images = run.images;
  pack.grids = run.grids;
  pack.results = run.results;
  pack.threads = gate.threads(pack.paired, run.plans.size() > 1);
}

/// Whether two packs side by side, this one and what waits behind it, are faster than one after the other.
bool Scheduler::pair_images(const Batch& batch, const SlotGate& gate, Clock::time_point now) const {
  if (!gate.may_pair()) return false;
  if (gate.busy()) return true;  // there is one already
  const RunJob* const run = next_run();
  double other_us = queue_->work_us();
  if (run != nullptr && run->next < run->paired_packs) other_us += run->plans[run->next].predicted_us;
  const std::array<double, 2> both{batch.plan.predicted_us, std::min(other_us, batch.plan.predicted_us)};
  if (packs_on_two_streams(std::span<const double>(both)) == 0) return false;
  // Half of the cores must do for the images that would be on time with all.
  const Clock::time_point alone = after(now, corrections_[0].safe_us(batch.plan.predicted_us));
  const Clock::time_point paired = after(now, corrections_[1].safe_us(batch.plan.predicted_us));
  return std::none_of(batch.images.begin(), batch.images.end(),
                      [&](const PendingImage* image) { return image->due >= alone && image->due < paired; });
}

void Scheduler::claim_images(ScheduledPack& pack, const SlotGate& gate, Clock::time_point now,
                             Clock::time_point elders) {
  batcher_.take(*queue_, now, corrections_[gate.shares_device() ? 1 : 0], pack.batch, elders);
  queue_served_ = packs_started_ + 1;
  pack.job = nullptr;
  pack.paired = pair_images(pack.batch, gate, now);
  pack.threads = gate.threads(pack.paired, gate.busy() || !queue_->empty());
  pack.own_views.clear();
  pack.own_grids.clear();
  pack.own_results.clear();
  for (PendingImage* image : pack.batch.images) {
    pack.own_views.push_back(image->image.view);
    pack.own_grids.push_back(image->result.grid);
    pack.own_results.push_back(std::move(image->result));
    pack.own_results.back().queue_us = microseconds(now - image->submitted);
  }
  pack.index = batches_started_++;
  pack.plan = &pack.batch.plan;
  pack.images = pack.own_views;
  pack.grids = pack.own_grids;
  pack.results = pack.own_results;
}

}  // namespace navit_edge
