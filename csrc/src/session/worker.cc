#include "session/worker.h"

#include <algorithm>

namespace navit_edge {

void Worker::write(EngineHost& host, EngineHost::Place& place) noexcept {
  error = nullptr;
  outcome = Outcome::kNone;
  try {
    place = host.place(pack.paired, pack.slot);
    runner.write(pack.task, *place.engines, place.slot, pack.threads);
  } catch (...) {
    error = std::current_exception();
  }
}

void Worker::run() noexcept {
  try {
    runner.run();
  } catch (...) {
    error = std::current_exception();
    outcome = Outcome::kBad;
  }
}

void Worker::finish() {
  const PackTask& task = pack.task;
  if (error == nullptr) {
    try {
      const std::size_t bad = runner.unpack(task);
      if (pack.job != nullptr) {
        const double queue_us = microseconds(runner.started() - pack.job->start);
        for (const std::int32_t i : task.plan->images) task.results[static_cast<std::size_t>(i)].queue_us = queue_us;
      }
      outcome = bad < task.plan->images.size() ? Outcome::kGood : Outcome::kBad;
    } catch (...) {
      error = std::current_exception();
      outcome = Outcome::kBad;
    }
  }
  if (error != nullptr) {
    error = PackRunner::named(task, error);
    PackRunner::fail(task, error);
  }
  if (outcome == Outcome::kBad) cause = task.results[static_cast<std::size_t>(task.plan->images.front())].error;
}

bool Worker::stalls(Clock::time_point now, Clock::duration gone, Clock::duration timeout) noexcept {
  if (phase != Phase::kRunning || abandoned) return false;
  held += std::clamp(now - running_since, Clock::duration{}, gone);
  return held >= timeout;
}

double Worker::left_us(Clock::time_point now) const noexcept {
  if (phase != Phase::kWriting && phase != Phase::kRunning) return 0;
  const double gone_us = phase == Phase::kRunning ? microseconds(now - running_since) : 0.0;
  return std::max(0.0, pack.task.plan->predicted_us - gone_us);
}

}  // namespace navit_edge
