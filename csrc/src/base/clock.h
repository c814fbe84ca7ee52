// Time as a session measures it. Every number that a double or an integer can hold has a meaning here, so that no
// loop over time can fail to end and no wait can overflow.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace navit_edge {

using Clock = std::chrono::steady_clock;
static_assert(Clock::duration::period::num == 1 && Clock::duration::period::den == 1'000'000'000);

inline double microseconds(Clock::duration span) { return std::chrono::duration<double, std::micro>(span).count(); }
inline double microseconds_since(Clock::time_point start) { return microseconds(Clock::now() - start); }

/// A time in whole nanoseconds, cut off towards zero: so a time above 0 may become 0, and who steps by it must not loop
/// on it. What is further off than three decades, infinite or no number at all counts as three decades.
inline Clock::duration span_of(double us) noexcept {
  constexpr double kMostUs = 1e15;
  if (!(us < kMostUs)) us = kMostUs;
  if (us < -kMostUs) us = -kMostUs;
  return Clock::duration(static_cast<std::int64_t>(us * 1000));
}

/// `us` after `start`. The end of time, which is what `max()` stands for, if that is three decades off or more,
/// if `us` is no number, and if `start` is the end of time.
inline Clock::time_point after(Clock::time_point start, double us) noexcept {
  constexpr Clock::time_point kNever = Clock::time_point::max();
  if (start == kNever || !(us < 1e15)) return kNever;
  std::int64_t at = 0;
  const bool beyond = __builtin_add_overflow(start.time_since_epoch().count(), span_of(us).count(), &at);
  if (beyond) return us > 0 ? kNever : Clock::time_point::min();
  return Clock::time_point(Clock::duration(at));
}

/// Waits until it is notified, or until `end`; `max()` is never. Waits an hour at most: who calls looks whether what it
/// waits for has come, and comes again. (A wait until far ahead overflows in C libraries that count by another clock.)
inline void wait_until(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, Clock::time_point end) {
  changed.wait_until(lock, std::min(end, after(Clock::now(), 3.6e9)));
}

}  // namespace navit_edge
