// Engines that do not come back.
#include <algorithm>
#include <exception>
#include <string>

#include "navit_edge/error.h"
#include "session/room.h"
#include "session/stall_clock.h"

namespace navit_edge {

void SessionCore::watch() {
  StallClock clock(context_.options.stall_timeout_s * 1e6);
  Lock lock(mutex_);
  while (!(closing_ && workers_gone())) {
    const Clock::time_point now = Clock::now();
    const Clock::duration gone = clock.look(now);
    for (Worker& worker : workers_) {
      if (worker.phase != Worker::Phase::kRunning || worker.abandoned) continue;
      worker.held += std::clamp(now - worker.running_since, Clock::duration{}, gone);
      if (worker.held < clock.timeout()) continue;
      try {
        abandon(worker);
      } catch (const std::bad_alloc&) {  // at the next look
      }
    }
    if (closing_ && workers_gone()) break;
    gone_.wait_for(lock, clock.step());
  }
}

/// Where memory runs out it throws, and nothing has changed.
void SessionCore::abandon(Worker& worker) {
  const std::string what = worker.task.name() + " (" + std::to_string(worker.task.plan->images.size()) + " images, " +
                           std::to_string(worker.task.plan->tokens) + " tokens) stalled: engine " +
                           worker.runner.report().engine + " has not come back for " +
                           std::to_string(context_.options.stall_timeout_s) + " s";
  const auto error =
      std::make_exception_ptr(BackendError(
          what + "; its thread is left behind; open the session again, in a new process where the device hangs, "
                 "or raise stall_timeout_s"));
  breaker_.stalled(what);
  worker.abandoned = true;
  record_end(worker, error);
  if (worker.job != nullptr) {
    PackRunner::fail(worker.task, error);
    worker.job->in_flight -= 1;
    worker.job->ended += 1;
    worker.job->images_done += worker.task.plan->images.size();
    worker.job->changed.notify_one();
  } else {
    for (PendingImage* image : worker.batch.images) {
      image->result.error = error;
      finish(*image);
    }
  }
  break_down();
  worker_has_gone();
}

}  // namespace navit_edge
