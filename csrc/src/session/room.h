// The engine room of a session: what waits, what runs it, and what comes out.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/fork_guard.h"
#include "engine/engine_set.h"
#include "metrics/recorder.h"
#include "session/batcher.h"
#include "session/circuit_breaker.h"
#include "session/completion_queue.h"
#include "session/context.h"
#include "session/cost_correction.h"
#include "session/pack_runner.h"
#include "session/queue.h"
#include "session/run_job.h"

namespace navit_edge {

/// Of an error of ours; kCancelled for any other, which a caller has thrown.
ErrorCode code_of(const std::exception_ptr& error);

/// Lanes are threads that take one pack at a time, of a run or of submitted images, and bring it through a slot of an
/// engine. All share one mutex, which nobody holds while pixels are read, an engine runs or a callback is called.
/// Every thread keeps the room alive: one that an engine never gives back keeps all it may touch.
class Room : public std::enable_shared_from_this<Room> {
 public:
  Room(const std::filesystem::path& bundle, SessionOptions options);
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  /// Starts the threads. Once, when a shared_ptr holds the room.
  void start();

  std::vector<Result> run(std::span<const ImageView> images, RunReport* report, const RunOptions& options);
  /// The id; none where there was no place before the time of `wait` had passed, and then `image` is as it was.
  std::optional<std::uint64_t> submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                      const WaitOptions& wait);
  bool cancel(std::uint64_t id);
  /// False where the time of `wait` passed before.
  bool drain(const WaitOptions& wait);
  void close();
  /// Closes, and lets the threads go: where it is one of them that calls, they end by themselves.
  void leave();
  [[nodiscard]] std::string broken() const;

  [[nodiscard]] const Opened& opened() const noexcept { return opened_; }
  [[nodiscard]] int slots() const noexcept { return may_pair() ? kPairedSlots : engine_slots_; }
  [[nodiscard]] std::string report();
  [[nodiscard]] Metrics metrics() const;
  void record_refused(ErrorCode code) noexcept;
  [[nodiscard]] Recorder& recorder() noexcept { return recorder_; }
  [[nodiscard]] const ProcessMark& process() const noexcept { return process_; }

 private:
  /// A thread and the pack it has.
  struct Lane {
    explicit Lane(const Opened& opened) : work(opened) {
      const auto most = static_cast<std::size_t>(opened.limits.budgets.back().images);
      batch.images.reserve(most);
      batch.plan.images.reserve(most);
      views.reserve(most);
      grids.reserve(most);
      results.reserve(most);
    }

    enum class Phase { kIdle, kWriting, kRunning, kEnding };

    PackWork work;
    PackTask task;
    RunJob* job = nullptr;  // null: submitted images
    Batch batch;            // of submitted images; the spans of its task are of the vectors below
    std::vector<ImageView> views;
    std::vector<Grid> grids;
    std::vector<Result> results;
    bool paired = false;
    int slot = 0;
    int threads = 1;
    enum class Outcome { kNone, kGood, kBad } outcome = Outcome::kNone;  // what the breaker hears

    // Guarded by the mutex.
    Phase phase = Phase::kIdle;
    Clock::time_point claimed;
    std::uint64_t pack = 0;  // its number, of all of the session
    Clock::time_point running_since;
    Clock::duration held{};  // by the engine, as the watchdog counts it
    bool abandoned = false;
    bool exited = false;
  };
  /// Somebody in `drain`.
  struct DrainCall {
    std::uint64_t epoch;
    std::size_t left;
  };
  /// Somebody in `submit` who waits for a place.
  struct Submitter {
    std::int32_t priority;
    std::uint64_t bytes;
    bool let_in = false;  // has one
    std::condition_variable changed{};
  };
  using Lock = std::unique_lock<std::mutex>;

