// One pack on its way through a slot: written, run, taken apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "engine/engine_set.h"
#include "session/context.h"

namespace navit_edge {

/// What a pack is made of. Borrows everything; `plan` names images by their index in the spans.
struct PackTask {
  const PackPlan* plan = nullptr;
  std::span<const ImageView> images;
  std::span<const Grid> grids;
  std::span<Result> results;
  std::uint64_t number = 0;
  std::uint64_t of = 0;  // packs of the run; 0: a pack of submitted images

  [[nodiscard]] std::string name() const;  // opens messages: "pack 3 of 7"
};

/// The steps of one pack, on one slot, by one thread: write, run, unpack. After `write` the images are not read any
/// more; `run` touches nothing of the task, so that it may be left alone with an engine that never returns.
class PackWork {
 public:
  explicit PackWork(const Opened& opened) : opened_(&opened) {}

  /// Starts with a pack for `slot` of `on`; `threads` write it.
  void write(const PackTask& task, EngineSet& on, int slot, int threads);
  void run();
  /// Outputs, placement and times into the results of the images of `task`. An image with a NaN or an infinity in its
  /// outputs gets an error in their place; says how many did.
  std::size_t unpack(const PackTask& task);
  /// `error` into every result of `task`. Keeps the class of an error of ours.
  static void fail(const PackTask& task, const std::exception_ptr& error);
  /// "pack 3 of 7 (5 images, 120 tokens) failed: " and the cause, in the class of the cause.
  static std::exception_ptr named(const PackTask& task, const std::exception_ptr& cause) noexcept;

  [[nodiscard]] const PackReport& report() const noexcept { return report_; }
  [[nodiscard]] Clock::time_point started() const noexcept { return start_; }
  [[nodiscard]] double latency_us() const noexcept { return report_.preprocess_us + report_.engine_us; }

 private:
  const Opened* opened_;
  EngineSet* on_ = nullptr;
  std::int32_t budget_ = 0;
  int slot_ = 0;
  Pack* pack_ = nullptr;
  Clock::time_point start_;
  std::optional<OutputLease> outputs_;  // from the run to the results
  PackReport report_;
};

}  // namespace navit_edge
