// Which pack a free slot takes, and the way of a pack through it.
#include <algorithm>
#include <utility>

#include "navit_edge/error.h"
#include "plan/two_streams.h"
#include "session/room.h"

namespace navit_edge {
namespace {

/// As many packs in a row may leave before what is overdue; then it has its turn.
constexpr int kOvertakers = 3;

}  // namespace

void Room::wake_lanes() {
  // A lane that could not take anything is not woken: on a CPU it would take a core from the engine.
  if (idle_lanes_ > 0 && !alone_ && !writing_) work_.notify_all();
}

RunJob* Room::next_job() const {
  const auto least = std::min_element(jobs_.begin(), jobs_.end(),
                                      [](const RunJob* a, const RunJob* b) { return a->served < b->served; });
  return least == jobs_.end() ? nullptr : *least;
}

/// Whether submitted images go before the next pack of `job`. By turns; runs count as priority 0 without a deadline.
bool Room::queue_first(const RunJob* job, Clock::time_point now) const {
  if (job == nullptr) return true;
  const Waiting& head = **queue_.order().begin();
  if (head.priority != 0) return head.priority > 0;
  if (head.due != Clock::time_point::max()) {
    const double own_us = batcher_.alone_us(head.result.tokens);
    const double other_us = job->plans[job->next].predicted_us;
    if (after(now, pace_[0].safe_us(own_us + other_us)) > head.due) return true;
  }
  return queue_served_ <= job->served;
}

Room::Overdue Room::overdue(bool images, Clock::time_point now) const {
  const auto waits_too_long = [&](Clock::time_point since) { return now > after(since, opened_.options.aging_us); };
  Overdue found;
  Waiting* const oldest = images ? queue_.oldest() : nullptr;
  if (oldest != nullptr && waits_too_long(oldest->submitted)) found.image = oldest;
  for (RunJob* job : jobs_) {
    if (!waits_too_long(job->start)) continue;
    const bool longer = found.job != nullptr     ? job->waits_since < found.job->waits_since
                        : found.image != nullptr ? job->waits_since < found.image->submitted
                                                 : true;
    if (longer) found = {nullptr, job};
  }
  return found;
}

/// Takes the next pack for `lane`. Where there is none yet, `look_again` says when time alone may change that.
bool Room::claim(Lane& lane, Clock::time_point& look_again) {
  if (alone_ || writing_) return false;
  if (opened_.may_pair && !may_pair() && in_flight_ > 0) return false;
  const Clock::time_point now = Clock::now();
  RunJob* job = next_job();
  bool images = !queue_.empty();
  const double wait_us = opened_.options.batch_wait_us;
  if (images && wait_us > 0 && drains_.empty() && submitters_.empty() && !batcher_.full(queue_)) {
    look_again = std::min(after(queue_.oldest()->submitted, wait_us), batcher_.leaves_by(queue_, now, pace_[0]));
    images = look_again <= now;
  }
  if (!images && job == nullptr) return false;
  const Overdue waits = overdue(images, now);
  const bool old_images = overtaken_ >= kOvertakers && waits.image != nullptr;
  RunJob* const late_job = overtaken_ >= kOvertakers ? waits.job : nullptr;
  bool queue_goes = images && queue_first(job, now);
  if (old_images) queue_goes = true;
  if (late_job != nullptr) {
    job = late_job;
    queue_goes = false;
  }
  bool waits_on = waits.image != nullptr || waits.job != nullptr;
  if (queue_goes) {
    claim_batch(lane, now, old_images ? after(now, -opened_.options.aging_us) : Clock::time_point::min());
    if (waits.image != nullptr) waits_on = queue_.oldest() == waits.image;
  } else {
    const bool paired = may_pair() && job->next < job->paired_packs;
    if (opened_.may_pair && !paired && in_flight_ > 0) {  // all cores are not free yet
      look_again = Clock::time_point::max();              // whoever frees them wakes this lane
      return false;
    }
    claim_job(lane, *job, paired);
    if (waits.job != nullptr) waits_on = job != waits.job;
  }
  overtaken_ = waits_on ? overtaken_ + 1 : 0;
  ++packs_started_;
  ++in_flight_;
  lane.slot = 0;  // the lowest that is free: what an engine does once for each slot is done for few
  while (slot_taken_[static_cast<std::size_t>(lane.slot)]) ++lane.slot;
  slot_taken_[static_cast<std::size_t>(lane.slot)] = true;
  alone_ = opened_.may_pair && !lane.paired;
  writing_ = !opened_.on_cpu;
  lane.phase = Lane::Phase::kWriting;
  record_claim(lane, now);
  wake_lanes();
  return true;
}

void Room::claim_job(Lane& lane, RunJob& job, bool paired) {
  const std::size_t index = job.next++;
  job.left_us -= job.plans[index].predicted_us;
  job.served = packs_started_ + 1;
  job.waits_since = Clock::now();
  job.most_in_flight = std::max(job.most_in_flight, ++job.in_flight);
  if (job.all_begun()) std::erase(jobs_, &job);
  lane.job = &job;
  lane.paired = paired;
  lane.task = {&job.plans[index], job.images, job.grids, job.results, index, job.plans.size()};
  const bool shares_cores = opened_.on_cpu && (paired || (engine_slots_ > 1 && job.plans.size() > 1));
  lane.threads = shares_cores ? 1 : opened_.threads;
}

/// Whether two packs side by side, this one and what waits behind it, are faster than one after the other.
bool Room::pair_batch(const Batch& batch, Clock::time_point now) const {
  if (!may_pair()) return false;
  if (in_flight_ > 0) return true;  // there is one already
  const RunJob* const job = next_job();
  double other_us = queue_.work_us();
  if (job != nullptr && job->next < job->paired_packs) other_us += job->plans[job->next].predicted_us;
  const std::array<double, 2> both{batch.plan.predicted_us, std::min(other_us, batch.plan.predicted_us)};
  if (packs_on_two_streams(std::span<const double>(both)) == 0) return false;
  // Half of the cores must do for the images that would be on time with all.
  const Clock::time_point alone = after(now, pace_[0].safe_us(batch.plan.predicted_us));
  const Clock::time_point paired = after(now, pace_[1].safe_us(batch.plan.predicted_us));
  return std::none_of(batch.images.begin(), batch.images.end(),
                      [&](const Waiting* image) { return image->due >= alone && image->due < paired; });
}

void Room::claim_batch(Lane& lane, Clock::time_point now, Clock::time_point elders) {
  batcher_.take(queue_, now, pace_[opened_.may_pair && in_flight_ > 0 ? 1 : 0], lane.batch, elders);
  queue_served_ = packs_started_ + 1;
  lane.job = nullptr;
  lane.paired = pair_batch(lane.batch, now);
  const bool shares_cores =
      opened_.on_cpu && (lane.paired || (engine_slots_ > 1 && (in_flight_ > 0 || !queue_.empty())));
  lane.threads = shares_cores ? 1 : opened_.threads;
  lane.views.clear();
  lane.grids.clear();
  lane.results.clear();
  for (Waiting* image : lane.batch.images) {
    lane.views.push_back(image->image.view);
    lane.grids.push_back(image->result.grid);
    lane.results.push_back(std::move(image->result));
    lane.results.back().queue_us = microseconds(now - image->submitted);
  }
  lane.task = {&lane.batch.plan, lane.views, lane.grids, lane.results, batches_started_++, 0};
  let_in();
}

void Room::serve(Lane& lane) {
  Lock lock(mutex_);
  for (;;) {
    Clock::time_point look_again = Clock::time_point::max();
    if (!claim(lane, look_again)) {
      if (closing_) break;
      ++idle_lanes_;
      wait_until(work_, lock, look_again);
      --idle_lanes_;
      continue;
    }
    lock.unlock();
    carry_out(lane);
    lock.lock();
    if (lane.abandoned) return;  // whatever it held has been taken from it
    end(lane);
  }
  lane.exited = true;
  lane_has_gone();
}

EngineSet* Room::paired_engines() {
  const std::lock_guard lock(engines_mutex_);
  if (!paired_ && no_pairs_.empty()) {
    try {
      paired_.emplace(opened_.manifest, opened_.choice, opened_.options, kPairedSlots);
    } catch (const std::exception& e) {  // no memory among them: one stream goes on
      no_pairs_ = e.what();
      pairs_ = false;
    }
  }
  return paired_ ? &*paired_ : nullptr;
}

void Room::carry_out(Lane& lane) {
  record_queues(lane);
  std::exception_ptr error;
  bool engine_failed = false;
  std::unique_lock<std::mutex> one_stream(one_stream_, std::defer_lock);
  try {
    EngineSet* on = lane.paired ? paired_engines() : &*engines_;
    if (on == nullptr) {
      on = &*engines_;
      one_stream.lock();
    }
    lane.work.write(lane.task, *on, on == &*engines_ && opened_.may_pair ? 0 : lane.slot, lane.threads);
  } catch (...) {
    error = std::current_exception();
  }
  if (lane.job == nullptr) outbox_.release(lane.batch.images);
  {
    const Lock lock(mutex_);
    lane.phase = error == nullptr ? Lane::Phase::kRunning : Lane::Phase::kEnding;
    lane.running_since = Clock::now();
    lane.held = {};
    if (std::exchange(writing_, false)) wake_lanes();
  }
  if (error == nullptr) {
    try {
      lane.work.run();
    } catch (...) {
      error = std::current_exception();
      engine_failed = true;
    }
    const Lock lock(mutex_);
    if (lane.abandoned) return;
    lane.phase = Lane::Phase::kEnding;
  }
  lane.outcome = Lane::Outcome::kNone;
  if (error == nullptr) {
    try {
      const std::size_t bad = lane.work.unpack(lane.task);
      if (lane.job != nullptr) {
        const double queue_us = microseconds(lane.work.started() - lane.job->start);
        for (const std::int32_t image : lane.task.plan->images) {
          lane.task.results[static_cast<std::size_t>(image)].queue_us = queue_us;
        }
      }
      lane.outcome = bad < lane.task.plan->images.size() ? Lane::Outcome::kGood : Lane::Outcome::kBad;
    } catch (...) {
      error = std::current_exception();
      engine_failed = true;
    }
  }
  if (error != nullptr) {
    error = PackWork::named(lane.task, error);
    PackWork::fail(lane.task, error);
    if (engine_failed) lane.outcome = Lane::Outcome::kBad;
  }
  if (lane.job == nullptr) {
    for (std::size_t i = 0; i < lane.batch.images.size(); ++i) {
      lane.batch.images[i]->result = std::move(lane.results[i]);
    }
  }
  record_end(lane, error);
}

/// The pack's results are there. Under the lock.
void Room::end(Lane& lane) {
  lane.phase = Lane::Phase::kIdle;
  --in_flight_;
  slot_taken_[static_cast<std::size_t>(lane.slot)] = false;
  alone_ = false;
  if (lane.outcome == Lane::Outcome::kGood) {
    breaker_.succeeded();
    pace_[lane.paired ? 1 : 0].observe(lane.task.plan->predicted_us, lane.work.latency_us());
  }
  bool broke = false;
  if (lane.outcome == Lane::Outcome::kBad) {
    const auto& first = lane.job != nullptr
                            ? lane.task.results[static_cast<std::size_t>(lane.task.plan->images.front())]
                            : lane.batch.images.front()->result;
    try {
      std::rethrow_exception(first.error);
    } catch (const std::exception& e) {
      broke = breaker_.failed(e.what());
    }
  }
  if (lane.job != nullptr) {
    RunJob& job = *lane.job;
    try {
      job.reports[lane.task.number] = lane.work.report();
    } catch (const std::bad_alloc&) {  // a report without the engine's name
    }
    job.reports[lane.task.number].start_us = microseconds(lane.work.started() - job.start);
    --job.in_flight;
    ++job.ended;
    job.images_done += lane.task.plan->images.size();
    job.changed.notify_one();
  } else {
    for (Waiting* image : lane.batch.images) finish(*image);
  }
  if (broke) break_down();
  wake_lanes();
}

}  // namespace navit_edge
