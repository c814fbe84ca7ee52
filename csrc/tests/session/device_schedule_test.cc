// Which device takes which pack, on a clock that the test moves: engines that take exactly what the cost model says,
// times their slowness.
#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "plan/assign_budget.h"
#include "plan/spread.h"
#include "session/scheduler.h"
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
  explicit Run(const std::vector<double>& times_us) : RunJob({}, 1) {
    for (std::size_t i = 0; i < times_us.size(); ++i) {
      PackPlan plan;
      plan.images = {static_cast<std::int32_t>(i)};
      plan.predicted_us = times_us[i];
      plans.push_back(plan);
    }
    results.resize(times_us.size());
  }
};

/// Devices of one slot that take `slowness` times what the model says, and a clock that goes from event to event.
class Machine {
 public:
  explicit Machine(const std::vector<double>& slowness, bool known = true, const Scheduler::Rules& rules = {})
      : slowness_(slowness), scheduler_(plan_limits_, rules, queue_, std::vector<SlotRules>(slowness.size())) {
    for (std::size_t d = 0; d < slowness.size(); ++d) {
      packs_.emplace_back(16);
      ends_.emplace_back();
      if (known) scheduler_.device(d).pace().observe(0, 1000, 1000 * slowness[d]);
    }
  }

  Scheduler& scheduler() { return scheduler_; }

  void add(Run& run) {
    PlanLimits over = plan_limits_;
    over.devices = scheduler_.plan_devices(now_);
    (void)schedule(run.plans, over);
    run.deal(slowness_.size());
    run.start = now_;
    scheduler_.add(run, now_);
  }

  void submit(std::int32_t tokens, std::int32_t priority = 0) {
    PendingImage& image = queue_.blank();
    image.id = ++last_;
    image.priority = priority;
    image.deadline = image.due = Clock::time_point::max();
    image.submitted = now_;
    image.share_us = scheduler_.share_us(tokens);
    image.result.tokens = tokens;
    queue_.places().enter(priority, image.bytes);
    queue_.push(image);
  }

  /// Until nothing happens any more, or to `until_us`.
  void go(double until_us = std::numeric_limits<double>::infinity()) {
    while (true) {
      Clock::time_point next = Clock::time_point::max();
      for (bool more = true; more;) {  // as workers do: who takes a pack wakes the others
        more = false;
        for (std::size_t i = 0; i < slowness_.size(); ++i) {
          const std::size_t d = (i + offset_) % slowness_.size();
          if (ends_[d]) continue;
          Clock::time_point look_again = Clock::time_point::max();
          if (scheduler_.claim(packs_[d], d, false, now_, look_again)) {
            ends_[d] = after(now_, slowness_[d] * packs_[d].plan->predicted_us);
            began(d);
            more = true;
          } else {
            next = std::min(next, look_again);
          }
        }
        if (more) next = Clock::time_point::max();
      }
      ++offset_;
      for (const auto& end : ends_) next = std::min(next, end.value_or(Clock::time_point::max()));
      if (next == Clock::time_point::max() || next > after(begin_, until_us)) break;
      REQUIRE(next > now_);
      now_ = next;
      for (std::size_t d = 0; d < slowness_.size(); ++d) {
        if (ends_[d] == now_) end(d, fails_.contains(d));
      }
    }
    if (until_us < 1e15) now_ = after(begin_, until_us);
  }

  void fail(std::size_t device) { fails_[device] = 0; }
  [[nodiscard]] double now_us() const { return microseconds(now_ - begin_); }

  std::map<std::size_t, double> work_us;         // [device] the model's time of the packs that it has begun
  std::map<std::size_t, int> began_packs;        // [device]
  std::map<std::uint64_t, std::size_t> done_by;  // [id of an image] the device that had it
  std::map<std::uint64_t, double> done_us;       // [id of an image] when
  int failed = 0;                                // packs

 private:
  void began(std::size_t d) {
    work_us[d] += packs_[d].plan->predicted_us;
    ++began_packs[d];
    (void)scheduler_.device(d).gate().written();
  }
  void end(std::size_t d, bool fails) {
    ScheduledPack& pack = packs_[d];
    const double latency_us = microseconds(now_ - pack.claimed);
    (void)scheduler_.end(pack, !fails, latency_us, now_);
    ends_[d].reset();
    pack.hand_back();
    if (fails) {
      ++failed;
      scheduler_.give_back(pack, now_);
      if (++fails_[d] == 3) scheduler_.lose(d, now_);
      return;
    }
    if (pack.job != nullptr) {
      pack.job->end_pack(*pack.plan);
      return;
    }
    for (PendingImage* image : pack.batch.images) {
      CHECK(!done_by.contains(image->id));
      done_by[image->id] = d;
      done_us[image->id] = now_us();
    }
  }

