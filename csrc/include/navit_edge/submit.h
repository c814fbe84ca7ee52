// Images given one by one: what may be asked of each, and how its result comes back (docs/runtime.md).
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <optional>

#include "navit_edge/content.h"
#include "navit_edge/policy.h"
#include "navit_edge/result.h"

namespace navit_edge {

struct SubmitOptions {
  /// From the call to the result; 0: none. Says when a pack leaves and how large it may be. It is no timeout: an image
  /// that is late runs all the same.
  double deadline_us = 0;
  /// Higher leaves first, and has places in the queue that lower ones cannot fill; then the earlier deadline, then the
  /// earlier submission.
  std::int32_t priority = 0;
  /// What the user has waited before the call, for decoding, say: a latency target counts it.
  double spent_us = 0;
  std::uint64_t tag = 0;         // handed back in Result::tag
  std::optional<Policy> policy;  // none: the session's
  /// What the image is known by, in place of its pixels, if the session remembers results.
  std::optional<Content> content = std::nullopt;
};

inline constexpr double kForEver = std::numeric_limits<double>::infinity();

/// How long a call may wait, and what it does meanwhile.
struct WaitOptions {
  double timeout_us = kForEver;  // 0 and up; 0 does not wait
  /// Called some ten times a second while it waits, in the caller's thread, outside of all locks. What it throws ends
  /// the wait, and the call throws it: so a wait can answer Ctrl-C.
  std::function<void()> look_up = nullptr;
};

/// Takes the result of one image; `Result::error` is set if it failed. Called exactly once for each image, never
/// within `submit`: from one thread of the session, one call after the other, outside of all locks. What it does delays
/// the results behind it, not the engine: it should not block. It may submit (which never waits there, the queue
/// grows), run, cancel and close; drain throws, and the future of an image behind it would be waited for forever. An
/// exception from it is swallowed and counted.
using Done = std::function<void(Result&&)>;

struct Submitted {
  std::uint64_t id = 0;        // for Session::cancel; ids count up from 1
  std::future<Result> result;  // throws the error of the image if it failed
};

}  // namespace navit_edge
