// Which waiting images share a pack, on a clock that stands still.
#include "session/batcher.h"

#include <algorithm>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "support/check.h"

using namespace navit_edge;

namespace {

constexpr double kMillisecond = 1000;

/// 1 ms a pack and 10 us a token; for padded attention 0.1 us a score on top.
PlanLimits limits(AttentionCost attention = AttentionCost::kSegments) {
  PlanLimits made;
  made.budgets = {{1024, 16, 512, 0}};
  made.cost.attention = attention;
  made.cost.dynamic_tokens = true;
  made.cost.budgets = {{1000, 10, attention == AttentionCost::kPadded ? 0.1 : 0.0}};
  return made;
}

/// A queue and the batcher over it.
struct Desk {
  explicit Desk(const PlanLimits& l) : limits(l), batcher(limits) {}

  std::uint64_t push(std::int32_t tokens, double deadline_us = 0, std::int32_t priority = 0) {
    PendingImage& image = queue.blank();
    image.id = ++last;
    image.priority = priority;
    image.deadline = deadline_us > 0 ? after(now, deadline_us) : Clock::time_point::max();
    image.due = image.deadline;
    image.submitted = now;
    image.share_us = batcher.share_us(tokens);
    image.result.tokens = tokens;
    queue.places().enter(priority, image.bytes);
    queue.push(image);
    return last;
  }
  /// Ids of the next pack.
  std::vector<std::uint64_t> take() {
    batcher.take(queue, now, predictor, batch);
    std::vector<std::uint64_t> ids;
    for (PendingImage* image : batch.images) {
      ids.push_back(image->id);
      queue.recycle(*image);
    }
    return ids;
  }

