// Who gets a place in a full queue, whose turn it is, and waits that end: by a time, or by what the caller looks at.
#include <algorithm>
#include <atomic>
#include <future>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/stream.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// A bundle of packs of one image, whose first pack stays in the engine until `release_stalls`.
struct Held : TestBundle {
  Held() {
    json["engines"][0]["options"] = {{"stall_on_run", "0"}};
    json["engines"][0]["budgets"][0]["images"] = 1;
    write();
  }
};

const Picture& picture() {
  static const Picture one(1, 16, 16);
  return one;
}

OwnedImage borrowed() { return {picture().view, nullptr}; }

SubmitOptions with(std::int32_t priority, std::uint64_t tag = 0) {
  SubmitOptions submit;
  submit.priority = priority;
  submit.tag = tag;
  return submit;
}

SessionOptions one_lane(std::size_t queue_limit = 1024) {
  SessionOptions session_options = options(1);
  session_options.queue_limit = queue_limit;
  return session_options;
}

/// Has one pack in the engine, where it stays until `release_stalls`.
std::future<Result> hold(Session& session) {
  (void)take_stats();
  std::future<Result> result = session.submit(borrowed()).result;
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  return result;
}

/// Tags in the order of the results.
class Order {
 public:
  Done done() {
    return [this](Result&& result) {
      const std::lock_guard lock(mutex_);
      tags_.push_back(result.error == nullptr ? result.tag : kFailed);
    };
  }
  std::vector<std::uint64_t> tags() {
    const std::lock_guard lock(mutex_);
    return tags_;
  }
  static constexpr std::uint64_t kFailed = 1'000'000;

 private:
  std::mutex mutex_;
  std::vector<std::uint64_t> tags_;
};

int fill(Session& session, std::int32_t priority, Order& order, std::uint64_t tag = 0) {
  int taken = 0;
  for (OwnedImage image = borrowed(); session.try_submit(image, with(priority, tag), order.done()); image = borrowed())
    ++taken;
  return taken;
}

struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

WaitOptions interrupted_at_once() {
  WaitOptions wait;
  wait.look_up = [] { throw Interrupted("Ctrl-C"); };
  return wait;
}

}  // namespace

TEST_CASE("a queue that lower priorities have filled takes higher ones at once, and no more than twice the limit") {
  const Held bundle;
  Session session(bundle.path(), one_lane(8));
  Order order;
  std::future<Result> running = hold(session);
  CHECK(fill(session, -1, order) == 8);
  CHECK(fill(session, 0, order) == 4);
  session.submit(borrowed(), with(5), order.done());  // does not wait
  CHECK(fill(session, 5, order) == 1);
  CHECK(fill(session, 6, order) == 1);
  CHECK(fill(session, 7, order) == 1);
  CHECK(fill(session, 8, order) == 0);
  CHECK(fill(session, -1, order) == 0);
  release_stalls();
  session.drain();
  CHECK(order.tags().size() == 16);
  CHECK(fill(session, -1, order) >= 8);
  session.drain();
}

TEST_CASE("the bytes of pixels that wait are limited, and one image is let in whatever its size") {
  const Held bundle;
  SessionOptions session_options = one_lane();
  session_options.queue_bytes = 3 * 16 * 16 * 3;
  Session session(bundle.path(), session_options);
  Order order;
  std::future<Result> running = hold(session);
  const Picture large(2, 64, 64);
  OwnedImage image{large.view, nullptr};
  CHECK(session.try_submit(image, {}, order.done()).has_value());
  CHECK(fill(session, 0, order) == 0);
  release_stalls();
  session.drain();
  std::future<Result> after_it = session.submit(borrowed()).result;
  after_it.get();
  CHECK(order.tags().size() == 1);
}

TEST_CASE("who waits for a place gets it in the order of coming, and nobody who comes later takes it away") {
  const Held bundle;
  Session session(bundle.path(), one_lane(1));
  std::future<Result> running = hold(session);
  Order order;
  const std::uint64_t waiting = session.submit(borrowed(), with(0, 1), order.done());
  std::vector<std::thread> callers;
  std::atomic<int> entered{0};
  std::atomic<std::uint64_t> waits{1};  // the highest tag of those that wait
  for (std::uint64_t tag = 2; tag < 5; ++tag) {
    callers.emplace_back([&, tag] {
      WaitOptions wait;
      wait.look_up = [&waits, tag] { waits = std::max(waits.load(), tag); };
      OwnedImage image = borrowed();
      CHECK(session.try_submit(image, with(0, tag), order.done(), wait).has_value());
      ++entered;
    });
    REQUIRE(eventually([&] { return waits == tag; }));
  }
  CHECK(entered == 0);
  CHECK(session.cancel(waiting));  // makes room for one
  OwnedImage late = borrowed();
  CHECK(!session.try_submit(late, with(0, 9), order.done()).has_value());
  CHECK(eventually([&] { return entered == 1; }));
  release_stalls();
  for (std::thread& caller : callers) caller.join();
  session.drain();
  CHECK(order.tags() == std::vector<std::uint64_t>{Order::kFailed, 2, 3, 4});
}