  // room.cc
  void plan(RunJob& job, const Policy& policy) const;
  /// The one place where an image is checked and gets its grid, for `run` and `submit`. Throws InvalidInput,
  /// OverBudget.
  void size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                  Result& result) const;
  [[nodiscard]] const Policy& policy_of(const std::optional<Policy>& asked) const noexcept;
  /// What a policy must know of the rest: nothing but for a latency target. The mutex is free.
  [[nodiscard]] Load load_for(const Policy& policy, std::size_t images) const;
  /// Predicted time of all that was given and is not done. The mutex is held.
  [[nodiscard]] double waiting_us() const;
  void refuse_where_over() const;
  void fail_waiting(const std::exception_ptr& error);
  void fail_rest(RunJob& job, const std::exception_ptr& error);
  void break_down();
  void begin_close();
  [[nodiscard]] bool on_own_thread() const noexcept;
  [[nodiscard]] bool lanes_gone() const;
  void lane_has_gone();
  void let_engines_go();

  // submit.cc
  [[nodiscard]] bool room_for(std::int32_t priority, std::uint64_t bytes) const;
  void let_in();
  bool take_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait);
  void finish(Waiting& image);
  void take_back(Waiting* first, std::size_t count);

  // lanes.cc
  void serve(Lane& lane);
  bool claim(Lane& lane, Clock::time_point& look_again);
  [[nodiscard]] RunJob* next_job() const;
  [[nodiscard]] bool queue_first(const RunJob* job, Clock::time_point now) const;
  /// Of what came longer ago than `aging_us`, what has waited longest, a run since its last pack: an image, a run or
  /// nothing.
  struct Overdue {
    Waiting* image = nullptr;
    RunJob* job = nullptr;
  };
  [[nodiscard]] Overdue overdue(bool images, Clock::time_point now) const;
  void claim_job(Lane& lane, RunJob& job, bool paired);
  void claim_batch(Lane& lane, Clock::time_point now, Clock::time_point elders);
  [[nodiscard]] bool pair_batch(const Batch& batch, Clock::time_point now) const;
  void wake_lanes();
  void carry_out(Lane& lane);
  void end(Lane& lane);
  [[nodiscard]] bool may_pair() const noexcept { return pairs_.load(std::memory_order_relaxed); }
  EngineSet* paired_engines();

  // record.cc
  void record_taken(const RunJob& job);
  void record_unrun(const RunJob& job, const PackPlan& pack, ErrorCode code);
  void record_claim(Lane& lane, Clock::time_point now);
  void record_queues(const Lane& lane);
  void record_end(const Lane& lane, const std::exception_ptr& error);

  // watchdog.cc
  void watch();
  void abandon(Lane& lane);

  const ProcessMark process_;
  Opened opened_;
  std::optional<EngineSet> engines_;  // until the session is closed
  int engine_slots_;
  std::atomic<bool> pairs_;          // a CPU's streams are the session's to choose, and two can be had
  std::mutex engines_mutex_;         // for opening, reporting on and letting go of engines; not for running them
  std::optional<EngineSet> paired_;  // kPairedSlots slots; opened when two packs first wait at once
  std::string no_pairs_;             // why two cannot be had; guarded by engines_mutex_
  std::string report_at_close_;      // guarded by engines_mutex_
  std::mutex one_stream_;            // held by a pack that was to be paired and cannot be

  mutable std::mutex mutex_;
  std::condition_variable work_;     // lanes wait
  std::condition_variable drained_;  // drain waits
  std::condition_variable gone_;     // close waits for lanes, the watchdog for packs

  // Guarded by mutex_.
  Queue queue_;
  Batcher batcher_;
  std::array<Pace, 2> pace_;            // of packs alone on the device, and of those side by side on a CPU
  std::vector<RunJob*> jobs_;           // with packs that have not begun
  std::vector<Submitter*> submitters_;  // in the order in which they came
  int overtaken_ = 0;                   // packs in a row that left before what was overdue
  Breaker breaker_;
  bool closing_ = false;
  bool alone_ = false;    // a pack that has all cores of a CPU is in flight
  bool writing_ = false;  // a pack is preprocessed for an accelerator: one at a time
  std::size_t in_flight_ = 0;
  std::vector<bool> slot_taken_;  // [lanes]
  std::size_t idle_lanes_ = 0;
  std::uint64_t packs_started_ = 0;
  std::uint64_t batches_started_ = 0;
  std::uint64_t queue_served_ = 0;  // as RunJob::served
  std::size_t outstanding_ = 0;     // submitted images without a result
  std::uint64_t epoch_ = 0;         // drains so far
  std::vector<DrainCall*> drains_;

  std::atomic<std::uint64_t> last_id_{0};
  Recorder recorder_;
  Outbox outbox_;
  std::deque<Lane> lanes_;
  std::mutex joining_;
  std::vector<std::thread> lane_threads_;  // [lanes]; guarded by joining_
  std::thread outbox_thread_;              // guarded by joining_
  std::thread watchdog_thread_;            // guarded by joining_
};

}  // namespace navit_edge