  PlanLimits limits;
  Batcher batcher;
  Queue queue;
  Batch batch;
  Predictor predictor;
  Clock::time_point now{std::chrono::hours(1)};
  std::uint64_t last = 0;
};

using Ids = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("every image leaves once, in packs that keep the budget, the most urgent of those that wait in the next") {
  std::mt19937 random(3);
  for (const AttentionCost attention : {AttentionCost::kSegments, AttentionCost::kPadded, AttentionCost::kWhole}) {
    Desk desk(limits(attention));
    desk.limits.cost.budgets[0].us_per_score = 0.01;
    std::set<std::uint64_t> waiting;
    for (int round = 0; round < 300; ++round) {
      for (std::size_t i = random() % 12; i > 0; --i) {
        const double deadline = random() % 2 == 0 ? 0 : 1 + static_cast<double>(random() % 50) * kMillisecond;
        waiting.insert(desk.push(1 + static_cast<std::int32_t>(random() % 600), deadline,
                                 static_cast<std::int32_t>(random() % 3) - 1));
      }
      if (desk.queue.empty()) continue;
      const Ids ids = desk.take();
      REQUIRE(!ids.empty());
      for (const std::uint64_t id : ids) CHECK(waiting.erase(id) == 1);
      const PackPlan& plan = desk.batch.plan;
      CHECK(plan.images.size() == ids.size());
      CHECK(ids.size() <= 16);
      CHECK((plan.tokens <= 512 || ids.size() == 1));
      CHECK(plan.predicted_us > 0);
      desk.now += std::chrono::milliseconds(3);
    }
    CHECK(desk.queue.size() == waiting.size());
  }
}

TEST_CASE("equal images fill packs up to the target, in the order they came") {
  Desk desk(limits());
  for (int i = 0; i < 6; ++i) desk.push(200);
  CHECK(desk.take() == Ids{1, 2});
  CHECK(desk.take() == Ids{3, 4});
  for (int i = 0; i < 20; ++i) desk.push(10);
  CHECK(desk.take() == Ids{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
}

TEST_CASE("a smaller image that waits behind takes the room that is left") {
  Desk desk(limits());
  desk.push(300);
  desk.push(300);
  desk.push(200);
  CHECK(desk.take() == Ids{1, 3});
  CHECK(desk.take() == Ids{2});
}

TEST_CASE("where attention pads, images of like lengths share a pack, and the most urgent is in the first") {
  Desk desk(limits(AttentionCost::kPadded));
  for (int i = 0; i < 6; ++i) {
    desk.push(20);
    desk.push(250);
  }
  CHECK(desk.take() == Ids{1, 3, 5, 7, 9, 11});
  CHECK(desk.take() == Ids{2, 4});
}

TEST_CASE("a pack is no larger than the earliest deadline in it allows") {
  for (const double deadline_ms : {2.1, 4.2, 5.5}) {
    Desk desk(limits());
    for (int i = 0; i < 5; ++i) desk.push(100, i == 0 ? deadline_ms * kMillisecond : 0);
    const Ids ids = desk.take();
    CHECK(desk.batch.plan.predicted_us <= deadline_ms * kMillisecond);
    CHECK(desk.batch.plan.predicted_us + 1000 > deadline_ms * kMillisecond);  // another would be too many
  }
}

TEST_CASE("an image that is late anyway makes no pack smaller, and steps behind those that can be on time") {
  Desk desk(limits());
  desk.push(100, 1.5 * kMillisecond);  // takes 2 ms alone; due again after 6 ms
  for (int i = 0; i < 4; ++i) desk.push(100);
  CHECK(desk.take() == Ids{1, 2, 3, 4, 5});
  desk.push(400, 1.5 * kMillisecond);  // takes 5 ms alone
  desk.push(400, 5.5 * kMillisecond);
  desk.push(400);
  CHECK(desk.take() == Ids{7});
  CHECK(desk.take() == Ids{6});
  CHECK(desk.take() == Ids{8});
}

TEST_CASE("every deadline that a double can hold is one: none locks the batcher up, and each image leaves once") {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> deadlines = {kNone, std::numeric_limits<double>::infinity(), 0.0, 999.0, 1e15, 1e18};
  for (double us = std::numeric_limits<double>::denorm_min(); us < 1e308; us *= 1000) deadlines.push_back(us);
  deadlines.push_back(std::numeric_limits<double>::max());
  for (const Clock::time_point begin : {Clock::time_point(), Clock::time_point(std::chrono::hours(1)),
                                        Clock::time_point::max() - std::chrono::hours(1)}) {
    Desk desk(limits());
    desk.now = begin;
    std::set<std::uint64_t> waiting;
    for (const double deadline : deadlines) waiting.insert(desk.push(100, deadline));
    while (!desk.queue.empty()) {
      (void)desk.batcher.leaves_by(desk.queue, desk.now, desk.predictor);
      for (const std::uint64_t id : desk.take()) CHECK(waiting.erase(id) == 1);
    }
    CHECK(waiting.empty());
  }
}

TEST_CASE("a time after another is saturated: never, or the end of the clock, and no time before its start") {
  const Clock::time_point start(std::chrono::hours(1));
  constexpr Clock::time_point kNever = Clock::time_point::max();
  CHECK(after(start, 1) - start == std::chrono::microseconds(1));
  CHECK(after(start, 0) == start);
  CHECK(after(start, 5e-324) == start);
  for (const double us :
       {1e15, 1e300, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    CHECK(after(start, us) == kNever);
  CHECK(after(kNever, -5) == kNever);
  CHECK(after(kNever - std::chrono::seconds(1), 2e6) == kNever);
  CHECK(after(start, -std::numeric_limits<double>::infinity()) < start);
  CHECK(after(Clock::time_point::min(), -1e300) == Clock::time_point::min());
  CHECK(after(start, -1e6) == start - std::chrono::seconds(1));
}

TEST_CASE("a model that predicts next to nothing, or too much for a double, stops no pack") {
  for (const double us : {0.0, 5e-324, 1e308}) {
    PlanLimits made = limits();
    made.cost.budgets = {{us, us, us}};
    Desk desk(made);
    for (int i = 0; i < 40; ++i) desk.push(100, i % 3 == 0 ? 5 * kMillisecond : 0);
    desk.predictor.observe(0, us, 1000);
    std::size_t left = 0;
    for (int pack = 0; pack < 40 && !desk.queue.empty(); ++pack) left += desk.take().size();
    CHECK(left == 40);
  }
}

TEST_CASE("images that come all the time do not keep a late one waiting for ever") {
  Desk desk(limits());
  desk.push(400, 3 * kMillisecond);
  int packs = 0;
  for (bool gone = false; !gone && packs < 1000; ++packs) {
    desk.push(400, 6 * kMillisecond);
    desk.push(400, 6 * kMillisecond);  // twice what can be done
    const Ids ids = desk.take();
    gone = std::find(ids.begin(), ids.end(), 1) != ids.end();
    desk.now += std::chrono::milliseconds(5);
  }
  CHECK(packs > 1);
  CHECK(packs < 10);
}

TEST_CASE("where it is the turn of what is old, it goes in the order it came, before the most urgent ones") {
  Desk desk(limits());
  desk.push(200);
  desk.push(100, 0, -1);
  desk.push(50, 0, 2);
  desk.now += std::chrono::seconds(1);
  for (int i = 0; i < 300; ++i) desk.push(100, 0, 1);
  desk.batcher.take(desk.queue, desk.now, desk.predictor, desk.batch, desk.now);
  Ids ids;
  for (const PendingImage* image : desk.batch.images) ids.push_back(image->id);
  CHECK(ids == Ids{1, 2, 3, 4});  // 450 tokens of 512
  CHECK(desk.queue.size() == 299);
  CHECK(desk.take() == Ids{5, 6, 7, 8, 9});
}

TEST_CASE("a pack that waits for more leaves in time for its deadlines, and at once where one is missed already") {
  Desk desk(limits());
  desk.push(100);
  CHECK(desk.batcher.leaves_by(desk.queue, desk.now, desk.predictor) == Clock::time_point::max());
  desk.push(100, 20 * kMillisecond);
  const Clock::time_point leaves = desk.batcher.leaves_by(desk.queue, desk.now, desk.predictor);
  CHECK(leaves > after(desk.now, 10 * kMillisecond));
  CHECK(leaves <= after(desk.now, 17 * kMillisecond));  // both take 3 ms
  desk.push(100, 1 * kMillisecond);
  CHECK(desk.batcher.leaves_by(desk.queue, desk.now, desk.predictor) <= desk.now);
}

TEST_CASE("a machine slower than the model says makes packs smaller, and one that scatters still smaller") {
  Desk desk(limits());
  for (int i = 0; i < 100; ++i) desk.predictor.observe(0, 1000, 2000);
  for (int i = 0; i < 5; ++i) desk.push(100, 8.1 * kMillisecond);
  CHECK(desk.take().size() == 3);  // 2 * (1 + 3) ms
  for (int i = 0; i < 100; ++i) desk.predictor.observe(0, 1000, i % 2 == 0 ? 1500 : 2500);
  for (int i = 0; i < 5; ++i) desk.push(100, 8.1 * kMillisecond);
  CHECK(desk.take().size() < 3);
}

TEST_CASE("of fixed budgets a pack takes the fastest, and fills a larger one where that is cheaper by image") {
  PlanLimits made = limits();
  made.cost.dynamic_tokens = false;
  made.budgets = {{128, 16, 128, 0}, {512, 16, 512, 0}};
  Desk desk(made);  // 2.28 ms and 6.12 ms
  desk.push(100);
  CHECK(desk.take() == Ids{1});
  CHECK(desk.batch.plan.budget == 0);
  for (int i = 0; i < 5; ++i) desk.push(100);
  CHECK(desk.take() == Ids{2, 3, 4, 5, 6});
  CHECK(desk.batch.plan.budget == 1);
  desk.push(100);
  desk.push(100);
  CHECK(desk.take() == Ids{7});  // two packs of the small one take 4.56 ms
}

TEST_CASE("the queue knows its work, its oldest image, and what an id stands for") {
  Desk desk(limits());
  CHECK(desk.queue.oldest() == nullptr);
  const std::uint64_t first = desk.push(100);
  const std::uint64_t second = desk.push(100, 0, 5);
  CHECK(desk.queue.oldest()->id == first);
  CHECK((*desk.queue.order().begin())->id == second);
  const double work = desk.queue.work_us();
  CHECK(work > 0);
  PendingImage* const image = desk.queue.find(first);
  REQUIRE(image != nullptr);
  desk.queue.remove(*image);
  desk.queue.recycle(*image);
  CHECK(desk.queue.find(first) == nullptr);
  CHECK(desk.queue.oldest()->id == second);
  CHECK(desk.queue.work_us() < work);
}

namespace {

struct Served {
  double on_time = 0;     // share of the images
  double throughput = 0;  // of what full packs do
  double longest_ms = 0;
};

/// An engine that takes what the model says, on a clock of its own; images of 30 to 48 tokens come by chance, at `load`
/// of what one by one could do, each with a deadline of three times what it takes alone.
Served serve(double fixed_us, double load, std::size_t count, double noise = 0, unsigned seed = 1) {
  PlanLimits made = limits();
  made.budgets = {{512, 16, 512, 0}};
  made.cost.budgets = {{fixed_us, 100, 0}};
  Desk desk(made);
  std::mt19937 random(seed);
  std::exponential_distribution<double> gap(1);
  std::normal_distribution<double> jitter(1, noise);
  const auto tokens_of = [](std::size_t i) { return 30 + 6 * static_cast<std::int32_t>(i % 4); };
  double share = 0;
  double alone = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    share += desk.batcher.share_us(tokens_of(i)) / 4;
    alone += desk.batcher.alone_us(tokens_of(i)) / 4;
  }
  const Clock::time_point begin = desk.now;
  std::vector<Clock::time_point> came;
  Served served;
  Clock::time_point next = begin;
  std::size_t done = 0;
  while (done < count) {
    while (came.size() < count && next <= desk.now) {
      came.push_back(next);
      const double late_us = microseconds(desk.now - next);
      desk.push(tokens_of(came.size() - 1), std::max(1.0, 3 * alone - late_us));
      if (load > 0) next = after(next, gap(random) * alone / load);
    }
    if (desk.queue.empty()) {
      desk.now = next;
      continue;
    }
    const Ids ids = desk.take();
    const double took = desk.batch.plan.predicted_us * (noise > 0 ? std::max(0.5, jitter(random)) : 1);
    desk.predictor.observe(static_cast<std::size_t>(desk.batch.plan.budget), desk.batch.plan.predicted_us, took);
    desk.now = after(desk.now, took);
    for (const std::uint64_t id : ids) {
      const double latency = microseconds(desk.now - came[id - 1]);
      served.on_time += latency <= 3 * alone ? 1.0 / static_cast<double>(count) : 0;
      served.longest_ms = std::max(served.longest_ms, latency / 1000);
    }
    done += ids.size();
  }
  served.throughput = static_cast<double>(count) * share / microseconds(desk.now - begin);
  return served;
}

}  // namespace

// docs/runtime.md has more of these figures.
TEST_CASE("under load most images are on time, none waits for ever, and a saturated engine loses nothing to packing") {
  for (const double fixed_us : {6000.0, 2000.0, 500.0}) CHECK(serve(fixed_us, 0, 5000).throughput > 0.97);
  CHECK(serve(6000, 0.5, 10000).on_time >= 0.99);
  CHECK(serve(6000, 0.7, 10000).on_time >= 0.98);
  CHECK(serve(500, 0.5, 10000).on_time >= 0.96);
  CHECK(serve(6000, 0.7, 10000, 0.2).on_time >= 0.95);  // packs that take a fifth more or less than predicted
  CHECK(serve(6000, 0.7, 10000).longest_ms < 5 * 3 * 10);
  CHECK(serve(6000, 1.2, 10000).longest_ms < 5 * 3 * 10);  // more than one by one could do
}
