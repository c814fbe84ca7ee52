// Submitted images that wait for a pack.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "cache/result_key.h"
#include "navit_edge/image.h"
#include "navit_edge/submit.h"
#include "session/places.h"
#include "session/promise.h"

namespace navit_edge {

/// One submitted image, from `submit` until its callback has been called.
struct PendingImage {
  std::uint64_t id = 0;
  std::int32_t priority = 0;
  Clock::time_point deadline;  // max(): none
  Promise promise;             // of a latency target
  Clock::time_point due;       // `wanted`, until it cannot be kept; then a later time, see Batcher::take
  bool stepped_back = false;   // `due` is that later time, though perhaps the same: deadlines may be no time ahead
  Clock::time_point submitted;
  Clock::time_point waits_since;  // the same; of a second pass the end of the first
  bool read_again = false;        // its pixels may be needed for a second pass
  std::uint64_t epoch = 0;        // drains before it
  std::uint64_t bytes = 0;        // of its pixels, as its place counts them
  double share_us = 0;            // of a pack of images like it: what it adds to the work that waits
  std::int32_t failed_on = -1;    // a device, by its index: it is run again, by another
  OwnedImage image;
  Result result;
  Done done;
  std::optional<ResultKey> key;  // what its result is remembered by; none: by nothing
  std::string note;              // the same of Content::note
  PendingImage* twin = nullptr;  // the next that waits for the same result (Twins)

  PendingImage* before = nullptr;  // in the order of arrival
  PendingImage* behind = nullptr;  // the same; also the next of a list of finished or spare ones

  /// By its deadline and its latency target, the earlier one.
  [[nodiscard]] Clock::time_point wanted() const noexcept { return std::min(deadline, promise.due(submitted)); }
  /// Its first pass has ended: it is to be pushed again.
  void begin_second_pass(double share) noexcept {
    due = wanted();
    waits_since = Clock::now();
    read_again = false;
    share_us = share;
    failed_on = -1;
  }
  /// Lets go of all that it was given.
  void clear() noexcept {
    image = {};
    result = {};
    done = nullptr;
    key = std::nullopt;
    note.clear();
  }
};

/// Who leaves first: the higher priority, then who is due earlier, then the earlier submission.
struct Urgency {
  bool operator()(const PendingImage* a, const PendingImage* b) const noexcept {
    if (a->priority != b->priority) return a->priority > b->priority;
    if (a->due != b->due) return a->due < b->due;
    return a->id < b->id;
  }
};

/// Not thread-safe. Allocates only while more images are about than ever before: what is taken out is used again.
class Queue {
 public:
  using Order = std::set<PendingImage*, Urgency>;

  /// Limits of images and bytes, as Places has them.
  explicit Queue(std::uint64_t most_images = UINT64_MAX / 4, std::uint64_t most_bytes = 0)
      : places_(most_images, most_bytes) {}

  /// An empty one, to be filled in and pushed; the caller's until then. Lives as long as the queue.
  PendingImage& blank();
  /// Takes one back that is neither waiting nor needed any more. Its image, result and callback must be gone.
  void recycle(PendingImage& image) noexcept;

  /// Its place has been taken: `places().enter`. If memory runs out it throws, and nothing has changed.
  void push(PendingImage& image);
  /// Gives its place back.
  void remove(PendingImage& image) noexcept;
  /// The same, but it keeps its place. One image can then be pushed without an allocation.
  void set_aside(PendingImage& image) noexcept;
  /// Lets a waiting image step back to the place of one that is due at `due`. Once for each image.
  void put_back(PendingImage& image, Clock::time_point due) noexcept;
  [[nodiscard]] PendingImage* find(std::uint64_t id) const;

  [[nodiscard]] Places& places() noexcept { return places_; }
  [[nodiscard]] const Places& places() const noexcept { return places_; }
  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }
  [[nodiscard]] bool empty() const noexcept { return order_.empty(); }
  [[nodiscard]] const Order& order() const noexcept { return order_; }     // the most urgent first
  [[nodiscard]] PendingImage* oldest() const noexcept { return oldest_; }  // null if there is none
  [[nodiscard]] double work_us() const noexcept { return order_.empty() ? 0.0 : work_us_; }

 private:
  using Ids = std::unordered_map<std::uint64_t, PendingImage*>;

  Places places_;
  std::deque<PendingImage> all_;
  PendingImage* spare_ = nullptr;
  Order order_;
  Ids ids_;
  std::vector<Order::node_type> order_nodes_;  // of those that left
  std::vector<Ids::node_type> id_nodes_;
  PendingImage* oldest_ = nullptr;
  PendingImage* newest_ = nullptr;
  double work_us_ = 0;
};

}  // namespace navit_edge
