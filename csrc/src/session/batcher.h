// Which of the waiting images share the next pack.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "navit_edge/plan.h"
#include "plan/assign_budget.h"
#include "plan/predictor.h"
#include "session/queue.h"

namespace navit_edge {

/// A pack of submitted images.
struct Batch {
  std::vector<PendingImage*> images;  // [N], in the order in which they lie in the pack
  PackPlan plan;                      // its indices are 0 to N - 1
};

/// Which of those that wait are looked at. If they are none, nothing is picked.
struct Whom {
  /// Submitted before that: they go before the most urgent ones, in the order in which they came.
  Clock::time_point elders = Clock::time_point::min();
  std::int32_t not_failed_on = -1;  // a device; -1: any
  double behind_us = 0;             // behind so much work of the most urgent ones
};

/// One for a session. `share_us` and `alone_us` may be called from any thread, the others by one at a time. Allocates
/// nothing once its buffers have grown.
class Batcher {
 public:
  /// Borrows `limits`.
  explicit Batcher(const PlanLimits& limits);

  /// The cost model's time of an image's share in a full pack of images like it.
  [[nodiscard]] double share_us(std::int32_t tokens) const;
  /// The cost model's time of a pack of one image.
  [[nodiscard]] double alone_us(std::int32_t tokens) const;
  /// What such a pack is promised to take.
  [[nodiscard]] double promised_alone_us(std::int32_t tokens, const Predictor& predictor) const;

  /// Picks the images of the next pack out of `queue`, which is not empty: the most urgent one, and as many of those
  /// behind it as leave most images on time, in the pack and behind it, and then make the pack cheapest by image. An
  /// image that cannot even alone steps back, so that it makes no other late, until several times as much time has
  /// passed; then it goes before all. `predictor`: of the slot that is free at `start`.
  void pick(Queue& queue, Clock::time_point start, const Predictor& predictor, Batch& batch, const Whom& whom);
  /// Takes what was picked out of the queue.
  static void take_out(Queue& queue, const Batch& batch) noexcept;
  /// Both.
  void take(Queue& queue, Clock::time_point start, const Predictor& predictor, Batch& batch,
            Clock::time_point elders = Clock::time_point::min()) {
    pick(queue, start, predictor, batch, {elders});
    take_out(queue, batch);
  }

  /// Whether the waiting images fill a pack.
  [[nodiscard]] bool full(const Queue& queue) const;

  /// When the next pack must start for those of its images to be on time that can be; max() if none has a deadline.
  [[nodiscard]] Clock::time_point leaves_by(const Queue& queue, Clock::time_point now, const Predictor& predictor);

 private:
  struct Candidate {
    PendingImage* image;
    std::int32_t tokens;
  };
  /// A pack as it would be after each image that is put into it.
  struct Draft {
    struct Step {
      double time_us;  // promised: Predictor::safe
      double waste;    // the cost model's time over the shares of its images
    };
    std::vector<std::int32_t> picked;  // of window_
    std::vector<Step> steps;           // [picked]
  };
  /// Whether deadlines wait that can be kept, or ones that were missed.
  enum class Stake { kNone, kDeadlines, kBehind };
  /// The first `count` images of a draft.
  struct Cut {
    std::size_t count = 0;
    int on_time = 0;
    double waste = 0;
  };

  [[nodiscard]] bool late(const PendingImage& image, Clock::time_point start, const Predictor& predictor) const;
  void let_late_ones_step_back(Queue& queue, Clock::time_point start, const Predictor& predictor) const;
  void look_at(const Queue& queue, const Whom& whom);
  [[nodiscard]] double pack_us(const PackShape& shape) const;
  [[nodiscard]] BudgetTime pack_on(const PackShape& shape, const Predictor& predictor) const;
  void draft(std::span<const std::int32_t> order, const Predictor& predictor, Draft& out) const;
  [[nodiscard]] int on_time(const Draft& draft, std::size_t count, Clock::time_point start, const Predictor& predictor);
  [[nodiscard]] Cut best_cut_of(const Draft& draft, Stake stake, Clock::time_point start, const Predictor& predictor);

  const PlanLimits* limits_;
  std::int32_t most_tokens_;  // from which on a pack is full
  std::int32_t most_images_;
  mutable std::vector<std::atomic<double>> shares_us_;  // [tokens]; 0: not asked for yet
  std::vector<Candidate> window_;                       // the most urgent first
  std::vector<std::int32_t> order_;                     // of window_
  std::vector<bool> left_;                              // [window_] not in the pack that is looked at
  Draft by_urgency_;
  Draft by_length_;
};

}  // namespace navit_edge
