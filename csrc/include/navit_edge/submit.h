// Images given one by one: what may be asked of each, and how its result comes back (docs/runtime.md).
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <optional>

#include "navit_edge/policy.h"
#include "navit_edge/unpack.h"

namespace navit_edge {

struct SubmitOptions {
  /// From the call to the result; 0: none. Says when a pack leaves and how large it may be. It is no timeout: an image
  /// that is late runs all the same.
  double deadline_us = 0;
  std::int32_t priority = 0;     // higher leaves first; then the earlier deadline, then the earlier submission
  std::uint64_t tag = 0;         // handed back in Result::tag
  std::optional<Policy> policy;  // none: the session's
};

/// Takes the result of one image; `Result::error` is set where it failed. Called exactly once for each image, never
/// within `submit`: from one thread of the session, one call after the other, outside of all locks. What it does delays
/// the results behind it, not the engine: it should not block. It may submit (which never waits there, the queue
/// grows), run, cancel and close; drain throws. An exception from it is swallowed and counted.
using Done = std::function<void(Result&&)>;

struct Submitted {
  std::uint64_t id = 0;        // for Session::cancel; ids count up from 1
  std::future<Result> result;  // throws the error of the image where it failed
};

}  // namespace navit_edge
