// Waits of callers: bounded by a time, and interruptible.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/clock.h"
#include "navit_edge/submit.h"

namespace navit_edge {

/// Waits on `changed` until `done()`: true; false if the time of `options` has passed before. What its `look_up`
/// throws ends the wait. Holds `lock` whenever it calls `done` and when it ends, in whichever way.
template <class Done>
bool wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, const WaitOptions& options,
              Done done) {
  constexpr double kLookUpUs = 100e3;
  const Clock::time_point end = after(Clock::now(), options.timeout_us);
  while (!done()) {
    const Clock::time_point now = Clock::now();
    if (now >= end) return false;
    if (!options.look_up) {
      wait_until(changed, lock, end);
      continue;
    }
    wait_until(changed, lock, std::min(end, after(now, kLookUpUs)));
    if (done()) break;
    lock.unlock();
    try {
      options.look_up();
    } catch (...) {
      lock.lock();
      throw;
    }
    lock.lock();
  }
  return true;
}

}  // namespace navit_edge
