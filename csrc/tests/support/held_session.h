// What the tests of submitted images share: a bundle whose engine can be held, and results collected by callback.
#pragma once

#include <cstddef>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "navit_edge/session.h"
#include "support/check.h"
#include "support/session_fixture.h"

namespace navit_edge {

/// A bundle whose first pack stays in the engine until `release_stalls`, so that what is submitted meanwhile waits.
struct Held : TestBundle {
  explicit Held(int images_of_a_pack = 6) {
    json["engines"][0]["options"] = {{"stall_on_run", "0"}};
    json["engines"][0]["budgets"][0]["images"] = images_of_a_pack;
    write();
  }
};

using FakeOptions = std::map<std::string, std::string>;

/// A bundle whose engine has options of the fake backend.
struct Faulty : TestBundle {
  explicit Faulty(const FakeOptions& engine_options, int images_of_a_pack = 6) {
    json["engines"][0]["options"] = engine_options;
    json["engines"][0]["budgets"][0]["images"] = images_of_a_pack;
    write();
  }
};

inline SessionOptions one_lane(std::size_t queue_limit = 1024) {
  SessionOptions session_options = options(1);
  session_options.queue_limit = queue_limit;
  return session_options;
}

inline OwnedImage borrowed(const Picture& picture) { return {picture.view, nullptr}; }

/// Has one pack in the engine; then returns. It stays there until `release_stalls`.
inline std::future<Result> hold(Session& session, const Picture& picture) {
  (void)take_stats();
  std::future<Result> result = session.submit(borrowed(picture)).result;
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  return result;
}

/// Collects results by callback, in the order of the calls.
class Collector {
 public:
  Done done() {
    return [this](Result&& result) {
      const std::lock_guard lock(mutex_);
      results_.push_back(std::move(result));
    };
  }
  std::vector<Result> take() {
    const std::lock_guard lock(mutex_);
    return std::move(results_);
  }
  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return results_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<Result> results_;
};

}  // namespace navit_edge
