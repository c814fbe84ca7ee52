// What a session has done so far, in numbers: counters, gauges and histograms, and their Prometheus text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/export.h"

namespace navit_edge {

/// Where the buckets of a histogram lie: fixed, so that histograms of any two sessions can be added.
/// Bucket i holds the values in (bound(i - 1), bound(i)], the first also everything below; bucket size() everything
/// above the last bound. Immutable; read from any thread.
class NAVIT_EDGE_API Buckets {
 public:
  /// Each octave from `first` on in eight equal steps, so that a bucket is at most 1/8 as wide as the values it holds.
  /// Whole numbers up to 16 * first have a bucket each. `scale` divides: `first` 1, `scale` 1e6 begin at 1e-6.
  static Buckets exponential(double first, int octaves, double scale = 1);
  /// `count` equal steps up to `last`.
  static Buckets linear(double last, int count);

  static const Buckets& seconds();  // 1 us to 134 s
  static const Buckets& ratio();    // 0 to 1, steps of 0.05
  static const Buckets& images();   // 1 to 4096
  static const Buckets& tokens();   // 1 to 65536

  [[nodiscard]] std::size_t size() const noexcept { return bounds_.size(); }
  [[nodiscard]] double bound(std::size_t i) const noexcept { return bounds_[i]; }
  /// Every `coarse()`th bound, from the first on, is exported to Prometheus: the octaves.
  [[nodiscard]] std::size_t coarse() const noexcept { return coarse_; }
  /// The bucket of `value`, at most size(). NaN counts as 0.
  [[nodiscard]] std::size_t index(double value) const noexcept;

 private:
  Buckets() = default;

  std::vector<double> bounds_;  // ascending
  std::size_t coarse_ = 1;
  double per_first_ = 1;  // value * per_first_: 1 at the first bound
  bool exponential_ = false;
};

/// The distribution of one quantity. A plain value; not for use from several threads at once.
struct NAVIT_EDGE_API Histogram {
  explicit Histogram(const Buckets& where) : buckets(&where), counts(where.size() + 1) {}

  void observe(double value);
  [[nodiscard]] std::uint64_t count() const noexcept;
  [[nodiscard]] double mean() const noexcept;  // NaN where nothing was observed
  /// The value below which the share `q` (0 to 1) of all values lies: the bucket that holds the value of rank q * count
  /// is found, and within it the values are taken to lie evenly (as in Prometheus's histogram_quantile), between the
  /// smallest and the largest value seen. So it is off by less than the width of one bucket: 1/8 of the value for
  /// exponential buckets. NaN where nothing was observed. Throws InvalidInput for another q.
  [[nodiscard]] double quantile(double q) const;

  const Buckets* buckets;             // static, or the caller keeps it alive
  std::vector<std::uint64_t> counts;  // [buckets->size() + 1]
  double sum = 0;
  double min = 0;  // 0 where nothing was observed
  double max = 0;
};

inline constexpr std::size_t kErrorCodes = 6;  // values of ErrorCode

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
  /// By a stream's drop policy: the image, which then also counts as cancelled where it had been submitted, or its
  /// result, where nobody had fetched it.
  std::uint64_t dropped = 0;
  std::uint64_t scaled_down = 0;    // completed with fewer tokens than the bundle's sizing rule gives: budget or policy
  std::uint64_t deadlines_met = 0;  // completed in time, of those that had a deadline
  std::uint64_t deadlines_missed = 0;  // completed, but late
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

  // Times in seconds.
  Histogram queue{Buckets::seconds()};    // of an image: from submission to the start of its pack
  Histogram latency{Buckets::seconds()};  // of a completed image: from submission to its result
  Histogram preprocess{Buckets::seconds()};
  Histogram engine{Buckets::seconds()};
  Histogram unpack{Buckets::seconds()};
  Histogram pack{Buckets::seconds()};     // the three together
  Histogram slack{Buckets::seconds()};    // what was left of a deadline that was met
  Histogram overrun{Buckets::seconds()};  // by how much one was missed

  Histogram fill{Buckets::ratio()};          // of a completed pack: used tokens / T
  Histogram pack_images{Buckets::images()};  // of a completed pack
  Histogram image_tokens{Buckets::tokens()};

  /// Of all codes.
  [[nodiscard]] std::uint64_t failures() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t count : failed) all += count;
    return all;
  }
};

/// "invalid_input", "over_budget", "bundle", "backend", "cancelled"; "ok" for kOk.
NAVIT_EDGE_API const char* label_of(ErrorCode code) noexcept;

using Labels = std::vector<std::pair<std::string, std::string>>;

/// One session's numbers and what tells it from others: {{"bundle", "navit"}, {"engine", "openvino-cpu-bf16"}}.
struct LabelledMetrics {
  const Metrics* metrics;
  Labels labels;
};

/// Prometheus text exposition format 0.0.4, all names beginning with navit_edge_ (docs/metrics.md lists them). Several
/// sessions share one HELP and TYPE of each name, as the format demands. Label values may hold anything; throws
/// InvalidInput for a label name that the format does not allow, one given twice, and two sessions with equal labels.
NAVIT_EDGE_API std::string to_prometheus(std::span<const LabelledMetrics> sessions);
NAVIT_EDGE_API std::string to_prometheus(const Metrics& metrics, const Labels& labels);

/// What Session::start_trace records.
struct TraceOptions {
  /// The last so many events are kept, 80 bytes each, allocated when the trace starts. An image takes two, a pack four.
  std::size_t max_events = 131072;
};

}  // namespace navit_edge
