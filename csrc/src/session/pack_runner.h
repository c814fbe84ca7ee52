// One pack on its way through a slot: written, run, taken apart.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "session/context.h"
#include "session/engine_host.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// The steps of one pack, one after the other, by one thread and with no mutex held. None throws: the first failure is
/// `error`, and then only `finish` is left to do. After `write` the images are not read any more; `run` touches nothing
/// of the pack, so that it may be left alone with an engine that never returns.
class PackRunner {
 public:
  enum class Outcome { kNone, kGood, kBad };

  explicit PackRunner(const SessionContext& context) : context_(&context) {}

  /// `place`: where it runs, for the caller to keep until `finish` has ended.
  void write(const ScheduledPack& pack, EngineHost& host, EngineHost::Place& place) noexcept;
  void run() noexcept;
  /// Outputs, placement and times into the results of its images, or the error. An image with a NaN or an infinity in
  /// its outputs gets an error in their place.
  void finish(const ScheduledPack& pack) noexcept;
  /// In place of `finish`, of a pack that failed and is to be run again: its images know nothing of it.
  void give_up(const ScheduledPack& pack) noexcept;
  /// `error` into every result of `pack`.
  static void fail(const ScheduledPack& pack, const std::exception_ptr& error) noexcept;

  /// "pack 3 of 7 (5 images, 120 tokens) failed: " and the cause, in the class of the cause.
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  /// What the circuit breaker hears: nothing of packs that could not be written, else whether an image has results.
  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }
  [[nodiscard]] const PackReport& report() const noexcept { return report_; }
  [[nodiscard]] Clock::time_point started() const noexcept { return start_; }
  [[nodiscard]] double latency_us() const noexcept { return report_.preprocess_us + report_.engine_us; }

 private:
  std::span<const Dropping> drops_of(const ScheduledPack& pack);
  std::size_t unpack(const ScheduledPack& pack);

  const SessionContext* context_;
  EngineSet* on_ = nullptr;
  std::int32_t budget_ = 0;
  int slot_ = 0;
  Pack* pack_ = nullptr;
  Clock::time_point start_;
  std::optional<OutputLease> outputs_;  // from the run to the results
  PackReport report_;
  std::vector<Dropping> drops_;  // [images] of the pack that is written
  std::exception_ptr error_;
  Outcome outcome_ = Outcome::kNone;
};

}  // namespace navit_edge
