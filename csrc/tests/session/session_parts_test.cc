// The parts of a session, each alone: submissions, the engine host, the lifecycle and what the metrics are told.
// Threads meet at futures.
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "session/engine_host.h"
#include "session/lifecycle.h"
#include "session/metrics_observer.h"
#include "session/submissions.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

TEST_CASE("places go to those who wait in the order in which they came, and drains end with what began before them") {
  CompletionQueue completions;
  Submissions submissions(1, 0, 100, completions);
  std::mutex mutex;
  CHECK(submissions.enter(0, 0, false));
  CHECK(!submissions.enter(0, 0, false));
  CHECK(submissions.enter(0, 0, true));
  submissions.leave(0, 0);

  std::vector<int> order;
  const auto never = [] { return false; };
  std::vector<std::thread> callers;
  const auto waiting = [&] {
    const std::lock_guard lock(mutex);
    return submissions.hurry();
  };
  for (int i = 0; i < 2; ++i) {
    std::promise<void> in_line;
    callers.emplace_back([&, i] {
      std::unique_lock lock(mutex);
      WaitOptions wait;
      bool told = false;
      wait.look_up = [&] {
        if (!std::exchange(told, true)) in_line.set_value();
      };
      if (submissions.wait_for_place(lock, 0, 0, wait, never)) order.push_back(i);
    });
    in_line.get_future().wait();
  }
  CHECK(waiting());
  for (std::size_t done = 1; done <= 2; ++done) {
    {
      const std::lock_guard lock(mutex);
      submissions.leave(0, 0);
    }
    CHECK(eventually([&] {
      const std::lock_guard lock(mutex);
      return order.size() == done;
    }));
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(order == std::vector<int>{0, 1});
  CHECK(!waiting());

  std::unique_lock lock(mutex);
  PendingImage& before = submissions.queue().blank();
  submissions.begun(before);
  CHECK(!submissions.drain(lock, {.timeout_us = 0}));
  PendingImage& behind = submissions.queue().blank();
  submissions.begun(behind);
  before.behind = nullptr;
  submissions.finished(&before, 1);
  CHECK(!submissions.drain(lock, {.timeout_us = 0}));
  behind.behind = nullptr;
  submissions.finished(&behind, 1);
  CHECK(submissions.drain(lock, {.timeout_us = 0}));
}

TEST_CASE("who waits for a place is told when it is over, and gives back a place that came too late") {
  CompletionQueue completions;
  Submissions submissions(1, 0, 100, completions);
  std::mutex mutex;
  CHECK(submissions.enter(0, 0, false));
  std::unique_lock lock(mutex);
  CHECK(!submissions.wait_for_place(lock, 0, 0, {}, [] { return true; }));
  CHECK(!submissions.hurry());
  CHECK(!submissions.wait_for_place(lock, 0, 0, {.timeout_us = 1}, [] { return false; }));
  CHECK(!submissions.hurry());
  submissions.leave(0, 0);
  CHECK(submissions.enter(0, 0, false));
}

TEST_CASE("the host opens a second set when two packs first share the CPU, and keeps its report when they are gone") {
  TestBundle bundle;
  SessionContext context(bundle.write(), options());
  (void)take_stats();
  EngineHost host(context, context.choice.devices.front());
  CHECK(host.slots() == 2);
  CHECK(take_stats("libnavit_edge_fake.so", false).opened == 1);
  const EngineHost::Place alone = host.place(false, 1);
  CHECK(alone.slot == 0);
  const EngineHost::Place left = host.place(true, 0);
  const EngineHost::Place right = host.place(true, 1);
  CHECK(take_stats("libnavit_edge_fake.so", false).opened == 2);
  CHECK(left.engines == right.engines);
  CHECK(left.engines != alone.engines);
  CHECK(right.slot == 1);
  CHECK(!right.turn.owns_lock());
  const std::string report = host.report();
  host.let_go();
  CHECK(take_stats("libnavit_edge_fake.so", false).closed == 2);
  CHECK(host.report() == report);
  host.let_go();
  CHECK(host.report() == report);
}

TEST_CASE(
    "if the second set does not open, packs that were to share take turns on the first, and the report says why") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"most_slots", "1"}};
  SessionContext context(bundle.write(), options());
  EngineHost host(context, context.choice.devices.front());
  CHECK(host.may_pair());
  {
    EngineHost::Place first = host.place(true, 0);
    CHECK(first.turn.owns_lock());
    CHECK(first.slot == 0);
    CHECK(first.engines == host.place(false, 0).engines);
    std::atomic<bool> ended{false};  // the first pack's turn
    std::thread other([&] {
      const EngineHost::Place second = host.place(true, 1);
      CHECK(ended);
      CHECK(second.slot == 0);
    });
    ended = true;
    first.turn.unlock();
    other.join();
  }
  CHECK(!host.may_pair());
  CHECK(host.slots() == 1);
  CHECK(contains(host.report(), "one pack at a time, since two streams did not open: "));
}

