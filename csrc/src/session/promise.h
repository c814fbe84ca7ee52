// What a latency target promises of an image, and whether it was kept.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "navit_edge/choice.h"
#include "navit_edge/result.h"
#include "plan/predictor.h"

namespace navit_edge {

/// Of one image; without a latency target it promises nothing.
struct Promise {
  Policy policy;
  double spent_us = 0;     // before it was given: decoding
  double expected_us = 0;  // Choice::expected_us
  double decoding_us = 0;  // after it was given, before it had its grid

  [[nodiscard]] bool made() const noexcept { return policy.kind() == Policy::Kind::kLatency; }
  /// When it is due, of an image that was given at `given`; max(): never.
  [[nodiscard]] Clock::time_point due(Clock::time_point given) const noexcept {
    return made() ? after(given, policy.target_us() - spent_us) : Clock::time_point::max();
  }
  /// Writes into `result`, which comes at `now`, by how much it was missed. True if it was not.
  bool judge(Result& result, Clock::time_point given, Clock::time_point now) const noexcept {
    const double late_us = spent_us + microseconds(now - given) - policy.target_us();
    if (!made() || late_us <= 0) return true;
    Reason& reason = result.reason;
    if (reason.policy.kind() == Policy::Kind::kNative) {  // it got all its tokens
      reason.policy = policy.without_drop();
      reason.tokens = reason.all_tokens = result.grid.tokens();
    }
    reason.missed_by_us = late_us;
    return false;
  }
};

/// Steps resolution down after misses and up after slack: what images took in all, against what was expected of them.
/// The queue, callbacks and everything else that no cost model knows is in it. Not thread-safe.
class Governor {
 public:
  /// `changes`: how often the engine was found to have another speed, so far. What was promised before that says
  /// nothing of promises that know of it.
  void follow(std::uint64_t changes, Clock::time_point now) noexcept {
    if (changes == changes_) return;
    changes_ = changes;
    since_ = now;
    whole_ = Predictor();
  }
  /// Of an image that was given at `given`.
  void observe(double expected_us, Clock::time_point given, Clock::time_point now) noexcept {
    if (given >= since_) whole_.observe(0, expected_us, microseconds(now - given));
  }

  /// Fills in what was learned. A promise leaves room once only: until some were kept or missed, in what the engine is
  /// expected to take, then in what all of it is.
  void inform(Load& load, const Predictor& engine) const noexcept {
    const bool learned = whole_.count() >= Predictor::kHandful;
    load.engine = learned ? engine.center() : engine.safe();
    if (learned) load.whole = whole_.safe();
  }

 private:
  Predictor whole_;
  std::uint64_t changes_ = 0;
  Clock::time_point since_ = Clock::time_point::min();
};

}  // namespace navit_edge
