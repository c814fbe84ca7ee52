// The parts of a session, each alone: the slot gate, the scheduler, submissions, the engine host, the lifecycle and
// what the metrics are told. Time is a value that the tests set; threads meet at futures.
#include <atomic>
#include <future>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "session/engine_host.h"
#include "session/lifecycle.h"
#include "session/metrics_observer.h"
#include "session/scheduler.h"
#include "session/submissions.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// 1 ms a pack and 10 us a token.
PlanLimits limits() {
  PlanLimits made;
  made.budgets = {{1024, 16, 512, 0}};
  made.cost.dynamic_tokens = true;
  made.cost.budgets = {{1000, 10, 0}};
  return made;
}

/// A run of packs of one image each.
struct Run : RunJob {
  Run(std::size_t packs, double predicted_us, Clock::time_point now) : RunJob({}, 1) {
    start = now;
    for (std::size_t i = 0; i < packs; ++i) {
      PackPlan plan;
      plan.images = {static_cast<std::int32_t>(i)};
      plan.predicted_us = predicted_us;
      plans.push_back(plan);
    }
    left_us = predicted_us * static_cast<double>(packs);
  }
};

/// A scheduler over a queue, and the slots that its packs get. The clock stands still unless a test moves it.
struct Desk {
  explicit Desk(const SlotRules& slots = {}, const Scheduler::Rules& rules = {})
      : gate(slots), scheduler(plan_limits, rules, queue) {}

  void submit(std::int32_t tokens, std::int32_t priority = 0, double deadline_us = 0) {
    PendingImage& image = queue.blank();
    image.id = ++last;
    image.priority = priority;
    image.deadline = image.due = deadline_us > 0 ? after(now, deadline_us) : Clock::time_point::max();
    image.submitted = now;
    image.share_us = scheduler.share_us(tokens);
    image.result.tokens = tokens;
    queue.places().enter(priority, image.bytes);
    queue.push(image);
  }
  bool claim(ScheduledPack& into, bool hurry = false) {
    look_again = Clock::time_point::max();
    return scheduler.claim(into, gate, hurry, now, look_again);
  }
  /// A pack, done as soon as it is taken: "images", or "run".
  std::string next() {
    if (!claim(pack)) return "nothing";
    (void)gate.written();
    gate.leave(pack.slot);
    return pack.job == nullptr ? "images" : "run";
  }

  PlanLimits plan_limits = limits();
  Queue queue;
  SlotGate gate;
  Scheduler scheduler;
  ScheduledPack pack{16};
  Clock::time_point now{std::chrono::hours(1)};
  Clock::time_point look_again;
  std::uint64_t last = 0;
};

}  // namespace

TEST_CASE("the gate gives the lowest free slot, and never one that is taken") {
  SlotGate gate({.slots = 3, .on_cpu = true});
  CHECK(gate.enter(false) == 0);
  CHECK(gate.enter(false) == 1);
  CHECK(gate.enter(false) == 2);
  gate.leave(1);
  gate.leave(0);
  CHECK(gate.enter(false) == 0);
  CHECK(gate.enter(false) == 1);
  std::mt19937 random(5);
  std::set<int> taken{0, 1, 2};
  for (int step = 0; step < 1000; ++step) {
    if (!taken.empty() && (taken.size() == 3 || random() % 2 == 0)) {
      const auto one = std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      gate.leave(*one);
      taken.erase(one);
    } else {
      int lowest = 0;
      while (taken.count(lowest) == 1) ++lowest;
      REQUIRE(gate.enter(false) == lowest);
      taken.insert(lowest);
    }
    REQUIRE(gate.busy() == !taken.empty());
  }
}

TEST_CASE("for an accelerator one pack is written at a time, and the gate opens when it is written") {
  SlotGate gate({.slots = 2, .on_cpu = false, .threads = 4});
  (void)gate.enter(false);
  CHECK(!gate.open());
  CHECK(gate.written());
  CHECK(gate.open());
  CHECK(!gate.written());
  CHECK(gate.threads(false, true) == 4);
}

TEST_CASE("on a CPU a pack alone shuts the gate, one of a pair lets another one in, and cores are shared by both") {
  SlotGate gate({.slots = 2, .pairs = true, .on_cpu = true, .threads = 4});
  CHECK(gate.admits(false));
  const int alone = gate.enter(false);
  CHECK(!gate.open());
  gate.leave(alone);
  (void)gate.enter(true);
  CHECK(gate.open());
  CHECK(gate.admits(true));
  CHECK(!gate.admits(false));
  CHECK(gate.shares_device());
  CHECK(gate.threads(true, true) == 1);
  CHECK(gate.threads(false, true) == 4);
  gate.stop_pairing();
  CHECK(!gate.open());
  CHECK(!gate.may_pair());
  gate.leave(0);
  CHECK(gate.open());
}

