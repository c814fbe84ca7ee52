// What becomes of packs, devices and the session if something fails.
#pragma once

#include <exception>
#include <string>

#include "session/completion_queue.h"
#include "session/decoding.h"
#include "session/device.h"
#include "session/metrics_observer.h"
#include "session/scheduler.h"
#include "session/submissions.h"
#include "session/twins.h"
#include "session/worker.h"

namespace navit_edge {

/// A device that fails three packs in a row, or holds one for too long, is lost; the others go on. With the last one
/// the session is broken. A pack that failed on one device is run once more, on another. With the session's mutex held;
/// borrows what it is made from.
class Faults {
 public:
  Faults(Devices& devices, Scheduler& scheduler, Submissions& submissions, Twins& twins, CompletionQueue& completions,
         MetricsObserver& observer, Decoding& decoding)
      : devices_(devices),
        scheduler_(scheduler),
        submissions_(submissions),
        twins_(twins),
        completions_(completions),
        observer_(observer),
        decoding_(decoding) {}

  /// All devices are lost.
  [[nodiscard]] bool broken() const noexcept { return scheduler_.devices_left() == 0; }
  /// Why; empty if it is not broken.
  [[nodiscard]] std::string why() const { return broken() ? devices_.why_lost() : ""; }
  /// The same as the error of what was not run; std::bad_alloc if there is no memory for the words.
  [[nodiscard]] std::exception_ptr broken_error() const noexcept;

  /// Whether a pack that has failed on its device is to be run again by another one.
  [[nodiscard]] bool may_run_again(const ScheduledPack& pack) const noexcept;
  /// It waits again. `over`: nothing is run any more, for this reason; null: it will be run.
  void give_back(const ScheduledPack& pack, const std::exception_ptr& over);
  /// Submitted images whose pack has ended: to their callbacks, or into the queue again for a cascade's second pass.
  /// `over` as that of give_back.
  void end_images(const ScheduledPack& pack, const std::exception_ptr& over);
  /// Its result is there, or its error: to the callback, and to those that wait for the same.
  void complete(PendingImage& image);
  /// The packs of a run that have not begun will not.
  void fail_rest(RunJob& job, const std::exception_ptr& error);
  /// Its images that would have a second pass have none.
  void fail_again(RunJob& job, const std::exception_ptr& error);
  void fail_all_waiting(const std::exception_ptr& error);
  void lose(Device& device);
  /// The device of the pack is lost: it does not come back from the engine. If memory runs out it throws, and nothing
  /// has changed.
  void abandon(Worker& worker, double stall_timeout_s, bool closing);

 private:
  Devices& devices_;
  Scheduler& scheduler_;
  Submissions& submissions_;
  Twins& twins_;
  CompletionQueue& completions_;
  MetricsObserver& observer_;
  Decoding& decoding_;
};

/// Of what was not run since the session was closed before.
std::exception_ptr closed_error() noexcept;

}  // namespace navit_edge
