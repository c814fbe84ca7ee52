// Engines that do not come back.
#include <algorithm>
#include <exception>
#include <string>

#include "navit_edge/error.h"
#include "session/room.h"
#include "session/stall_clock.h"

namespace navit_edge {

void Room::watch() {
  StallClock clock(opened_.options.stall_timeout_s * 1e6);
  Lock lock(mutex_);
  while (!(closing_ && lanes_gone())) {
    const Clock::time_point now = Clock::now();
    const Clock::duration gone = clock.look(now);
    for (Lane& lane : lanes_) {
      if (lane.phase != Lane::Phase::kRunning || lane.abandoned) continue;
      lane.held += std::clamp(now - lane.running_since, Clock::duration{}, gone);
      if (lane.held < clock.timeout()) continue;
      try {
        abandon(lane);
      } catch (const std::bad_alloc&) {  // at the next look
      }
    }
    if (closing_ && lanes_gone()) break;
    gone_.wait_for(lock, clock.step());
  }
}

/// Where memory runs out it throws, and nothing has changed.
void Room::abandon(Lane& lane) {
  const std::string what = lane.task.name() + " (" + std::to_string(lane.task.plan->images.size()) + " images, " +
                           std::to_string(lane.task.plan->tokens) + " tokens) stalled: engine " +
                           lane.work.report().engine + " has not come back for " +
                           std::to_string(opened_.options.stall_timeout_s) + " s";
  const auto error = std::make_exception_ptr(
      BackendError(what + "; its thread is left behind; open the session again, in a new process if the device hangs, "
                          "or raise stall_timeout_s"));
  breaker_.stalled(what);
  lane.abandoned = true;
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
  break_down();
  lane_has_gone();
}

}  // namespace navit_edge
