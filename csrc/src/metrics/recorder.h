// Counts what a session does. Called from its hot paths.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "metrics/trace.h"
#include "navit_edge/error.h"
#include "navit_edge/metrics.h"
#include "navit_edge/reason.h"

namespace navit_edge {

/// A Histogram that any thread may add to.
class AtomicHistogram {
 public:
  void observe(const Buckets& buckets, double value) noexcept;
  /// Adds what was observed to `all`, which has the same buckets.
  void add_to(Histogram& all) const;

 private:
  static constexpr std::size_t kMostBuckets = 218;  // of Buckets::seconds(), which has the most

  std::array<std::atomic<std::uint64_t>, kMostBuckets> counts_{};
  std::atomic<double> sum_{0};
  std::atomic<double> min_{std::numeric_limits<double>::infinity()};
  std::atomic<double> max_{-std::numeric_limits<double>::infinity()};
};

/// One pack, as far as it came; the stages follow each other without a gap.
struct PackRecord {
  std::uint64_t number = 0;  // of pack_begun
  int slot = 0;
  std::int32_t images = 0;
  std::int32_t tokens = 0;    // used
  std::int32_t capacity = 0;  // T
  Clock::time_point start;    // of preprocessing
  Clock::time_point written;  // preprocessing done
  Clock::time_point ran;      // the engine done
  Clock::time_point done;     // unpacked
};

/// Every function may be called from any thread at any time, and none of `submitted` to `broke` allocates, waits or
/// throws while no trace is recorded; with one they share a lock that is held for some tens of nanoseconds.
///
/// An image goes through `submitted`, then either `started` and one of `completed` and `failed`, or `recalled`, or one
/// of `failed` and `cancelled` with `waited`; between, `started` and `runs_again` for each pass but the last. A pack
/// goes through `pack_begun`, then one of `pack_done` and `pack_failed`.
class Recorder {
 public:
  void submitted(std::uint64_t count = 1) noexcept;
  /// The image joins the pack of that number, which has begun.
  void started(std::uint64_t id, Clock::time_point submitted, Clock::time_point start, std::int32_t tokens,
               std::uint64_t pack) noexcept;
  /// `deadline`: max() if there is none.
  void completed(std::uint64_t id, Clock::time_point submitted, Clock::time_point now, Clock::time_point deadline,
                 bool scaled_down) noexcept;
  /// Whether a completed image kept its latency target.
  void target(bool met) noexcept;
  /// `waited`: it never joined a pack; with kCancelled it counts as cancelled.
  void failed(std::uint64_t id, ErrorCode code, Clock::time_point submitted, Clock::time_point now,
              bool waited) noexcept;
  /// It never joined a pack, since its result was there, or was computed for another.
  void recalled(std::uint64_t id, Clock::time_point submitted, Clock::time_point now, Clock::time_point deadline,
                bool scaled_down) noexcept;
  /// It has joined a pack, and waits again: for the second pass of a cascade.
  void runs_again(std::uint64_t id, Clock::time_point now) noexcept;
  /// Of a completed image: how its cascade ended.
  void cascaded(CascadeStep step) noexcept;
  void cancelled(std::uint64_t id, Clock::time_point submitted, Clock::time_point now) noexcept;
  /// A stream left an image out, whose tag this is. If the image had come here, its own end is told apart from this.
  void dropped(std::uint64_t tag) noexcept;

  /// `images` leave the queue for a pack. Its number, from 1 on.
  std::uint64_t pack_begun(std::size_t images) noexcept;
  /// Its images wait again.
  void pack_undone(std::size_t images) noexcept;
  void pack_done(const PackRecord& pack) noexcept;
  /// Stages that it did not reach end where they begin.
  void pack_failed(const PackRecord& pack, ErrorCode code) noexcept;

  void broke() noexcept;

  /// All but `slots`, `devices` and `callback_errors`.
  [[nodiscard]] Metrics metrics() const;
  /// Throw InvalidInput if the trace is on already, or is not.
  void start_trace(const TraceOptions& options) { trace_.start(options); }
  /// Chrome Trace Event JSON.
  std::string stop_trace(const Labels& labels, int slots);

 private:
  using Counter = std::atomic<std::uint64_t>;

  /// What one thread in kShards writes, so that threads seldom share a cache line. What a histogram counts anyway has
  /// no counter of its own.
  struct alignas(64) Shard {
    Counter submitted{0}, joined{0}, recalled{0};  // joined: a pack, failed ones included
    Counter cancelled{0}, dropped{0}, scaled_down{0}, targets_met{0}, targets_missed{0};
    Counter accepted{0}, kept{0}, again{0};               // by cascades
    Counter failed[kErrorCodes] = {}, failed_waiting{0};  // the latter: before a pack
    Counter packs_failed{0}, tokens_used{0}, tokens_padding{0};
    AtomicHistogram queue, latency, preprocess, engine, unpack, pack, slack, overrun, fill, pack_images, image_tokens;
  };
  static constexpr std::size_t kShards = 4;

  Shard& shard() noexcept;
  [[nodiscard]] std::int64_t waiting() const noexcept;
  void trace_waiting() noexcept;
  void trace_in_flight() noexcept;
  void left_queue(TraceEvent::Kind kind, std::uint64_t id, ErrorCode code, Clock::time_point submitted,
                  Clock::time_point now) noexcept;
  void trace_pack(TraceEvent::Kind kind, const PackRecord& pack, ErrorCode code) noexcept;

  Clock::time_point opened_ = Clock::now();
  std::unique_ptr<Shard[]> shards_ = std::make_unique<Shard[]>(kShards);
  std::atomic<std::uint64_t> pack_numbers_{0};
  std::atomic<std::int64_t> in_flight_{0};
  std::atomic<bool> broken_{false};
  TraceBuffer trace_;
};

}  // namespace navit_edge
