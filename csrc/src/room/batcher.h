// Which of the waiting images share the next pack.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "navit_edge/plan.h"
#include "room/clock.h"
#include "room/pace.h"
#include "room/queue.h"

namespace navit_edge {

/// A pack of submitted images.
struct Batch {
  std::vector<Waiting*> images;  // [N], in the order in which they lie in the pack
  PackPlan plan;                 // its indices are 0 to N - 1
};

/// One for a session. `share_us` and `alone_us` may be called from any thread, the others by one at a time. Allocates
/// nothing once its buffers have grown.
class Batcher {
 public:
  /// Borrows `limits`.
  explicit Batcher(const PlanLimits& limits);

  /// Predicted time of an image's share in a full pack of images like it.
  [[nodiscard]] double share_us(std::int32_t tokens) const;
  /// Predicted time of a pack of one image.
  [[nodiscard]] double alone_us(std::int32_t tokens) const;

  /// Takes the images of the next pack out of `queue`, which is not empty: the most urgent one, and of those behind it
  /// what makes the pack cheapest by image without making one late that can be on time. `pace`: of the slot; `start`:
  /// when the device is predicted to be free for it.
  void take(Queue& queue, Clock::time_point start, const Pace& pace, Batch& batch);

  /// Whether the waiting images fill a pack.
  [[nodiscard]] bool full(const Queue& queue) const;

  /// When the next pack must start for those of its images to be on time that can be; max() where none has a deadline.
  [[nodiscard]] Clock::time_point leaves_by(const Queue& queue, Clock::time_point now, const Pace& pace);

 private:
  struct Candidate {
    Waiting* image;
    std::int32_t tokens;
    std::int32_t rank;  // by urgency
  };
  /// A pack as it would be.
  struct Draft {
    std::vector<std::int32_t> picked;  // of window_
    std::size_t best = 0;              // as many of `picked` are the best pack
    double waste = 0;                  // its time over the shares of its images
    double time_us = 0;
    Clock::time_point due;  // the earliest deadline that it keeps
  };

  void look_at(const Queue& queue);
  [[nodiscard]] double pack_us(const PackShape& shape) const;
  void draft(Clock::time_point start, const Pace& pace, Draft& out) const;

  const PlanLimits* limits_;
  std::int32_t most_tokens_;  // where a pack is full
  std::int32_t most_images_;
  mutable std::vector<std::atomic<double>> shares_us_;  // [tokens]; 0: not asked for yet
  std::vector<Candidate> window_;
  Draft by_urgency_;
  Draft by_length_;
};

}  // namespace navit_edge
