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

void SessionCore::wake_workers() {
  // A worker that could not take anything is not woken: on a CPU it would take a core from the engine.
  if (idle_workers_ > 0 && !alone_ && !writing_) work_.notify_all();
}

RunJob* SessionCore::next_job() const {
  const auto least = std::min_element(jobs_.begin(), jobs_.end(),
                                      [](const RunJob* a, const RunJob* b) { return a->served < b->served; });
  return least == jobs_.end() ? nullptr : *least;
}

/// Whether submitted images go before the next pack of `job`. By turns; runs count as priority 0 without a deadline.
bool SessionCore::queue_first(const RunJob* job, Clock::time_point now) const {
  if (job == nullptr) return true;
  const PendingImage& head = **queue_.order().begin();
  if (head.priority != 0) return head.priority > 0;
  if (head.due != Clock::time_point::max()) {
    const double own_us = batcher_.alone_us(head.result.tokens);
    const double other_us = job->plans[job->next].predicted_us;
    if (after(now, corrections_[0].safe_us(own_us + other_us)) > head.due) return true;
  }
  return queue_served_ <= job->served;
}

SessionCore::Overdue SessionCore::overdue(bool images, Clock::time_point now) const {
  const auto waits_too_long = [&](Clock::time_point since) { return now > after(since, context_.options.aging_us); };
  Overdue found;
  PendingImage* const oldest = images ? queue_.oldest() : nullptr;
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

/// Takes the next pack for `worker`. Where there is none yet, `look_again` says when time alone may change that.
bool SessionCore::claim(Worker& worker, Clock::time_point& look_again) {
  if (alone_ || writing_) return false;
  if (context_.may_pair && !may_pair() && in_flight_ > 0) return false;
  const Clock::time_point now = Clock::now();
  RunJob* job = next_job();
  bool images = !queue_.empty();
  const double wait_us = context_.options.batch_wait_us;
  if (images && wait_us > 0 && drains_.empty() && submitters_.empty() && !batcher_.full(queue_)) {
    look_again = std::min(after(queue_.oldest()->submitted, wait_us), batcher_.leaves_by(queue_, now, corrections_[0]));
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
    claim_batch(worker, now, old_images ? after(now, -context_.options.aging_us) : Clock::time_point::min());
    if (waits.image != nullptr) waits_on = queue_.oldest() == waits.image;
  } else {
    const bool paired = may_pair() && job->next < job->paired_packs;
    if (context_.may_pair && !paired && in_flight_ > 0) {  // all cores are not free yet
      look_again = Clock::time_point::max();               // whoever frees them wakes this worker
      return false;
    }
    claim_job(worker, *job, paired);
    if (waits.job != nullptr) waits_on = job != waits.job;
  }
  overtaken_ = waits_on ? overtaken_ + 1 : 0;
  ++packs_started_;
  ++in_flight_;
  worker.slot = 0;  // the lowest that is free: what an engine does once for each slot is done for few
  while (slot_taken_[static_cast<std::size_t>(worker.slot)]) ++worker.slot;
  slot_taken_[static_cast<std::size_t>(worker.slot)] = true;
  alone_ = context_.may_pair && !worker.paired;
  writing_ = !context_.on_cpu;
  worker.phase = Worker::Phase::kWriting;
  record_claim(worker, now);
  wake_workers();
  return true;
}

void SessionCore::claim_job(Worker& worker, RunJob& job, bool paired) {
  const std::size_t index = job.next++;
  job.left_us -= job.plans[index].predicted_us;
  job.served = packs_started_ + 1;
  job.waits_since = Clock::now();
  job.most_in_flight = std::max(job.most_in_flight, ++job.in_flight);
  if (job.all_begun()) std::erase(jobs_, &job);
  worker.job = &job;
  worker.paired = paired;
  worker.task = {&job.plans[index], job.images, job.grids, job.results, index, job.plans.size()};
  const bool shares_cores = context_.on_cpu && (paired || (engine_slots_ > 1 && job.plans.size() > 1));
  worker.threads = shares_cores ? 1 : context_.threads;
}

/// Whether two packs side by side, this one and what waits behind it, are faster than one after the other.
bool SessionCore::pair_batch(const Batch& batch, Clock::time_point now) const {
  if (!may_pair()) return false;
  if (in_flight_ > 0) return true;  // there is one already
  const RunJob* const job = next_job();
  double other_us = queue_.work_us();
  if (job != nullptr && job->next < job->paired_packs) other_us += job->plans[job->next].predicted_us;
  const std::array<double, 2> both{batch.plan.predicted_us, std::min(other_us, batch.plan.predicted_us)};
  if (packs_on_two_streams(std::span<const double>(both)) == 0) return false;
  // Half of the cores must do for the images that would be on time with all.
  const Clock::time_point alone = after(now, corrections_[0].safe_us(batch.plan.predicted_us));
  const Clock::time_point paired = after(now, corrections_[1].safe_us(batch.plan.predicted_us));
  return std::none_of(batch.images.begin(), batch.images.end(),
                      [&](const PendingImage* image) { return image->due >= alone && image->due < paired; });
}

void SessionCore::claim_batch(Worker& worker, Clock::time_point now, Clock::time_point elders) {
  batcher_.take(queue_, now, corrections_[context_.may_pair && in_flight_ > 0 ? 1 : 0], worker.batch, elders);
  queue_served_ = packs_started_ + 1;
  worker.job = nullptr;
  worker.paired = pair_batch(worker.batch, now);
  const bool shares_cores =
      context_.on_cpu && (worker.paired || (engine_slots_ > 1 && (in_flight_ > 0 || !queue_.empty())));
  worker.threads = shares_cores ? 1 : context_.threads;
  worker.views.clear();
  worker.grids.clear();
  worker.results.clear();
  for (PendingImage* image : worker.batch.images) {
    worker.views.push_back(image->image.view);
    worker.grids.push_back(image->result.grid);
    worker.results.push_back(std::move(image->result));
    worker.results.back().queue_us = microseconds(now - image->submitted);
  }
  worker.task = {&worker.batch.plan, worker.views, worker.grids, worker.results, batches_started_++, 0};
  let_in();
}

void SessionCore::serve(Worker& worker) {
  Lock lock(mutex_);
  for (;;) {
    Clock::time_point look_again = Clock::time_point::max();
    if (!claim(worker, look_again)) {
      if (closing_) break;
      ++idle_workers_;
      wait_until(work_, lock, look_again);
      --idle_workers_;
      continue;
    }
    lock.unlock();
    carry_out(worker);
    lock.lock();
    if (worker.abandoned) return;  // whatever it held has been taken from it
    end(worker);
  }
  worker.exited = true;
  worker_has_gone();
}

EngineSet* SessionCore::paired_engines() {
  const std::lock_guard lock(engines_mutex_);
  if (!paired_ && no_pairs_.empty()) {
    try {
      paired_.emplace(context_.manifest, context_.choice, context_.options, kPairedSlots);
    } catch (const std::exception& e) {  // no memory among them: one stream goes on
      no_pairs_ = e.what();
      pairs_ = false;
    }
  }
  return paired_ ? &*paired_ : nullptr;
}

void SessionCore::carry_out(Worker& worker) {
  record_queues(worker);
  std::exception_ptr error;
  bool engine_failed = false;
  std::unique_lock<std::mutex> one_stream(one_stream_, std::defer_lock);
  try {
    EngineSet* on = worker.paired ? paired_engines() : &*engines_;
    if (on == nullptr) {
      on = &*engines_;
      one_stream.lock();
    }
    worker.runner.write(worker.task, *on, on == &*engines_ && context_.may_pair ? 0 : worker.slot, worker.threads);
  } catch (...) {
    error = std::current_exception();
  }
  if (worker.job == nullptr) completions_.release(worker.batch.images);
  {
    const Lock lock(mutex_);
    worker.phase = error == nullptr ? Worker::Phase::kRunning : Worker::Phase::kEnding;
    worker.running_since = Clock::now();
    worker.held = {};
    if (std::exchange(writing_, false)) wake_workers();
  }
  if (error == nullptr) {
    try {
      worker.runner.run();
    } catch (...) {
      error = std::current_exception();
      engine_failed = true;
    }
    const Lock lock(mutex_);
    if (worker.abandoned) return;
    worker.phase = Worker::Phase::kEnding;
  }
  worker.outcome = Worker::Outcome::kNone;
  if (error == nullptr) {
    try {
      const std::size_t bad = worker.runner.unpack(worker.task);
      if (worker.job != nullptr) {
        const double queue_us = microseconds(worker.runner.started() - worker.job->start);
        for (const std::int32_t image : worker.task.plan->images) {
          worker.task.results[static_cast<std::size_t>(image)].queue_us = queue_us;
        }
      }
      worker.outcome = bad < worker.task.plan->images.size() ? Worker::Outcome::kGood : Worker::Outcome::kBad;
    } catch (...) {
      error = std::current_exception();
      engine_failed = true;
    }
  }
  if (error != nullptr) {
    error = PackRunner::named(worker.task, error);
    PackRunner::fail(worker.task, error);
    if (engine_failed) worker.outcome = Worker::Outcome::kBad;
  }
  if (worker.job == nullptr) {
    for (std::size_t i = 0; i < worker.batch.images.size(); ++i) {
      worker.batch.images[i]->result = std::move(worker.results[i]);
    }
  }
  record_end(worker, error);
}

/// The pack's results are there. Under the lock.
void SessionCore::end(Worker& worker) {
  worker.phase = Worker::Phase::kIdle;
  --in_flight_;
  slot_taken_[static_cast<std::size_t>(worker.slot)] = false;
  alone_ = false;
  if (worker.outcome == Worker::Outcome::kGood) {
    breaker_.succeeded();
    corrections_[worker.paired ? 1 : 0].observe(worker.task.plan->predicted_us, worker.runner.latency_us());
  }
  bool broke = false;
  if (worker.outcome == Worker::Outcome::kBad) {
    const auto& first = worker.job != nullptr
                            ? worker.task.results[static_cast<std::size_t>(worker.task.plan->images.front())]
                            : worker.batch.images.front()->result;
    try {
      std::rethrow_exception(first.error);
    } catch (const std::exception& e) {
      broke = breaker_.failed(e.what());
    }
  }
  if (worker.job != nullptr) {
    RunJob& job = *worker.job;
    try {
      job.reports[worker.task.number] = worker.runner.report();
    } catch (const std::bad_alloc&) {  // a report without the engine's name
    }
    job.reports[worker.task.number].start_us = microseconds(worker.runner.started() - job.start);
    --job.in_flight;
    ++job.ended;
    job.images_done += worker.task.plan->images.size();
    job.changed.notify_one();
  } else {
    for (PendingImage* image : worker.batch.images) finish(*image);
  }
  if (broke) break_down();
  wake_workers();
}

}  // namespace navit_edge
