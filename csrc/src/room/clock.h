// Time as the engine room measures it.
#pragma once

#include <chrono>

namespace navit_edge {

using Clock = std::chrono::steady_clock;

inline double microseconds(Clock::duration span) { return std::chrono::duration<double, std::micro>(span).count(); }
inline double microseconds_since(Clock::time_point start) { return microseconds(Clock::now() - start); }

/// `us` after `start`; the end of time where that is further off.
inline Clock::time_point after(Clock::time_point start, double us) {
  constexpr double kMostUs = 1e15;  // three decades
  if (!(us < kMostUs)) return Clock::time_point::max();
  return start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::micro>(us));
}

}  // namespace navit_edge
