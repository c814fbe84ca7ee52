// What the metrics are told of runs, images and packs (docs/metrics.md).
#pragma once

#include <cstdint>
#include <exception>

#include "metrics/recorder.h"
#include "session/pack_runner.h"
#include "session/queue.h"
#include "session/run_job.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// Of an error of ours; kCancelled for any other, which a caller has thrown.
ErrorCode code_of(const std::exception_ptr& error);

/// Watches a session and changes nothing of it. From any thread.
class MetricsObserver {
 public:
  /// An image that could not be submitted.
  void refused(std::uint64_t id, ErrorCode code) noexcept;
  void submitted() noexcept { recorder_.submitted(); }
  /// An image that ends before it joins a pack, with `error` or since it was cancelled.
  void failed_waiting(const PendingImage& image, const std::exception_ptr& error) noexcept;
  void cancelled(const PendingImage& image) noexcept { recorder_.cancelled(image.id, image.submitted, Clock::now()); }

  /// An image whose result was there, or has come for another of the same content; its error, if it has one.
  void recalled(const PendingImage& image) noexcept;
  /// One that was asked for by its content alone, and is handed out at once.
  void recalled(const Result& result, double deadline_us) noexcept;
  /// All images of a run, before its packs can begin; some have failed already.
  void run_submitted(const RunJob& job);
  /// Images of a run that waited for the results of others in `pack`, which has ended.
  void twins_ended(const RunJob& job, const PackPlan& pack) noexcept;
  /// The packs of a run that have not begun will not.
  void rest_failed(const RunJob& job, const std::exception_ptr& error);
  /// Images of a run that would have a second pass have none.
  void again_failed(const RunJob& job, const std::exception_ptr& error);

  /// Gives the pack its number.
  void claimed(ScheduledPack& pack) noexcept { pack.number = recorder_.pack_begun(pack.plan->images.size()); }
  void started(const ScheduledPack& pack);
  /// Before anybody learns of the results. `error` is the pack's; an image may have one of its own. `stalled`: its
  /// thread may still write into `runner`.
  void ended(const ScheduledPack& pack, const PackRunner& runner, bool stalled, const std::exception_ptr& error);

  /// A pack failed, and its images wait again.
  void given_back(const ScheduledPack& pack, const PackRunner& runner, bool stalled, const std::exception_ptr& error);

  [[nodiscard]] Recorder& recorder() noexcept { return recorder_; }
  [[nodiscard]] const Recorder& recorder() const noexcept { return recorder_; }

 private:
  void recalled(const RunJob& job, std::size_t image) noexcept;

  Recorder recorder_;
};

}  // namespace navit_edge
