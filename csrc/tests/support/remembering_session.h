// What the tests of remembered results share: a session with a cache, an engine that fails or waits, images that wait.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "navit_edge/session.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

namespace navit_edge {

inline SessionOptions remembering(int threads = 1, std::uint64_t bytes = 1 << 20) {
  SessionOptions session_options = options(threads);
  session_options.cache_bytes = bytes;
  return session_options;
}

/// Results of images submitted while the engine was held, by tag.
struct Waiting {
  void submit(Session& session, const Picture& picture, std::uint64_t tag, std::int32_t priority = 0) {
    SubmitOptions submit_options;
    submit_options.tag = tag;
    submit_options.priority = priority;
    ids.push_back(session.submit(borrowed(picture), submit_options, collector.done()));
  }
  std::map<std::uint64_t, Result> results(Session& session) {
    release_stalls();
    session.drain();
    std::map<std::uint64_t, Result> all;
    for (Result& result : collector.take()) {
      order.push_back(result.tag);
      all[result.tag] = std::move(result);
    }
    return all;
  }
  std::vector<std::uint64_t> ids;
  std::vector<std::uint64_t> order;
  Collector collector;
};

/// Every image that was submitted has ended.
inline bool balanced(const Metrics& metrics) {
  return metrics.submitted == metrics.completed + metrics.failures() + metrics.cancelled && metrics.waiting == 0;
}

}  // namespace navit_edge