TEST_CASE("once turns are refused no pack waits for its turn any more, though the one in front never ends") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"most_slots", "1"}};
  SessionContext context(bundle.write(), options());
  EngineHost host(context, context.choice.devices.front());
  const EngineHost::Place first = host.place(true, 0);
  std::thread other([&] { CHECK_THROWS_WITH_AS((void)host.place(true, 1), "broken", BackendError); });
  host.refuse_turns(std::make_exception_ptr(BackendError("broken")));
  other.join();
  CHECK_THROWS_WITH_AS((void)host.place(true, 1), "broken", BackendError);
  CHECK(host.place(false, 0).engines == first.engines);
}

TEST_CASE("a session is over when it is closed and its workers have ended, and join waits for that") {
  std::mutex mutex;
  auto owner = std::make_shared<int>(0);
  Lifecycle lifecycle;
  lifecycle.expect_workers(2);
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::promise<bool> own;
  for (int i = 0; i < 2; ++i) {
    lifecycle.start(owner, [&, i] {
      if (i == 0) own.set_value(lifecycle.on_own_thread());
      gone.wait();
      const std::lock_guard lock(mutex);
      lifecycle.workers_ended();
    });
  }
  CHECK(own.get_future().get());
  CHECK(!lifecycle.on_own_thread());
  CHECK(owner.use_count() >= 2);
  {
    const std::lock_guard lock(mutex);
    CHECK(lifecycle.close());
    CHECK(!lifecycle.close());
    CHECK(lifecycle.closing());
    CHECK(!lifecycle.over());
  }
  go.set_value();
  CHECK(lifecycle.join(mutex));
  CHECK(lifecycle.over());
  CHECK(owner.use_count() == 1);
  CHECK(lifecycle.join(mutex));
}

TEST_CASE("a worker that is left behind is not waited for, and keeps its owner until it ends") {
  std::mutex mutex;
  auto owner = std::make_shared<int>(0);
  const std::weak_ptr<int> still_there = owner;
  std::promise<void> back;
  {
    Lifecycle lifecycle;
    lifecycle.expect_workers(1);
    const std::size_t thread = lifecycle.start(std::move(owner), [held = back.get_future().share()] { held.wait(); });
    {
      const std::lock_guard lock(mutex);
      lifecycle.leave_behind(thread);
      CHECK(lifecycle.close());
      CHECK(lifecycle.over());
    }
    CHECK(!lifecycle.join(mutex));
  }
  CHECK(!still_there.expired());
  back.set_value();
  CHECK(eventually([&] { return still_there.expired(); }));
}

TEST_CASE("the metrics hear of every image once, whether it ran, failed with its run or was cancelled") {
  MetricsObserver observer;
  const std::vector<ImageView> images(3);
  RunJob run(images, 1);
  run.results.resize(3);
  for (std::int32_t i = 0; i < 3; ++i) run.plans.emplace_back().images = {i};  // a pack each
  run.deal(1);
  observer.run_submitted(run);
  run.begin_pack(0, 0, 1, run.start);
  const auto error = std::make_exception_ptr(BackendError("gone"));
  observer.rest_failed(run, error);
  run.fail_rest(error);
  CHECK(run.all_begun());
  CHECK(!run.all_ended());
  CHECK(run.images_done == 2);
  run.end_pack(run.plans[0]);
  CHECK(run.all_ended());
  CHECK(run.images_done == 3);
  observer.refused(9, ErrorCode::kInvalidInput);
  PendingImage image;
  image.submitted = run.start;
  observer.submitted();
  observer.cancelled(image);
  const Metrics metrics = observer.recorder().metrics();
  CHECK(metrics.submitted == 5);
  CHECK(metrics.failed[static_cast<std::size_t>(ErrorCode::kBackend)] == 2);
  CHECK(metrics.failed[static_cast<std::size_t>(ErrorCode::kInvalidInput)] == 1);
  CHECK(metrics.cancelled == 1);
  CHECK(metrics.waiting == 1);
}
