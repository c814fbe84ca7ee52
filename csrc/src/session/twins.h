// Submitted images of the same content: one is computed, the others wait for its result.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "cache/result_cache.h"
#include "session/metrics_observer.h"
#include "session/queue.h"

namespace navit_edge {

/// Stands between `submit` and the queue. Of images of one key only the most urgent is in the queue, or in a pack; the
/// others wait behind it, keep their places, and take its turn if it is taken back. Images without a key go straight
/// into the queue. With the session's mutex held.
class Twins {
 public:
  /// Borrows `queue`.
  explicit Twins(Queue& queue) : queue_(&queue) {}

  /// Takes an image that has a place. True if it waits for the result of another. If memory runs out it throws, and
  /// nothing has changed.
  bool join(PendingImage& image);
  /// The result of an image is there, or its error: those that wait for it, a list over `twin` in the order in which
  /// they came, with the same result. Their places are free then.
  PendingImage* leave(PendingImage& image, MetricsObserver& observer) noexcept;
  /// The result of an image is there, but is not for those that wait for it: they go on without it.
  void part(PendingImage& image) noexcept;
  /// An image that waits, in the queue or behind another, is taken out and gives its place back; null if there is none
  /// of this id.
  PendingImage* take_back(std::uint64_t id) noexcept;

 private:
  struct Flight {
    PendingImage* leader;  // in the queue or a pack; the others follow over `twin`
    PendingImage* last;
  };
  using Followers = std::unordered_map<std::uint64_t, PendingImage*>;

  static void unlink(Flight& flight, PendingImage& follower) noexcept;
  void replace(Flight& flight) noexcept;

  Queue* queue_;
  std::unordered_map<ResultKey, Flight, ResultKeyHash> flights_;
  Followers followers_;  // by id
};

}  // namespace navit_edge
