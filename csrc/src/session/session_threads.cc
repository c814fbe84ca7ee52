// What the session's own threads do: workers, which run packs, decoders, and the watch over both.
#include <optional>
#include <utility>

#include "base/core_list.h"
#include "navit_edge/error.h"
#include "session/cascade.h"
#include "session/session_core.h"
#include "session/stall_clock.h"

namespace navit_edge {

void SessionCore::decode_files() {
  decoding_.serve(
      mutex_, [this] { return lifecycle_.closing(); },
      [this](Decoding::Turn& turn, Decoding::Decoded& decoded) { intake_.admit(turn, decoded); });
  const Lock lock(mutex_);
  lifecycle_.workers_ended();
  finish_if_over();
}

bool SessionCore::claim(Worker& worker, Clock::time_point& look_again) {
  Device& device = *worker.device;
  if (!device.host.may_pair()) scheduler_.device(device.index).gate().stop_pairing();
  if (!scheduler_.claim(worker.pack, device.index, submissions_.hurry(), Clock::now(), look_again)) return false;
  worker.pack.session_slot = device.first_slot + worker.pack.slot;
  worker.phase = Worker::Phase::kWriting;
  worker.again = false;
  ++device.counts.in_flight;
  observer_.claimed(worker.pack);
  if (worker.pack.job == nullptr) submissions_.let_in();
  wake_workers();
  return true;
}

void SessionCore::wake_workers() {
  // A worker that could not take anything is not woken: on a CPU it would take a core from the engine.
  for (Device& device : devices_) {
    if (device.idle_workers > 0 && scheduler_.device(device.index).open()) device.work.notify_all();
  }
}

void SessionCore::serve(Worker& worker) {
  Device& device = *worker.device;
  std::optional<CoreBinding> binding;
  try {
    binding.emplace(device.spec->cores);
  } catch (const Error&) {  // they could be used when it was opened; it goes on without
  }
  Lock lock(mutex_);
  for (;;) {
    Clock::time_point look_again = Clock::time_point::max();
    if (!claim(worker, look_again)) {
      if (lifecycle_.closing()) break;
      ++device.idle_workers;
      wait_until(device.work, lock, look_again);
      --device.idle_workers;
      continue;
    }
    lock.unlock();
    carry_out(worker);
    lock.lock();
    if (worker.abandoned) return;  // whatever it held has been taken from it
    end(worker);
  }
  lifecycle_.workers_ended();
  finish_if_over();
}

void SessionCore::carry_out(Worker& worker) {
  observer_.started(worker.pack);
  EngineHost::Place place;
  worker.runner.write(worker.pack, worker.device->host, place);
  worker.pack.predicted_us = worker.runner.report().predicted_us;
  // With several devices pixels stay until the result is there: another one may have to read them again.
  if (worker.pack.job == nullptr && devices_.size() == 1) completions_.release(worker.pack.batch.images);
  {
    const Lock lock(mutex_);
    worker.phase = worker.runner.error() == nullptr ? Worker::Phase::kRunning : Worker::Phase::kEnding;
    worker.running_since = Clock::now();
    worker.held = {};
    if (scheduler_.device(worker.device->index).gate().written()) wake_workers();
  }
  if (worker.runner.error() == nullptr) {
    worker.runner.run();
    const Lock lock(mutex_);
    if (worker.abandoned) return;
    worker.phase = Worker::Phase::kEnding;
    worker.again = worker.runner.error() != nullptr && !over() && faults_.may_run_again(worker.pack);
  }
  if (worker.again) {
    worker.runner.give_up(worker.pack);
    observer_.given_back(worker.pack, worker.runner, false, worker.runner.error());
  } else {
    worker.runner.finish(worker.pack);
    judge_cascades(context_, worker.pack, [&](std::int32_t tokens, Clock::time_point deadline) {
      const Lock lock(mutex_);
      return scheduler_.in_time(tokens, deadline, Clock::now());
    });
    if (memory_) memory_->remember(worker.pack);
    observer_.ended(worker.pack, worker.runner, false, worker.runner.error());
  }
  worker.pack.hand_back();
}

void SessionCore::end(Worker& worker) {
  const ScheduledPack& pack = worker.pack;
  Device& device = *worker.device;
  worker.phase = Worker::Phase::kIdle;
  const PackRunner::Outcome outcome = worker.runner.outcome();
  const bool good = outcome == PackRunner::Outcome::kGood;
  const Clock::time_point now = Clock::now();
  const auto first = static_cast<std::size_t>(pack.plan->images.front());
  if (good) {
    const PackReport& took = worker.runner.report();
    scheduler_.learn(pack, took.preprocess_us, took.engine_us);
    governor_.follow(scheduler_.changes(), now);
    const ScheduledPack::Image oldest = pack.image(first);
    if (pack.job == nullptr && oldest.promise->made()) {
      governor_.observe(oldest.promise->expected_us, after(oldest.submitted, oldest.promise->decoding_us), now);
    }
  }
  const double busy_us = scheduler_.end(pack, good, worker.runner.latency_us(), now);
  device.count(pack, good, busy_us);
  if (good) device.breaker.succeeded();
  const bool broke = outcome == PackRunner::Outcome::kBad &&
                     device.breaker.failed(worker.again          ? worker.runner.error()
                                           : pack.job != nullptr ? pack.results[first].error
                                                                 : pack.batch.images[first]->result.error);
  if (worker.again) {
    faults_.give_back(pack, over_error());
  } else if (pack.job != nullptr) {
    PackReport& report = pack.job->report.packs[pack.index];
    try {
      report = worker.runner.report();
    } catch (const std::bad_alloc&) {  // a report without the engine's name
    }
    report.start_us = microseconds(worker.runner.started() - pack.job->start);
    pack.job->end_pack(*pack.plan);
    observer_.twins_ended(*pack.job, *pack.plan);
  } else {
    faults_.end_images(pack, over_error());
  }
  if (broke) faults_.lose(device);
  wake_workers();
}

void SessionCore::watch() {
  StallClock clock(context_.options.stall_timeout_s * 1e6);
  Lock lock(mutex_);
  while (!lifecycle_.over()) {
    const Clock::time_point now = Clock::now();
    const Clock::duration gone = clock.look(now);
    for (Worker& worker : workers_) {
      if (!worker.stalls(now, gone, clock.timeout())) continue;
      try {
        faults_.abandon(worker, context_.options.stall_timeout_s, lifecycle_.closing());
        lifecycle_.leave_behind(worker.thread);
        wake_workers();
        finish_if_over();
      } catch (const std::bad_alloc&) {  // at the next look
      }
    }
    if (!lifecycle_.over()) lifecycle_.wait_for(lock, clock.step());
  }
}

}  // namespace navit_edge
