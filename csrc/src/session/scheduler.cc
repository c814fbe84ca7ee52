#include "session/scheduler.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "plan/two_streams.h"

namespace navit_edge {
namespace {

/// As many packs in a row may leave before what is overdue; then it has its turn.
constexpr int kOvertakers = 3;
/// A device that leaves a pack to another one does not look again sooner.
constexpr double kLeastUs = 100;
/// Of two predictions that are equal but for rounding neither is sooner.
constexpr double kSooner = 1 - 1e-9;

}  // namespace

Scheduler::Scheduler(const PlanLimits& limits, const Rules& rules, Queue& queue, const std::vector<SlotRules>& devices)
    : rules_(rules), queue_(&queue), batcher_(limits), devices_(devices.begin(), devices.end()) {}

std::size_t Scheduler::devices_left() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(devices_.begin(), devices_.end(), [](const DeviceLoad& one) { return !one.lost(); }));
}

/// Whether the device takes what has failed on `failed_on`: not if it was itself, unless it is the last.
bool Scheduler::tries(std::size_t device, std::int32_t failed_on) const noexcept {
  return failed_on != static_cast<std::int32_t>(device) || devices_left() == 1;
}

double Scheduler::speed() const noexcept { return speed_of(devices_); }
std::uint64_t Scheduler::changes() const noexcept { return changes_of(devices_); }
double Scheduler::pace(std::size_t device) const noexcept { return pace_of(devices_, device); }

std::vector<PlanDevice> Scheduler::plan_devices(Clock::time_point now) const {
  std::vector<PlanDevice> all;
  if (devices_left() < 2) return all;
  double fastest = std::numeric_limits<double>::infinity();
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (!devices_[d].lost()) fastest = std::min(fastest, pace(d));
  }
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    const bool lost = devices_[d].lost();
    all.push_back({lost ? std::numeric_limits<double>::infinity() : pace(d) / fastest,
                   lost ? 0 : devices_[d].left_us(now) / fastest});
  }
  return all;
}

/// When `device` would have done what it has and `predicted_us` more, from now.
double Scheduler::ends_us(std::size_t device, double predicted_us, Clock::time_point now) const noexcept {
  return devices_[device].left_us(now) + pace(device) * predicted_us;
}

/// The same of all packs of `run` that were planned for it.
double Scheduler::ends_planned_us(std::size_t device, const RunJob& run, Clock::time_point now) const noexcept {
  return ends_us(device, run.waiting_us[device], now);
}

/// What the others can do of the work that waits in `until_us` from now, in the cost model's time.
double Scheduler::others_do_us(std::size_t device, double until_us, Clock::time_point now) const noexcept {
  double work_us = 0;
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (d == device || devices_[d].lost()) continue;
    work_us += std::max(0.0, until_us - devices_[d].left_us(now)) / pace(d);
  }
  return work_us;
}

bool Scheduler::others_end_sooner(std::size_t device, double predicted_us, Clock::time_point now) const noexcept {
  const double own_us = ends_us(device, predicted_us, now);
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (d != device && !devices_[d].lost() && ends_us(d, predicted_us, now) < kSooner * own_us) return true;
  }
  return false;
}

void Scheduler::add(RunJob& run, Clock::time_point now) {
  run.served = packs_started_ - std::min<std::uint64_t>(packs_started_, 1);
  run.waits_since = now;
  runs_.push_back(&run);
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].lost()) run.plan_again(d, [&](std::size_t index) { plan_for_another(run, index, now); });
  }
}

void Scheduler::remove(RunJob& run) { std::erase(runs_, &run); }

/// For the device that would end it first behind what was planned for it.
void Scheduler::plan_for_another(RunJob& run, std::size_t index, Clock::time_point now) {
  std::size_t best = 0;
  double least_us = std::numeric_limits<double>::infinity();
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].lost() || !tries(d, run.failed_on[index])) continue;
    const double us = ends_planned_us(d, run, now) + pace(d) * run.plans[index].predicted_us;
    if (us < least_us) {
      least_us = us;
      best = d;
    }
  }
  run.plan_first(best, index);
}