  PlanLimits plan_limits_ = limits();
  std::vector<double> slowness_;
  Queue queue_;
  Scheduler scheduler_;
  std::deque<ScheduledPack> packs_;                     // [devices]
  std::vector<std::optional<Clock::time_point>> ends_;  // [devices] of the pack in flight
  std::map<std::size_t, int> fails_;                    // [device] in a row
  const Clock::time_point begin_{std::chrono::hours(1)};
  Clock::time_point now_ = begin_;
  std::size_t offset_ = 0;  // who asks first
  std::uint64_t last_ = 0;
};

std::vector<double> some_times(std::mt19937& random, std::size_t count) {
  std::vector<double> times(count);
  for (double& time : times) time = 500 + static_cast<double>(random() % 8000);
  return times;
}

/// The least time in which devices of these speeds can have run all packs: every way is tried.
double optimum(const std::vector<double>& times, const std::vector<double>& slowness) {
  std::vector<std::size_t> on(times.size(), 0);
  double least = std::numeric_limits<double>::infinity();
  while (true) {
    std::vector<double> ends(slowness.size(), 0);
    for (std::size_t i = 0; i < times.size(); ++i) ends[on[i]] += slowness[on[i]] * times[i];
    least = std::min(least, *std::max_element(ends.begin(), ends.end()));
    std::size_t i = 0;
    while (i < on.size() && ++on[i] == slowness.size()) on[i++] = 0;
    if (i == on.size()) return least;
  }
}

}  // namespace

TEST_CASE("a run on devices of known speeds ends within five hundredths of the optimum") {
  std::mt19937 random(31);
  double worst = 1;
  for (int i = 0; i < 200; ++i) {
    std::vector<double> slowness(2 + random() % 2);
    for (double& one : slowness) one = 1 + static_cast<double>(random() % 8) * 0.5;
    const std::vector<double> times = some_times(random, 1 + random() % 8);
    Machine machine(slowness);
    Run run(times);
    machine.add(run);
    machine.go();
    CHECK(run.all_ended());
    const double ratio = machine.now_us() / optimum(times, slowness);
    CHECK(ratio > 1 - 1e-6);
    CHECK(ratio < 1.05);
    worst = std::max(worst, ratio);
  }
  std::printf("makespan: at most %.4f times the optimum\n", worst);
}

TEST_CASE("speeds that nobody knew are learned from the first packs, and long runs lose little by it") {
  std::mt19937 random(32);
  double worst = 1;
  for (int i = 0; i < 100; ++i) {
    std::vector<double> slowness(2 + random() % 3);
    for (double& one : slowness) one = 1 + static_cast<double>(random() % 8) * 0.5;
    const std::vector<double> times = some_times(random, 60 + random() % 60);
    Machine machine(slowness, false);
    Run run(times);
    machine.add(run);
    machine.go();
    CHECK(run.all_ended());
    double work = 0;
    for (const double time : times) work += time;
    std::vector<PlanDevice> devices;
    for (const double one : slowness) devices.push_back({one, 0});
    worst = std::max(worst, machine.now_us() / fluid_end_us(work, devices));
  }
  std::printf("makespan with unknown speeds: at most %.4f times the bound\n", worst);
  CHECK(worst < 1.10);
}

TEST_CASE("a single image goes to the device that ends it first, and a slow one stays idle for it") {
  Machine machine({1, 3});
  for (int i = 0; i < 5; ++i) {
    machine.submit(64);
    machine.go();
  }
  CHECK(machine.began_packs[0] == 5);
  CHECK(machine.began_packs[1] == 0);
  machine.submit(512);  // fast one busy for 6.12 ms
  machine.go(machine.now_us() + 1);
  machine.submit(64);  // 1.64 ms behind that, or 4.92 ms on the slow one
  machine.go();
  CHECK(machine.done_by[7] == 1);
}

