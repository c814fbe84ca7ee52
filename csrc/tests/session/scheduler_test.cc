// Which pack a free slot takes, and which slot it gets, on a clock that stands still unless a test moves it.
#include "session/scheduler.h"

#include <chrono>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "session/slot_gate.h"
#include "support/check.h"

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
    deal(1);
  }
};

/// A scheduler over a queue, and the slots that its packs get.
struct Desk {
  explicit Desk(const SlotRules& slots = {}, const Scheduler::Rules& rules = {})
      : scheduler(plan_limits, rules, queue, {slots}) {}

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
    return scheduler.claim(into, 0, hurry, now, look_again);
  }
  /// A pack, done as soon as it is taken: "images", or "run".
  std::string next() {
    if (!claim(pack)) return "nothing";
    (void)scheduler.device(0).gate().written();
    (void)scheduler.end(pack, false, 0, now);
    return pack.job == nullptr ? "images" : "run";
  }

  PlanLimits plan_limits = limits();
  Queue queue;
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
    CHECK(first.begun <= second.begun + 1);
    CHECK(second.begun <= first.begun + 1);
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
  const bool busy = desk.scheduler.device(0).gate().busy();
  CHECK(!desk.claim(desk.pack));
  CHECK(desk.scheduler.device(0).gate().busy() == busy);
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
