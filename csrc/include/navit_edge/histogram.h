// Distributions in fixed buckets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "navit_edge/cxx20.h"

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
  [[nodiscard]] double mean() const noexcept;  // NaN if nothing was observed
  /// The value below which the share `q` (0 to 1) of all values lies: the bucket that holds the value of rank q * count
  /// is found, and within it the values are taken to lie evenly (as in Prometheus's histogram_quantile), between the
  /// smallest and the largest value seen. So it is off by less than the width of one bucket: 1/8 of the value for
  /// exponential buckets. NaN if nothing was observed. Throws InvalidInput for another q.
  [[nodiscard]] double quantile(double q) const;

  const Buckets* buckets;             // static, or the caller keeps it alive
  std::vector<std::uint64_t> counts;  // [buckets->size() + 1]
  double sum = 0;
  double min = 0;  // 0 if nothing was observed
  double max = 0;
};

}  // namespace navit_edge
