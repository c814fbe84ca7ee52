// Which pack a free slot takes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "session/batcher.h"
#include "session/cost_correction.h"
#include "session/queue.h"
#include "session/run_job.h"
#include "session/scheduled_pack.h"
#include "session/slot_gate.h"

namespace navit_edge {

/// Lets runs and submitted images take turns: by priority, by deadlines, by who was served last; and what waits longer
/// than `aging_us` gets every fourth pack. Not thread-safe, but `share_us` may be called from any thread.
class Scheduler {
 public:
  struct Rules {
    double aging_us = 1e6;  // as SessionOptions has them
    double batch_wait_us = 0;
  };

  /// Borrows `limits` and `queue`.
  Scheduler(const PlanLimits& limits, const Rules& rules, Queue& queue);

  /// A run whose packs are to be taken. It is left out once all have begun.
  void add(RunJob& run, Clock::time_point now);
  /// Its packs that have not begun are not taken any more.
  void remove(RunJob& run);
  /// Those with packs that have not begun.
  [[nodiscard]] const std::vector<RunJob*>& runs() const noexcept { return runs_; }

  /// Takes the next pack into `pack`, with a slot of `gate`. False if there is none yet; `look_again` says when time
  /// alone may change that. `hurry`: images do not wait for company.
  bool claim(ScheduledPack& pack, SlotGate& gate, bool hurry, Clock::time_point now, Clock::time_point& look_again);
  /// How long a pack really took.
  void observe(const ScheduledPack& pack, double measured_us) noexcept {
    corrections_[pack.paired ? 1 : 0].observe(pack.plan->predicted_us, measured_us);
  }

  /// Predicted time of all that waits.
  [[nodiscard]] double waiting_us() const;
  /// As Batcher::share_us.
  [[nodiscard]] double share_us(std::int32_t tokens) const { return batcher_.share_us(tokens); }

 private:
  /// What has waited longest of what waits too long: an image, a run or nothing.
  struct Overdue {
    const PendingImage* image = nullptr;
    RunJob* run = nullptr;
  };

  [[nodiscard]] RunJob* next_run() const;
  [[nodiscard]] bool queue_first(const RunJob* run, Clock::time_point now) const;
  [[nodiscard]] Overdue overdue(bool images, Clock::time_point now) const;
  void claim_run(ScheduledPack& pack, RunJob& run, const SlotGate& gate, Clock::time_point now);
  void claim_images(ScheduledPack& pack, const SlotGate& gate, Clock::time_point now, Clock::time_point elders);
  [[nodiscard]] bool pair_images(const Batch& batch, const SlotGate& gate, Clock::time_point now) const;

  Rules rules_;
  Queue* queue_;
  Batcher batcher_;
  std::array<CostCorrection, 2> corrections_;  // of packs alone on the device, and of those side by side on a CPU
  std::vector<RunJob*> runs_;
  int overtaken_ = 0;  // packs in a row that left before what was overdue
  std::uint64_t packs_started_ = 0;
  std::uint64_t batches_started_ = 0;
  std::uint64_t queue_served_ = 0;  // as RunJob::served
};

}  // namespace navit_edge