TEST_CASE("slots that a caller asked for on a CPU share its cores as soon as there are two packs") {
  const SlotGate several({.slots = 3, .on_cpu = true, .threads = 4});
  CHECK(several.threads(false, false) == 4);
  CHECK(several.threads(false, true) == 1);
  const SlotGate one({.slots = 1, .on_cpu = true, .threads = 4});
  CHECK(one.threads(false, true) == 4);
}

TEST_CASE("runs and submitted images take turns, and two runs do") {
  Desk desk;
  Run first(4, 1000, desk.now);
  Run second(4, 1000, desk.now);
  desk.scheduler.add(first, desk.now);
  desk.scheduler.add(second, desk.now);
  for (int i = 0; i < 32; ++i) desk.submit(64);  // 4 packs: they are filled to 512 tokens
  int images = 0;
  for (int pack = 0; pack < 12; ++pack) {
    images += desk.next() == "images" ? 1 : 0;
    CHECK(first.next <= second.next + 1);
    CHECK(second.next <= first.next + 1);
  }
  CHECK(images == 4);
  CHECK(first.all_begun());
  CHECK(second.all_begun());
  CHECK(desk.scheduler.runs().empty());
  CHECK(desk.next() == "nothing");
}

TEST_CASE("a higher priority goes before runs, a lower one behind them, and what waits too long before both") {
  Desk desk({}, {.aging_us = 1000});
  Run run(20, 1000, desk.now);
  desk.scheduler.add(run, desk.now);
  CHECK(desk.next() == "run");
  desk.submit(64, 1);
  CHECK(desk.next() == "images");
  desk.submit(64, -1);
  CHECK(desk.next() == "run");
  desk.now += std::chrono::milliseconds(2);
  std::vector<std::string> order;
  for (int i = 0; i < 5; ++i) order.push_back(desk.next());
  CHECK(order == std::vector<std::string>{"run", "run", "run", "images", "run"});
}

TEST_CASE("images wait for company until it would make them late, and not at all if somebody is in a hurry") {
  Desk desk({}, {.batch_wait_us = 50000});
  desk.submit(64);
  CHECK(!desk.claim(desk.pack));
  CHECK(desk.look_again == after(desk.now, 50000));
  desk.submit(64, 0, 10000);
  CHECK(!desk.claim(desk.pack));
  CHECK(desk.look_again < after(desk.now, 10000));
  CHECK(desk.claim(desk.pack, true));
  CHECK(desk.pack.batch.images.size() == 2);
}

TEST_CASE("a pack knows its slot, its images and how long they waited, and a failed claim takes nothing") {
  Desk desk({.slots = 2, .on_cpu = true, .threads = 4});
  desk.submit(64);
  desk.now += std::chrono::milliseconds(3);
  ScheduledPack pack(16);
  REQUIRE(desk.claim(pack));
  CHECK(pack.slot == 0);
  CHECK(pack.job == nullptr);
  CHECK(pack.claimed == desk.now);
  REQUIRE(pack.results.size() == 1);
  CHECK(pack.results[0].queue_us == 3000);
  CHECK(pack.plan->tokens == 64);
  pack.results[0].pack = 7;
  pack.hand_back();
  CHECK(pack.batch.images[0]->result.pack == 7);
  const bool busy = desk.gate.busy();
  CHECK(!desk.claim(desk.pack));
  CHECK(desk.gate.busy() == busy);
}

TEST_CASE("what waits is the sum of runs and images, and it shrinks as they begin") {
  Desk desk;
  Run run(3, 500, desk.now);
  desk.scheduler.add(run, desk.now);
  CHECK(desk.scheduler.waiting_us() == 1500);
  CHECK(desk.next() == "run");
  CHECK(desk.scheduler.waiting_us() == 1000);
  desk.submit(64);
  CHECK(desk.scheduler.waiting_us() == 1000 + desk.scheduler.share_us(64));
  desk.scheduler.remove(run);
  CHECK(desk.scheduler.waiting_us() == desk.scheduler.share_us(64));
}

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
  EngineHost host(context);
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
  EngineHost host(context);
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
  Run run(3, 1000, Clock::now());
  const std::vector<ImageView> images(3);
  run.images = images;
  run.results.resize(3);
  observer.run_submitted(run);
  (void)run.begin_pack(1, run.start);
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
