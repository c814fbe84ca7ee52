// Which pack a free slot takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/clock.h"
#include "session/batcher.h"
#include "session/device_loads.h"
#include "session/queue.h"
#include "session/run_job.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// Lets runs and submitted images take turns: by priority, by deadlines, by who was served last; and what waits longer
/// than `aging_us` gets every fourth pack. With several devices, a pack goes to the one that is predicted to end it
/// first: a device that is free takes what no other would end sooner, and else leaves it. Not thread-safe, but
/// `share_us` may be called from any thread.
class Scheduler {
 public:
  struct Rules {
    double aging_us = 1e6;  // as SessionOptions has them
    double batch_wait_us = 0;
  };

  /// `devices`: at least one. Borrows `limits` and `queue`.
  Scheduler(const PlanLimits& limits, const Rules& rules, Queue& queue, const std::vector<SlotRules>& devices);

  [[nodiscard]] DeviceLoad& device(std::size_t device) noexcept { return devices_[device]; }
  [[nodiscard]] const DeviceLoad& device(std::size_t device) const noexcept { return devices_[device]; }
  /// How many are not lost.
  [[nodiscard]] std::size_t devices_left() const noexcept;
  /// It takes no more packs; those of runs that were planned for it go to the others, if there are any.
  void lose(std::size_t device, Clock::time_point now);
  /// As the planner takes them: in parts of the fastest one's time. Empty if there is only one.
  [[nodiscard]] std::vector<PlanDevice> plan_devices(Clock::time_point now) const;
  /// Of all of them together, in parts of the fastest one.
  [[nodiscard]] double speed() const noexcept;

  /// A run whose packs are to be taken. It is left out once all have begun.
  void add(RunJob& run, Clock::time_point now);
  /// Its packs that have not begun are not taken any more.
  void remove(RunJob& run);
  /// Those with packs that have not begun.
  [[nodiscard]] const std::vector<RunJob*>& runs() const noexcept { return runs_; }
  /// A pack that failed on its device is to be taken again, by another one. It has left its slot.
  void give_back(const ScheduledPack& pack, Clock::time_point now);

  /// Whether an image of so many tokens is predicted to be done by `deadline`, if a device begins with it now.
  [[nodiscard]] bool in_time(std::int32_t tokens, Clock::time_point deadline, Clock::time_point now);

  /// Takes the next pack into `pack`, with a slot of `device`. False if there is none for it yet; `look_again` says
  /// when time alone may change that. `hurry`: images do not wait for company.
  bool claim(ScheduledPack& pack, std::size_t device, bool hurry, Clock::time_point now, Clock::time_point& look_again);
  /// It leaves its slot. `latency_us`: how long it took, if it was `good`. Returns how long the device was busy with
  /// it.
  double end(const ScheduledPack& pack, bool good, double latency_us, Clock::time_point now);

  /// How long its pixels and its engine took, of a good pack.
  void learn(const ScheduledPack& pack, double prepare_us, double engine_us) noexcept {
    learn_pack(devices_[pack.device], pack, prepare_us, engine_us);
  }
  /// How often engines were found to have another speed.
  [[nodiscard]] std::uint64_t changes() const noexcept;
  /// What a latency target must know of what was given before, and of `pixels` of `images` images given now.
  [[nodiscard]] Load load(std::int64_t pixels, std::size_t images, const Governor& governor,
                          Clock::time_point now) const noexcept {
    return load_of(devices_, waiting_us(), pixels, images, governor, now);
  }
  /// Predicted time of all that waits, by the cost model.
  [[nodiscard]] double waiting_us() const;
  /// As Batcher::share_us.
  [[nodiscard]] double share_us(std::int32_t tokens) const { return batcher_.share_us(tokens); }

 private:
  /// What has waited longest of what waits too long: an image, a run or nothing.
  struct Overdue {
    const PendingImage* image = nullptr;
    RunJob* run = nullptr;
  };
  /// A pack of a run, and for which device it was planned. No run: none.
  struct RunPack {
    RunJob* run = nullptr;
    std::size_t planned_for = 0;
    std::size_t index = 0;
  };

  [[nodiscard]] bool tries(std::size_t device, std::int32_t failed_on) const noexcept;
  [[nodiscard]] double pace(std::size_t device) const noexcept;
  [[nodiscard]] double ends_us(std::size_t device, double predicted_us, Clock::time_point now) const noexcept;
  [[nodiscard]] double ends_planned_us(std::size_t device, const RunJob& run, Clock::time_point now) const noexcept;
  [[nodiscard]] double others_do_us(std::size_t device, double until_us, Clock::time_point now) const noexcept;
  [[nodiscard]] bool others_end_sooner(std::size_t device, double predicted_us, Clock::time_point now) const noexcept;
  [[nodiscard]] bool leave_to_planned(std::size_t device, const RunJob& run, std::size_t index, Clock::time_point now,
                                      Clock::time_point& look_again) const noexcept;
  [[nodiscard]] RunPack own_pack(std::size_t device, RunJob& run, Clock::time_point now,
                                 Clock::time_point& look_again) const noexcept;
  [[nodiscard]] RunPack pack_of_others(std::size_t device, RunJob& run, Clock::time_point now) const noexcept;
  [[nodiscard]] RunPack pack_of(std::size_t device, RunJob& run, Clock::time_point now,
                                Clock::time_point& look_again) const noexcept;
  [[nodiscard]] RunPack next_run(std::size_t device, Clock::time_point now, Clock::time_point& look_again) const;
  [[nodiscard]] bool queue_first(const RunPack& run, std::size_t device, Clock::time_point now);
  [[nodiscard]] Overdue overdue(bool images, Clock::time_point now) const;
  void plan_for_another(RunJob& run, std::size_t index, Clock::time_point now);
  void claim_run(ScheduledPack& pack, const RunPack& next, const SlotGate& gate, Clock::time_point now);
  bool pick_images(Batch& batch, std::size_t device, Clock::time_point now, Clock::time_point elders,
                   Clock::time_point& look_again);
  void claim_images(ScheduledPack& pack, DeviceLoad& on, const RunPack& run, Clock::time_point now);
  [[nodiscard]] bool pair_images(const Batch& batch, DeviceLoad& on, const RunPack& run, Clock::time_point now);

  Rules rules_;
  Queue* queue_;
  Batcher batcher_;
  std::deque<DeviceLoad> devices_;
  std::vector<RunJob*> runs_;
  int overtaken_ = 0;  // packs in a row that left before what was overdue
  std::uint64_t packs_started_ = 0;
  std::uint64_t batches_started_ = 0;
  std::uint64_t queue_served_ = 0;  // as RunJob::served
};

}  // namespace navit_edge
