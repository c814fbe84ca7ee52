// What a session has done so far, in numbers: counters, gauges and histograms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "navit_edge/cxx20.h"
#include "navit_edge/error.h"
#include "navit_edge/histogram.h"   // IWYU pragma: export
#include "navit_edge/prometheus.h"  // IWYU pragma: export

namespace navit_edge {

inline constexpr std::size_t kErrorCodes = 6;  // values of ErrorCode

/// What one device of a session has done.
struct DeviceMetrics {
  std::string name;    // as it was asked for, "gpu:1"; of the one that nobody named its kind: "cpu"
  std::string device;  // what it is, in words
  std::string lost;    // why it takes no more packs; empty: it takes them
  std::int64_t slots = 0;
  std::int64_t in_flight = 0;      // packs
  std::uint64_t packs = 0;         // completed
  std::uint64_t packs_failed = 0;  // those that were run again on another device among them
  std::uint64_t images = 0;        // of completed packs
  std::uint64_t tokens = 0;        // used, of completed packs
  double busy_s = 0;               // with packs in flight, of completed ones
};

/// Of results that a session remembers; all 0 if it remembers none (docs/cache.md).
struct CacheMetrics {
  std::uint64_t hits = 0;       // images whose result was there
  std::uint64_t misses = 0;     // images that had to be computed
  std::uint64_t coalesced = 0;  // images that waited for the result of another of the same content
  std::uint64_t evictions = 0;  // results that gave way
  std::int64_t entries = 0;     // results, now
  std::int64_t bytes = 0;       // that they take, now
  std::int64_t most_bytes = 0;  // that they may take
};

/// Bytes of the process that a session is in (docs/memory.md).
struct MemoryMetrics {
  std::int64_t resident_bytes = 0;  // now, of the whole process; 0: the system does not say
  std::int64_t opened_bytes = 0;    // the same when the engines were open
  std::int64_t most_bytes = 0;      // SessionOptions::max_memory_bytes; 0: no limit
};

/// A snapshot. Each number was exact when it was read, and the numbers of an idle session agree: submitted is
/// completed + failed + cancelled. While packs run, two numbers may be some images apart. Counters and
/// histograms count from the session's opening and never go down.
struct Metrics {
  double uptime_s = 0;

  // Images. Each submitted one ends in exactly one of the three ways below.
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed[kErrorCodes] = {};  // [ErrorCode]; a failed pack counts for each of its images
  std::uint64_t cancelled = 0;             // by the caller, or by closing the session
  /// By a stream's drop policy: the image, which then also counts as cancelled if it had been submitted, or its
  /// result, if nobody had fetched it.
  std::uint64_t dropped = 0;
  std::uint64_t scaled_down = 0;  // completed with fewer tokens than the bundle's sizing rule gives: budget or policy
  // Of first passes of cascades: results that stood, those that stood for want of time, images that ran again.
  std::uint64_t cascade_accepted = 0;
  std::uint64_t cascade_kept = 0;
  std::uint64_t cascade_again = 0;
  std::uint64_t deadlines_met = 0;     // completed in time, of those that had a deadline
  std::uint64_t deadlines_missed = 0;  // completed, but late
  std::uint64_t targets_met = 0;       // completed within the target of their latency policy
  std::uint64_t targets_missed = 0;    // completed, but later (Reason::missed_by_us)
  std::uint64_t callback_errors = 0;   // exceptions that callbacks of submit let out

  // Packs.
  std::uint64_t packs = 0;  // completed
  std::uint64_t packs_failed = 0;
  std::uint64_t tokens_used = 0;     // of completed packs, prefix tokens included
  std::uint64_t tokens_padding = 0;  // of completed packs: computed, and no image's

  // Now.
  std::int64_t waiting = 0;    // images submitted and in no pack yet
  std::int64_t in_flight = 0;  // packs from the start of preprocessing to the results
  std::int64_t slots = 0;      // packs that may be in flight at once
  bool broken = false;         // takes no more images (Session::broken)

  std::vector<DeviceMetrics> devices;  // at least one
  CacheMetrics cache;
  MemoryMetrics memory;

  // Times in seconds.
  // Of an image: from submission to the start of its pack; of one that runs again once more, from its first result.
  Histogram queue{Buckets::seconds()};
  Histogram latency{Buckets::seconds()};  // of a completed image: from submission to its result
  Histogram preprocess{Buckets::seconds()};
  Histogram engine{Buckets::seconds()};
  Histogram unpack{Buckets::seconds()};
  Histogram pack{Buckets::seconds()};     // the three together
  Histogram slack{Buckets::seconds()};    // what was left of a deadline that was met
  Histogram overrun{Buckets::seconds()};  // by how much one was missed

  Histogram fill{Buckets::ratio()};           // of a completed pack: used tokens / T
  Histogram pack_images{Buckets::images()};   // of a completed pack
  Histogram image_tokens{Buckets::tokens()};  // of each pass

  /// Of all codes.
  [[nodiscard]] std::uint64_t failures() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t count : failed) all += count;
    return all;
  }
};

/// What Session::start_trace records.
struct TraceOptions {
  /// The last so many events are kept, 80 bytes each, allocated when the trace starts. An image takes two, a pack four.
  std::size_t max_events = 131072;
};

}  // namespace navit_edge
