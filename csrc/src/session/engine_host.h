// The engines that a session holds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "engine/engine_set.h"
#include "session/context.h"

namespace navit_edge {

/// Packs take turns on an engine: a lock, for std::unique_lock. Thread-safe; locks no other mutex.
class Turns {
 public:
  /// Waits for its turn. Throws the error of `refuse`.
  void lock();
  void unlock() noexcept;
  /// From here on nobody gets a turn, not those who wait either: the engine may never end the pack that has it.
  void refuse(const std::exception_ptr& error) noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool taken_ = false;
  std::exception_ptr refused_;
};

/// Opens the engines of a session on one of its devices, and on a CPU a second set when two packs first want to share
/// it; reports on them, and lets them go. Thread-safe, but packs must be out of the engines when they go.
class EngineHost {
 public:
  /// Where a pack runs.
  struct Place {
    EngineSet* engines = nullptr;
    int slot = 0;
    std::unique_lock<Turns> turn{};  // of a pack that was to share the device and cannot: one at a time
  };

  /// Opens the first set on `device`, one of the context's, by a thread that is bound to its cores. Borrows `context`,
  /// and adds to its candidates. Throws BackendError, BundleError; of a device that was named, with its name.
  EngineHost(SessionContext& context, const DeviceSpec& device);

  /// CPU threads for a pack that has them for itself.
  [[nodiscard]] int threads() const noexcept;
  /// Packs that may be in flight at once.
  [[nodiscard]] int slots() const noexcept { return may_pair() ? kPairedSlots : slots_; }
  /// Whether two packs may share the device; false for good once the second set did not open.
  [[nodiscard]] bool may_pair() const noexcept { return may_pair_.load(std::memory_order_relaxed); }

  /// Where a pack that has `slot` runs, alone or `paired`. The first paired one opens the second set. Throws the error
  /// of `refuse_turns`.
  Place place(bool paired, int slot);
  /// The session is broken: no pack waits for its turn any more.
  void refuse_turns(const std::exception_ptr& error) noexcept { turns_.refuse(error); }
  /// What the first set says of itself, or said last. The second one is the same, opened with fewer threads.
  [[nodiscard]] std::string report();
  /// Gives back what the engines hold of the device.
  void let_go();

 private:
  EngineSet* paired_set();

  const SessionContext* context_;
  SessionOptions options_;            // as this device opens engines
  std::optional<EngineSet> engines_;  // until they are let go
  int slots_;
  std::atomic<bool> may_pair_;
  Turns turns_;  // Place::turn

  std::mutex mutex_;  // for opening, reporting on and letting go; not for running
  std::optional<EngineSet> paired_;
  std::string why_not_paired_;
  std::string last_report_;
};

}  // namespace navit_edge
