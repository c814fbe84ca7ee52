// One call of `submit`, until its image waits.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "navit_edge/submit.h"
#include "session/context.h"
#include "session/queue.h"
#include "session/scheduler.h"
#include "session/session_memory.h"

namespace navit_edge {

/// What is known of an image that has to be decoded first.
void fill_undecoded(PendingImage& pending, std::uint64_t id, const SubmitOptions& options, const Policy& policy,
                    std::uint64_t bytes, Clock::time_point now);

/// Borrows what it is made of. `size` without the session's mutex, the rest with it.
class SubmitCall {
 public:
  /// `submitted`: when, of an image that had to be decoded first; none: now.
  SubmitCall(std::uint64_t number, const SubmitOptions& options, SessionMemory* memory,
             std::optional<Clock::time_point> submitted = std::nullopt)
      : id(number), options_(&options), memory_(memory), submitted_(submitted.value_or(ready_)) {}

  /// Checks the image and gives it its grid, or its error; says by what its result is remembered, if there is a memory.
  void size(const SessionContext& context, const ImageView& image, const Policy& policy, const Load& load,
            const Scheduler& scheduler);
  /// Whether its result is there: looks, until it has been found.
  bool recall();
  /// Whether it has to wait for its result: it has neither that nor an error.
  [[nodiscard]] bool waits() const noexcept { return !known_ && result_.error == nullptr; }
  /// What the user has waited by now.
  [[nodiscard]] double spent_us() const noexcept { return options_->spent_us + microseconds(ready_ - submitted_); }
  /// Hands everything over. If memory runs out it throws, and `pending` has the image.
  void fill(PendingImage& pending, OwnedImage& image, Done& done);
  /// In the metrics: `follows` the image of another call, or is computed.
  void count(bool follows) noexcept;

  const std::uint64_t id;
  std::uint64_t bytes = 0;  // of its pixels, as its place counts them

 private:
  const SubmitOptions* options_;
  SessionMemory* memory_;  // null: nothing is remembered
  Clock::time_point ready_ = Clock::now();
  Clock::time_point submitted_;
  Result result_;
  Promise promise_;
  double share_us_ = 0;
  std::optional<ResultKey> key_;
  bool known_ = false;
};

}  // namespace navit_edge
