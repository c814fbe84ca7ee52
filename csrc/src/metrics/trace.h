// What happened when: a bounded record of a session's spans.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "navit_edge/metrics.h"

namespace navit_edge {

/// One entry of the record. A span is entered once, when it has ended, so that none is ever half kept.
struct TraceEvent {
  enum class Kind : std::int32_t {
    kQueue,           // an image waited: spans_ns[0], pack
    kPack,            // spans_ns: preprocess, engine, unpack
    kPackFailed,      // the same as far as it came
    kWaiting,         // gauge: images waiting
    kInFlight,        // gauge: packs in flight
    kCancelled,       // an image
    kRecalled,        // an image
    kRunsAgain,       // an image, by a cascade
    kDropped,         // an image; its tag
    kFailed,          // an image; code
    kDeadlineMissed,  // an image; by spans_ns[0]
    kBroken,          // the session
  };

  Kind kind = Kind::kQueue;
  std::int32_t slot = 0;
  std::int64_t at_ns = 0;  // since the trace began; the start of a span
  std::int64_t spans_ns[3] = {};
  std::uint64_t id = 0;       // of an image, or its tag; a gauge's value
  std::uint64_t pack = 0;     // its number; 0: none
  std::int32_t images = 0;    // of a pack
  std::int32_t tokens = 0;    // of an image; of a pack those used
  std::int32_t capacity = 0;  // T of a pack
  ErrorCode code = ErrorCode::kOk;
};
static_assert(sizeof(TraceEvent) <= 80);  // metrics.h tells how much memory a trace takes

/// What was recorded from start to stop.
struct TraceRecord {
  std::vector<TraceEvent> events;  // in the order in which they were entered
  std::uint64_t lost = 0;          // older ones that these replaced
  std::chrono::system_clock::time_point began;
  std::int64_t length_ns = 0;
};

/// A ring of the last events. Any thread may call anything. Off, `on()` is all that is paid.
class TraceBuffer {
 public:
  [[nodiscard]] bool on() const noexcept { return on_.load(std::memory_order_relaxed); }

  /// Throws InvalidInput if a trace is being recorded already, and for a size of 0.
  void start(const TraceOptions& options);
  /// Throws InvalidInput if none is being recorded.
  TraceRecord stop();

  /// Enters `event`, whose first span starts at `at`. What began before the trace did is cut at its beginning.
  void push(TraceEvent event, Clock::time_point at) noexcept;
  /// Enters what `read` gives now: within the lock, so that the last entry is the last value.
  template <class Read>
  void push_gauge(TraceEvent::Kind kind, const Read& read) noexcept {
    const std::lock_guard lock(mutex_);
    if (on()) enter_gauge(kind, read());
  }

 private:
  void enter(const TraceEvent& event) noexcept;
  void enter_gauge(TraceEvent::Kind kind, std::int64_t value) noexcept;

  std::atomic<bool> on_{false};
  std::mutex mutex_;
  std::vector<TraceEvent> ring_;  // guarded, as all below; its capacity is taken in start
  std::uint64_t entered_ = 0;
  std::size_t most_ = 0;
  Clock::time_point began_;
  std::chrono::system_clock::time_point began_wall_;
};

}  // namespace navit_edge