TEST_CASE("many images keep all devices busy, each by its speed, and all end near the bound") {
  Machine machine({1, 2, 4});
  for (int i = 0; i < 800; ++i) machine.submit(64);
  double work = 0;
  machine.go();
  for (const auto& [device, work_us] : machine.work_us) work += work_us;
  CHECK(machine.done_by.size() == 800);
  const double bound = fluid_end_us(work, std::vector<PlanDevice>{{1, 0}, {2, 0}, {4, 0}});
  CHECK(machine.now_us() < 1.05 * bound);
  CHECK(machine.began_packs[0] > machine.began_packs[1]);
  CHECK(machine.began_packs[1] > machine.began_packs[2]);
  CHECK(machine.began_packs[2] > 0);
}

TEST_CASE("two runs and images share several devices by turns") {
  Machine machine({1, 1.5});
  Run first(std::vector<double>(40, 2000));
  Run second(std::vector<double>(40, 2000));
  machine.add(first);
  machine.add(second);
  for (int i = 0; i < 64; ++i) machine.submit(64);
  while (!first.all_ended() || !second.all_ended() || machine.done_by.size() < 64) {
    const double before = machine.now_us();
    machine.go(before + 2000);
    CHECK(first.begun <= second.begun + 2);
    CHECK(second.begun <= first.begun + 2);
    REQUIRE(machine.now_us() < 1e6);
  }
  double images_us = 0;
  for (const auto& [id, us] : machine.done_us) images_us = std::max(images_us, us);
  CHECK(images_us < 0.6 * 80 * 2000 / (1 + 1 / 1.5));  // they did not wait for the runs
}

TEST_CASE("what waits too long gets its turn on several devices, whatever comes with a higher priority") {
  Machine machine({1, 2}, true, {.aging_us = 20000});
  machine.submit(512, -1);
  for (int i = 0; i < 200; ++i) machine.submit(512, 1);
  machine.go();
  CHECK(machine.done_by.size() == 201);
  CHECK(machine.done_us[1] < 80000);  // of some 800 ms
}

TEST_CASE("a device that fails in the middle of a load is left out, and nothing is lost") {
  std::mt19937 random(33);
  for (int i = 0; i < 50; ++i) {
    Machine machine({1, 1 + static_cast<double>(random() % 3), 2});
    const std::vector<double> times = some_times(random, 20);
    Run run(times);
    machine.add(run);
    for (int k = 0; k < 100; ++k) machine.submit(32 + static_cast<std::int32_t>(random() % 400));
    machine.go(5000 + static_cast<double>(random() % 20000));
    machine.fail(random() % 3);
    machine.go();
    CHECK(run.all_ended());
    CHECK(machine.done_by.size() == 100);
    CHECK(machine.failed <= 3);
  }
}

TEST_CASE("a pack that failed is run by another device, and by the same one if it is the last") {
  Machine machine({1, 50});
  Run run({1000});
  machine.add(run);
  machine.fail(0);
  machine.go(1500);
  CHECK(machine.failed == 1);
  CHECK(run.failed_on[0] == 0);
  CHECK(machine.began_packs[1] == 1);
  machine.go();
  CHECK(run.all_ended());
  CHECK(machine.began_packs[0] == 1);

  Machine alone({1, 1});
  alone.scheduler().lose(1, Clock::time_point{std::chrono::hours(1)});
  alone.submit(64);
  alone.go();
  CHECK(alone.done_by.size() == 1);
  CHECK(alone.began_packs[1] == 0);
  CHECK(alone.scheduler().plan_devices({}).empty());
  CHECK(alone.scheduler().speed() == 1);
}

TEST_CASE("a device that is late is not waited for longer than it would take to do the pack oneself") {
  Machine machine({1, 4});
  machine.submit(512);
  machine.go(100);  // in the fast one for 6.12 ms, as all believe
  CHECK(machine.began_packs[0] == 1);
  Scheduler& scheduler = machine.scheduler();
  machine.submit(512);
  ScheduledPack pack(16);
  Clock::time_point look_again = Clock::time_point::max();
  const Clock::time_point begin{std::chrono::hours(1)};
  CHECK(!scheduler.claim(pack, 1, false, after(begin, 200), look_again));  // 12 ms there, 24 ms here
  CHECK(look_again < after(begin, 30000));
  CHECK(scheduler.claim(pack, 1, false, after(begin, 40000), look_again));  // it hangs
}