void Scheduler::lose(std::size_t device, Clock::time_point now) {
  devices_[device].lose();
  if (devices_left() == 0) return;
  for (RunJob* run : runs_) run->plan_again(device, [&](std::size_t index) { plan_for_another(*run, index, now); });
}

void Scheduler::give_back(const ScheduledPack& pack, Clock::time_point now) {
  if (pack.job == nullptr) {
    for (PendingImage* image : pack.batch.images) {
      image->failed_on = static_cast<std::int32_t>(pack.device);
      image->due = image->wanted();
      queue_->places().enter(image->priority, image->bytes);  // whether there is room or not
      queue_->push(*image);
    }
    return;
  }
  RunJob& run = *pack.job;
  if (run.all_begun()) runs_.push_back(&run);
  run.unbegin_pack(pack.device, pack.index);
  plan_for_another(run, pack.index, now);
}

bool Scheduler::in_time(std::int32_t tokens, Clock::time_point deadline, Clock::time_point now) {
  return std::any_of(devices_.begin(), devices_.end(), [&](DeviceLoad& one) {
    return !one.lost() && after(now, batcher_.promised_alone_us(tokens, one.latency(false))) <= deadline;
  });
}

double Scheduler::waiting_us() const {
  double waiting_us = queue_->work_us();
  for (const RunJob* run : runs_) waiting_us += run->left_us;
  return waiting_us;
}

/// Whether the device leaves this pack since another one would end it sooner, behind all that was planned for that. Not
/// if the others have other work for so long.
bool Scheduler::leave_to_planned(std::size_t device, const RunJob& run, std::size_t index, Clock::time_point now,
                                 Clock::time_point& look_again) const noexcept {
  const double predicted_us = run.plans[index].predicted_us;
  const double own_us = ends_us(device, predicted_us, now);
  if (others_do_us(device, own_us, now) < kSooner * waiting_us()) return false;
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (d == device || devices_[d].lost() || !tries(d, run.failed_on[index])) continue;
    const double there_us = pace(d) * predicted_us;
    if (ends_planned_us(d, run, now) + there_us >= kSooner * own_us) continue;
    look_again = std::min(look_again, after(now, std::max(own_us - there_us, kLeastUs)));
    return true;
  }
  return false;
}

/// Of those that were planned for the device: the next one, or the last if another device would end that one sooner.
Scheduler::RunPack Scheduler::own_pack(std::size_t device, RunJob& run, Clock::time_point now,
                                       Clock::time_point& look_again) const noexcept {
  const std::vector<std::size_t>& own = run.waiting[device];
  if (own.empty()) return {};
  if (devices_.size() == 1 || !leave_to_planned(device, run, own.back(), now, look_again)) {
    return {&run, device, own.back()};
  }
  if (own.size() > 1 && !leave_to_planned(device, run, own.front(), now, look_again)) {
    return {&run, device, own.front()};
  }
  return {};
}

/// Of those that were planned for others, the one that gains most by ending here.
Scheduler::RunPack Scheduler::pack_of_others(std::size_t device, RunJob& run, Clock::time_point now) const noexcept {
  RunPack best;
  double most_us = 0;
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    const std::vector<std::size_t>& theirs = run.waiting[d];
    if (d == device || theirs.empty()) continue;
    const double next_us = ends_us(d, run.plans[theirs.back()].predicted_us, now);
    if (!tries(device, run.failed_on[theirs.back()]) || !tries(device, run.failed_on[theirs.front()])) continue;
    for (const auto& [index, there_us] :
         {std::pair{theirs.front(), ends_planned_us(d, run, now)}, std::pair{theirs.back(), next_us}}) {
      const double gain_us = kSooner * there_us - ends_us(device, run.plans[index].predicted_us, now);
      if (gain_us > most_us) {
        most_us = gain_us;
        best = {&run, d, index};
      }
    }
  }
  return best;
}

Scheduler::RunPack Scheduler::pack_of(std::size_t device, RunJob& run, Clock::time_point now,
                                      Clock::time_point& look_again) const noexcept {
  if (!run.waiting[device].empty()) return own_pack(device, run, now, look_again);
  return pack_of_others(device, run, now);
}

