// Engines that do not come back.
#include <algorithm>
#include <string>

#include "navit_edge/error.h"
#include "room/room.h"

namespace navit_edge {

void Room::watch() {
  const double timeout_us = opened_.options.stall_timeout_s * 1e6;
  Lock lock(mutex_);
  while (!(closing_ && lanes_gone())) {
    const Clock::time_point now = Clock::now();
    Clock::time_point next = Clock::time_point::max();
    for (Lane& lane : lanes_) {
      if (lane.phase != Lane::Phase::kRunning || lane.abandoned) continue;
      const Clock::time_point due = after(lane.running_since, timeout_us);
      if (due <= now) {
        abandon(lane);
      } else {
        next = std::min(next, due);
      }
    }
    if (closing_ && lanes_gone()) break;
    // A pack that starts meanwhile is due no earlier than a timeout from now: nobody has to wake this thread for it.
    gone_.wait_until(lock, std::min(next, after(now, timeout_us)));
  }
}

void Room::abandon(Lane& lane) {
  lane.abandoned = true;
  const std::string what = lane.task.name() + " (" + std::to_string(lane.task.plan->images.size()) + " images, " +
                           std::to_string(lane.task.plan->tokens) + " tokens) stalled: engine " +
                           lane.work.report().engine + " has not come back for " +
                           std::to_string(opened_.options.stall_timeout_s) + " s";
  const auto error =
      std::make_exception_ptr(BackendError(
          what + "; its thread is left behind; open the session again, in a new process where the device hangs, "
                 "or raise stall_timeout_s"));
  record_end(lane, error);
  if (lane.job != nullptr) {
    PackWork::fail(lane.task, error);
    lane.job->in_flight -= 1;
    lane.job->ended += 1;
    lane.job->images_done += lane.task.plan->images.size();
    lane.job->changed.notify_one();
  } else {
    for (Waiting* image : lane.batch.images) {
      image->result.error = error;
      finish(*image);
    }
  }
  breaker_.stalled(what);
  break_down();
  lane_has_gone();
}

}  // namespace navit_edge