TEST_CASE("a place is waited for as long as the call says, and the image stays the caller's") {
  const Held bundle;
  Session session(bundle.path(), one_lane(1));
  std::future<Result> running = hold(session);
  Order order;
  CHECK(fill(session, 0, order) == 1);
  for (const double us : {0.0, 5e-324, 1.0, 2000.0}) {
    OwnedImage image{picture().view, std::make_shared<int>(1)};
    CHECK(!session.try_submit(image, {}, order.done(), {.timeout_us = us}).has_value());
    CHECK(image.owner != nullptr);
  }
  for (const double us : {-1.0, std::numeric_limits<double>::quiet_NaN()}) {
    OwnedImage image = borrowed();
    CHECK_THROWS_WITH_AS(session.try_submit(image, {}, order.done(), {.timeout_us = us}),
                         "expected microseconds, 0 and up", InvalidInput);
    CHECK_THROWS_AS(session.drain({.timeout_us = us}), InvalidInput);
  }
  CHECK(!session.drain({.timeout_us = 1000}));
  release_stalls();
  CHECK(session.drain({.timeout_us = 1e300}));
  OwnedImage image = borrowed();
  CHECK(session.try_submit(image, {}, order.done(), {.timeout_us = 60e6}).has_value());
  session.drain();
}

TEST_CASE("what look_up throws ends a wait for a place, for all, and a run, and the session goes on") {
  const Held bundle;
  Session session(bundle.path(), one_lane(1));
  std::future<Result> running = hold(session);
  Order order;
  CHECK(fill(session, 0, order) == 1);
  OwnedImage image = borrowed();
  CHECK_THROWS_AS(session.try_submit(image, {}, order.done(), interrupted_at_once()), Interrupted);
  CHECK_THROWS_AS(session.drain(interrupted_at_once()), Interrupted);
  RunOptions run;
  run.look_up = interrupted_at_once().look_up;
  const std::vector<ImageView> views(3, picture().view);
  CHECK_THROWS_AS(session.run(views, nullptr, run), Interrupted);
  CHECK(!session.try_submit(image, {}, order.done()).has_value());  // no place was lost, and none was won
  release_stalls();
  CHECK(session.drain());
  CHECK(session.run(views)[2].error == nullptr);
  CHECK(order.tags().size() == 1);
}

TEST_CASE("a stream that is cancelled while others fill the queue does not wait for a place") {
  const Held bundle;
  Session session(bundle.path(), one_lane(1));
  std::future<Result> running = hold(session);
  Order order;
  CHECK(fill(session, 0, order) == 1);
  Stream stream(session);
  std::promise<Pushed> pushed;
  std::thread feeder([&] { pushed.set_value(stream.push(borrowed())); });
  CHECK(eventually([&] { return stream.size() == 1; }));
  stream.cancel();
  std::future<Pushed> outcome = pushed.get_future();
  REQUIRE(outcome.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  CHECK(outcome.get() == Pushed::kEnded);
  feeder.join();
  release_stalls();
  session.drain();
  CHECK(order.tags().size() == 1);
}

TEST_CASE("what has waited too long has every fourth pack, whatever its priority or deadline") {
  for (const bool by_deadline : {false, true}) {
    for (const double aging_us : {0.0, 3.6e9}) {
      const Held bundle;
      SessionOptions session_options = one_lane();
      session_options.aging_us = aging_us;
      Session session(bundle.path(), session_options);
      std::future<Result> running = hold(session);
      Order order;
      session.submit(borrowed(), with(0, 100), order.done());
      for (std::uint64_t i = 0; i < 12; ++i) {
        SubmitOptions flood = with(by_deadline ? 0 : 1, i);
        if (by_deadline) flood.deadline_us = 1e9;
        session.submit(borrowed(), flood, order.done());
      }
      release_stalls();
      session.drain();
      const std::vector<std::uint64_t> tags = order.tags();
      const auto at = std::find(tags.begin(), tags.end(), 100) - tags.begin();
      CHECK(at == (aging_us == 0 ? 3 : 12));
      CHECK(std::is_sorted(tags.begin(), tags.begin() + at));
      CHECK(std::is_sorted(tags.begin() + at + 1, tags.end()));
    }
  }
}

TEST_CASE("a run comes back beside images of a higher priority that never end") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "500"}};
  bundle.json["engines"][0]["budgets"][0]["images"] = 1;
  SessionOptions session_options = one_lane();
  session_options.aging_us = 1000;
  Session session(bundle.write(), session_options);
  std::atomic<bool> stop{false};
  const std::function<void(Result&&)> again = [&](Result&& result) {
    if (result.error == nullptr && !stop) session.submit(borrowed(), with(1), again);
  };
  for (int i = 0; i < 8; ++i) session.submit(borrowed(), with(1), again);
  const std::vector<ImageView> views(3, picture().view);
  for (const Result& result : session.run(views)) CHECK(result.error == nullptr);
  CHECK(session.submit(borrowed(), with(-3)).result.get().error == nullptr);
  stop = true;
  session.close();
}

TEST_CASE("runs that come all the time hold up neither a longer run nor submitted images") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "200"}};
  bundle.json["engines"][0]["budgets"][0]["images"] = 1;
  SessionOptions session_options = one_lane();
  session_options.aging_us = 3.6e9;  // by turns alone
  Session session(bundle.write(), session_options);
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      const std::vector<ImageView> one(1, picture().view);
      while (!stop) (void)session.run(one);
    });
  }
  const std::vector<ImageView> views(20, picture().view);
  for (const Result& result : session.run(views)) CHECK(result.error == nullptr);
  for (int i = 0; i < 20; ++i) CHECK(session.submit(borrowed()).result.get().error == nullptr);
  stop = true;
  for (std::thread& caller : callers) caller.join();
}
