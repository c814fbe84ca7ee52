// Submitted images, from `submit` until their callbacks have returned.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/function_ref.h"
#include "navit_edge/submit.h"
#include "session/completion_queue.h"
#include "session/queue.h"

namespace navit_edge {

/// Says who gets a place in the queue and who waits for one, and counts for `drain` what has no result yet. With the
/// session's mutex held; waits release it.
class Submissions {
 public:
  using Lock = std::unique_lock<std::mutex>;

  /// `most_completed`: as many results may wait for their callbacks before callers wait for them. Borrows
  /// `completions`.
  Submissions(std::uint64_t most_images, std::uint64_t most_bytes, std::size_t most_completed,
              const CompletionQueue& completions)
      : queue_(most_images, most_bytes), most_completed_(most_completed), completions_(&completions) {}

  [[nodiscard]] Queue& queue() noexcept { return queue_; }

  /// Takes a place for an image, if there is one or `in_any_case`.
  bool enter(std::int32_t priority, std::uint64_t bytes, bool in_any_case);
  /// Waits for one: callers get theirs in the order in which they came. False if there was none in time, or `over`.
  bool wait_for_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait,
                      FunctionRef<bool()> over);
  /// Gives back the place of an image that is not in the queue.
  void leave(std::int32_t priority, std::uint64_t bytes) noexcept;
  /// Whether a result that is there already may join those that wait for their callbacks, without a place.
  [[nodiscard]] bool takes_results() const noexcept { return completions_->size() < most_completed_; }
  /// Places may have become free: lets those in who wait.
  void let_in() noexcept;

  /// One more image without a result. Its epoch, for `finished`.
  void begun(PendingImage& image) noexcept;
  /// Callbacks have returned: of a list over `behind`.
  void finished(PendingImage* first, std::size_t count) noexcept;
  /// Waits until all that has begun is finished; false if the time of `wait` passed before.
  bool drain(Lock& lock, const WaitOptions& wait);

  /// Somebody waits for a place or in `drain`: images do not wait for company.
  [[nodiscard]] bool hurry() const noexcept { return !submitters_.empty() || !drains_.empty(); }
  /// Wakes those who wait for a place, to look whether it is over.
  void wake_submitters() noexcept;

 private:
  /// Somebody who waits for a place.
  struct Submitter {
    std::int32_t priority;
    std::uint64_t bytes;
    bool let_in = false;  // has one
    std::condition_variable changed{};
  };
  /// Somebody in `drain`.
  struct DrainCall {
    std::uint64_t epoch;
    std::size_t left;
  };

  [[nodiscard]] bool has_place(std::int32_t priority, std::uint64_t bytes) const;

  Queue queue_;
  std::size_t most_completed_;
  const CompletionQueue* completions_;
  std::vector<Submitter*> submitters_;  // in the order in which they came
  std::size_t outstanding_ = 0;         // images without a result
  std::uint64_t epoch_ = 0;             // drains so far
  std::vector<DrainCall*> drains_;
  std::condition_variable drained_;
};

}  // namespace navit_edge
