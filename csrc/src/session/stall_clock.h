// How long an engine has been held while this process ran.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace navit_edge {

/// Counts in looks. What lies between two looks counts up to a bound: a process that was stopped (Ctrl-Z, `docker
/// pause`, a laptop that slept, a debugger) and goes on finds its engine as old as it left it, and the same if the
/// clock jumps. Not thread-safe.
class StallClock {
 public:
  explicit StallClock(double timeout_us)
      : step_(after(Clock::time_point{}, std::clamp(timeout_us / kLooks, kLeastUs, kMostUs)).time_since_epoch()),
        timeout_(after(Clock::time_point{}, timeout_us).time_since_epoch()) {}

  /// When to look again.
  [[nodiscard]] Clock::duration step() const noexcept { return step_; }
  [[nodiscard]] Clock::duration timeout() const noexcept { return timeout_; }

  /// A look. Those held since before the last one age by what it returns; a clock that goes back ages nobody.
  Clock::duration look(Clock::time_point now) noexcept {
    const Clock::duration gone = seen_ == Clock::time_point{} ? Clock::duration{} : now - seen_;
    seen_ = now;
    return std::clamp(gone, Clock::duration{}, 2 * step_);
  }

 private:
  static constexpr double kLooks = 16;  // in a timeout
  static constexpr double kLeastUs = 1e2;
  static constexpr double kMostUs = 1e6;

  Clock::duration step_;
  Clock::duration timeout_;
  Clock::time_point seen_{};
};

}  // namespace navit_edge
