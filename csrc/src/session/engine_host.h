// The engines that a session holds.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>

#include "engine/engine_set.h"
#include "session/context.h"

namespace navit_edge {

/// Opens the engines of a session, and on a CPU a second set when two packs first want to share it; reports on them,
/// and lets them go. Thread-safe, but packs must be out of the engines when they go.
class EngineHost {
 public:
  /// Where a pack runs.
  struct Place {
    EngineSet* engines = nullptr;
    int slot = 0;
    std::unique_lock<std::mutex> turn{};  // of a pack that was to share the device and cannot: one at a time
  };

  /// Opens the first set. Borrows `context`, and adds to its candidates. Throws BackendError, BundleError.
  explicit EngineHost(SessionContext& context)
      : context_(&context),
        engines_(open_engines(context.manifest, context.choice, context.options)),
        slots_(engines_->slots()),
        may_pair_(context.may_pair) {}

  /// Packs that may be in flight at once.
  [[nodiscard]] int slots() const noexcept { return may_pair() ? kPairedSlots : slots_; }
  /// Whether two packs may share the device; false for good once the second set did not open.
  [[nodiscard]] bool may_pair() const noexcept { return may_pair_.load(std::memory_order_relaxed); }

  /// Where a pack that has `slot` runs, alone or `paired`. The first paired one opens the second set.
  Place place(bool paired, int slot);
  /// What the first set says of itself, or said last. The second one is the same, opened with fewer threads.
  [[nodiscard]] std::string report();
  /// Gives back what the engines hold of the device.
  void let_go();

 private:
  EngineSet* paired_set();

  const SessionContext* context_;
  std::optional<EngineSet> engines_;  // until they are let go
  int slots_;
  std::atomic<bool> may_pair_;
  std::mutex one_stream_;  // Place::turn

  std::mutex mutex_;  // for opening, reporting on and letting go; not for running
  std::optional<EngineSet> paired_;
  std::string why_not_paired_;
  std::string last_report_;
};

}  // namespace navit_edge