/// Of the run that was served longest ago of those that have a pack for the device.
Scheduler::RunPack Scheduler::next_run(std::size_t device, Clock::time_point now, Clock::time_point& look_again) const {
  RunPack next;
  for (RunJob* run : runs_) {
    if (next.run != nullptr && run->served >= next.run->served) continue;
    const RunPack pack = pack_of(device, *run, now, look_again);
    if (pack.run != nullptr) next = pack;
  }
  return next;
}

/// Whether submitted images go before the next pack of `run`. By turns; runs count as priority 0 without a deadline.
bool Scheduler::queue_first(const RunPack& run, std::size_t device, Clock::time_point now) {
  if (run.run == nullptr) return true;
  const PendingImage& head = **queue_->order().begin();
  if (head.priority != 0) return head.priority > 0;
  if (head.due != Clock::time_point::max()) {
    const PackPlan& other = run.run->plans[run.index];
    const Predictor& latency = devices_[device].latency(false);
    const double both_us = latency.safe_us(static_cast<std::size_t>(other.budget), other.predicted_us) +
                           batcher_.promised_alone_us(head.result.tokens, latency);
    if (after(now, both_us) > head.due) return true;
  }
  return queue_served_ <= run.run->served;
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

bool Scheduler::claim(ScheduledPack& pack, std::size_t device, bool hurry, Clock::time_point now,
                      Clock::time_point& look_again) {
  DeviceLoad& on = devices_[device];
  const SlotGate& gate = on.gate();
  if (!on.open()) return false;
  RunPack run = next_run(device, now, look_again);
  bool images = !queue_->empty();
  if (images && rules_.batch_wait_us > 0 && !hurry && !batcher_.full(*queue_)) {
    const Clock::time_point leaves = std::min(after(queue_->oldest()->submitted, rules_.batch_wait_us),
                                              batcher_.leaves_by(*queue_, now, on.latency(false)));
    look_again = std::min(look_again, leaves);
    images = leaves <= now;
  }
  if (!images && run.run == nullptr) return false;
  const Overdue late = overdue(images, now);
  const bool its_turn = overtaken_ >= kOvertakers;
  const bool old_images = its_turn && late.image != nullptr;
  bool late_run = its_turn && late.run != nullptr;
  if (late_run) {
    const RunPack its = pack_of(device, *late.run, now, look_again);
    late_run = its.run != nullptr;
    if (late_run) run = its;
  }
  bool late_waits_on = late.image != nullptr || late.run != nullptr;
  const bool images_first = !late_run && images && (old_images || queue_first(run, device, now));
  if (images_first && pick_images(pack.batch, device, now,
                                  old_images ? after(now, -rules_.aging_us) : Clock::time_point::min(), look_again)) {
    claim_images(pack, on, run, now);
    if (late.image != nullptr) late_waits_on = queue_->oldest() == late.image;
  } else if (run.run != nullptr) {
    const bool paired = gate.may_pair() && run.run->begun < run.run->paired_packs;
    if (!gate.admits(paired)) {               // all cores are not free yet
      look_again = Clock::time_point::max();  // whoever frees them wakes this worker
      return false;
    }
    pack.paired = paired;
    claim_run(pack, run, gate, now);
    if (late.run != nullptr) late_waits_on = run.run != late.run;
  } else {
    return false;
  }
  overtaken_ = late_waits_on ? overtaken_ + 1 : 0;
  ++packs_started_;
  pack.device = device;
  pack.predicted_us = pack.plan->predicted_us;
  pack.slot = on.enter(pack.paired, pace(device) * pack.predicted_us, now);
  pack.claimed = now;
  return true;
}

void Scheduler::claim_run(ScheduledPack& pack, const RunPack& next, const SlotGate& gate, Clock::time_point now) {
  RunJob& run = *next.run;
  run.begin_pack(next.planned_for, next.index, packs_started_ + 1, now);
  if (run.all_begun()) remove(run);
  pack.job = &run;
  pack.index = next.index;
  pack.plan = &run.plans[next.index];
  pack.images = run.images;
  pack.grids = run.grids;
  pack.results = run.results;
  pack.threads = gate.threads(pack.paired, run.plans.size() > 1);
}

/// Whether two packs side by side, this one and what waits behind it, are faster than one after the other.
bool Scheduler::pair_images(const Batch& batch, DeviceLoad& on, const RunPack& run, Clock::time_point now) {
  if (!on.gate().may_pair()) return false;
  if (on.gate().busy()) return true;  // there is one already
  double other_us = queue_->work_us();
  if (run.run != nullptr && run.run->begun < run.run->paired_packs) other_us += run.run->plans[run.index].predicted_us;
  const std::array<double, 2> both{batch.plan.predicted_us, std::min(other_us, batch.plan.predicted_us)};
  if (packs_on_two_streams(std::span<const double>(both)) == 0) return false;
  // Half of the cores must do for the images that would be on time with all.
  const auto budget = static_cast<std::size_t>(batch.plan.budget);
  const Clock::time_point alone = after(now, on.latency(false).safe_us(budget, batch.plan.predicted_us));
  const Clock::time_point paired = after(now, on.latency(true).safe_us(budget, batch.plan.predicted_us));
  return std::none_of(batch.images.begin(), batch.images.end(),
                      [&](const PendingImage* image) { return image->due >= alone && image->due < paired; });
}

/// Takes images out of the queue. A device that others would outrun takes of those behind, which they would not have
/// begun by then; false if there are none.
bool Scheduler::pick_images(Batch& batch, std::size_t device, Clock::time_point now, Clock::time_point elders,
                            Clock::time_point& look_again) {
  DeviceLoad& on = devices_[device];
  const Predictor& latency = on.latency(on.gate().shares_device());
  const std::int32_t not_failed_on = devices_left() > 1 ? static_cast<std::int32_t>(device) : -1;
  batcher_.pick(*queue_, now, latency, batch, {elders, not_failed_on, 0});
  if (batch.images.empty()) return false;  // what waits has failed here
  const bool again = std::any_of(batch.images.begin(), batch.images.end(),
                                 [](const PendingImage* image) { return image->failed_on >= 0; });
  if (devices_.size() > 1 && !again && elders == Clock::time_point::min() &&
      others_end_sooner(device, batch.plan.predicted_us, now)) {
    double own_us = ends_us(device, batch.plan.predicted_us, now);
    const double runs_us = waiting_us() - queue_->work_us();
    const double behind_us = others_do_us(device, own_us, now) - batch.plan.predicted_us - runs_us;
    batcher_.pick(*queue_, now, latency, batch, {elders, not_failed_on, std::max(behind_us, 0.0)});
    if (!batch.images.empty()) own_us = ends_us(device, batch.plan.predicted_us, now);
    if (batch.images.empty() || others_do_us(device, own_us, now) >= kSooner * waiting_us()) {
      look_again = std::min(look_again, after(now, std::max(own_us, kLeastUs)));
      return false;
    }
  }
  Batcher::take_out(*queue_, batch);
  return true;
}

void Scheduler::claim_images(ScheduledPack& pack, DeviceLoad& on, const RunPack& run, Clock::time_point now) {
  queue_served_ = packs_started_ + 1;
  pack.job = nullptr;
  pack.paired = pair_images(pack.batch, on, run, now);
  pack.threads = on.gate().threads(pack.paired, on.gate().busy() || !queue_->empty());
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

double Scheduler::end(const ScheduledPack& pack, bool good, double latency_us, Clock::time_point now) {
  DeviceLoad& on = devices_[pack.device];
  const double busy_us = on.leave(pack.slot, now);
  if (!good) return busy_us;
  const auto budget = static_cast<std::size_t>(pack.plan->budget);
  on.latency(pack.paired).observe(budget, pack.predicted_us, latency_us);
  assume_each_other(on.latency(false), on.latency(true));
  on.pace().observe(budget, pack.predicted_us, busy_us);
  return busy_us;
}

}  // namespace navit_edge
