#include "sizing/latency.h"

#include <algorithm>

namespace navit_edge {

double expected_us(std::int64_t patches, const EngineLimits& engine, const Load& load) noexcept {
  return load.queued_us + load.prepare_us + engine.predicted_us(patches, std::max(1, load.images), load.engine);
}

double time_to_result_us(std::int64_t patches, const EngineLimits& engine, const Load& load) noexcept {
  return load.spent_us + load.whole.us(0, expected_us(patches, engine, load));
}

std::int64_t patches_in_time(double target_us, std::int64_t least, std::int64_t all, double keep,
                             const EngineLimits& engine, const Load& load) noexcept {
  const auto in_time = [&](std::int64_t patches) {
    return time_to_result_us(kept_count(patches, keep), engine, load) <= target_us;
  };
  if (all <= least || in_time(all)) return all;
  if (!in_time(least)) return least;
  std::int64_t fits = least;
  std::int64_t late = all;
  while (late - fits > 1) {
    const std::int64_t middle = fits + (late - fits) / 2;
    (in_time(middle) ? fits : late) = middle;
  }
  return fits;
}

}  // namespace navit_edge
