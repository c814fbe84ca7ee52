// A thread that brings packs through the slots of an engine, one at a time.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/clock.h"
#include "session/context.h"
#include "session/device.h"
#include "session/pack_runner.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// The pack that it has, and how far it is with it.
struct Worker {
  enum class Phase { kIdle, kWriting, kRunning, kEnding };

  Worker(const SessionContext& context, Device& of)
      : device(&of), pack(static_cast<std::size_t>(context.limits.budgets.back().images)), runner(context) {}

  Device* device;
  ScheduledPack pack;
  PackRunner runner;

  // Guarded by the session's mutex.
  std::size_t thread = 0;  // its number in the lifecycle
  Phase phase = Phase::kIdle;
  Clock::time_point running_since;
  Clock::duration held{};  // by the engine, as the watchdog counts it
  bool again = false;      // its pack has failed, and is to be run again by another device
  bool abandoned = false;

  /// Whether its engine has held the pack for `timeout`, after a look of the watchdog that says that `gone` has passed.
  bool stalls(Clock::time_point now, Clock::duration gone, Clock::duration timeout) noexcept {
    if (phase != Phase::kRunning || abandoned) return false;
    held += std::clamp(now - running_since, Clock::duration{}, gone);
    return held >= timeout;
  }
  /// Predicted, of the pack that it has.
  [[nodiscard]] double left_us(Clock::time_point now) const noexcept {
    if (abandoned || (phase != Phase::kWriting && phase != Phase::kRunning)) return 0;
    return std::max(0.0, pack.plan->predicted_us - (phase == Phase::kRunning ? microseconds(now - running_since) : 0));
  }
};

}  // namespace navit_edge
