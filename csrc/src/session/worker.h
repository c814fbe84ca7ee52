// A thread that brings packs through the slots of an engine, one at a time.
#pragma once

#include <cstddef>
#include <exception>

#include "base/clock.h"
#include "session/context.h"
#include "session/engine_host.h"
#include "session/pack_runner.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// Its pack, and how far it is. The scheduler fills `pack`; then come `write`, `run` and `finish`, on the worker's own
/// thread and with no mutex held. None of them throws: the first failure is `error`, which the next steps look at.
struct Worker {
  enum class Phase { kIdle, kWriting, kRunning, kEnding };
  enum class Outcome { kNone, kGood, kBad };

  explicit Worker(const SessionContext& context)
      : pack(static_cast<std::size_t>(context.limits.budgets.back().images)), runner(context) {}

  /// `place` is where it runs: the pack's until `finish` has ended.
  void write(EngineHost& host, EngineHost::Place& place) noexcept;
  void run() noexcept;
  /// Results, or the error of the pack, into its task.
  void finish();

  ScheduledPack pack;
  PackRunner runner;
  std::exception_ptr error;
  Outcome outcome = Outcome::kNone;  // what the circuit breaker hears
  std::exception_ptr cause;          // of a bad outcome: the error of the first image

  // Guarded by the session's mutex.
  /// Whether its engine has held the pack for `timeout`, after a look of the watchdog that says that `gone` has passed.
  bool stalls(Clock::time_point now, Clock::duration gone, Clock::duration timeout) noexcept;
  /// Predicted, of the pack that it has.
  [[nodiscard]] double left_us(Clock::time_point now) const noexcept;

  std::size_t thread = 0;  // its number in the lifecycle
  Phase phase = Phase::kIdle;
  Clock::time_point running_since;
  Clock::duration held{};  // by the engine, as the watchdog counts it
  bool abandoned = false;
};

}  // namespace navit_edge
