#include "navit_edge/plan.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

constexpr std::array kNamed{Strategy::kFifo,
                            Strategy::kFirstFit,
                            Strategy::kBestFit,
                            Strategy::kFirstFitDecreasing,
                            Strategy::kBestFitDecreasing,
                            Strategy::kSimilarLength};

PlanLimits limits(std::vector<Budget> budgets, Strategy strategy = Strategy::kFirstFitDecreasing) {
  PlanLimits out;
  out.budgets = std::move(budgets);
  out.strategy = strategy;
  return out;
}

std::int32_t budget_longest(const PlanLimits& limits, const PackPlan& pack) {
  return limits.budgets[static_cast<std::size_t>(pack.budget)].longest;
}

/// Every image once; sums right; no limit broken; the smallest budget that holds the pack.
void check_packs(const std::vector<PackPlan>& packs, const std::vector<std::int32_t>& tokens,
                 const PlanLimits& limits) {
  std::vector<int> seen(tokens.size(), 0);
  for (const PackPlan& pack : packs) {
    std::int32_t sum = 0;
    std::int32_t longest = 0;
    for (const std::int32_t image : pack.images) {
      ++seen[static_cast<std::size_t>(image)];
      sum += tokens[static_cast<std::size_t>(image)];
      longest = std::max(longest, tokens[static_cast<std::size_t>(image)]);
    }
    CHECK(!pack.images.empty());
    CHECK(pack.tokens == sum);
    CHECK(pack.longest == longest);
    CHECK((budget_longest(limits, pack) == 0 || longest <= budget_longest(limits, pack)));
    const Budget& budget = limits.budgets[static_cast<std::size_t>(pack.budget)];
    const auto images = static_cast<std::int32_t>(pack.images.size());
    CHECK(sum <= budget.tokens);
    CHECK(images <= budget.images);
    if (pack.budget > 0) {
      const Budget& smaller = limits.budgets[static_cast<std::size_t>(pack.budget - 1)];
      CHECK((sum > smaller.tokens || images > smaller.images));
    }
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
}

/// The same, whichever budget a pack has.
void check_packs_within(const std::vector<PackPlan>& packs, const std::vector<std::int32_t>& tokens,
                        const PlanLimits& limits) {
  std::vector<int> seen(tokens.size(), 0);
  for (const PackPlan& pack : packs) {
    std::int64_t sum = 0;
    std::int32_t longest = 0;
    for (const std::int32_t image : pack.images) {
      ++seen[static_cast<std::size_t>(image)];
      sum += tokens[static_cast<std::size_t>(image)];
      longest = std::max(longest, tokens[static_cast<std::size_t>(image)]);
    }
    const Budget& budget = limits.budgets[static_cast<std::size_t>(pack.budget)];
    CHECK((sum <= budget.tokens && std::ssize(pack.images) <= budget.images));
    CHECK((budget.longest == 0 || longest <= budget.longest));
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
}

/// On one stream packs follow one another.
void check_times(const Plan& plan) {
  double now = 0;
  for (const PackPlan& pack : plan.packs) {
    now += pack.predicted_us;
    CHECK(std::abs(pack.finish_us - now) < 1e-6 * (1 + now));
  }
  CHECK(std::abs(plan.predicted_us - now) < 1e-6 * (1 + now));
}

/// First fit in O(images * packs), as a textbook has it.
std::vector<std::vector<std::int32_t>> textbook_first_fit_decreasing(const std::vector<std::int32_t>& tokens,
                                                                     const Budget& budget) {
  std::vector<std::int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return tokens[static_cast<std::size_t>(a)] > tokens[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<std::int32_t>> packs;
  std::vector<std::int32_t> used;
  for (const std::int32_t image : order) {
    const std::int32_t need = tokens[static_cast<std::size_t>(image)];
    std::size_t i = 0;
    while (i < packs.size() &&
           (used[i] + need > budget.target_tokens || static_cast<std::int32_t>(packs[i].size()) >= budget.images)) {
      ++i;
    }
    if (i == packs.size()) {
      packs.emplace_back();
      used.push_back(0);
    }
    packs[i].push_back(image);
    used[i] += need;
  }
  return packs;
}

std::vector<std::int32_t> random_tokens(std::mt19937& random, std::size_t count, std::int32_t most) {
  std::uniform_int_distribution<std::int32_t> length(1, most);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& one : tokens) one = length(random);
  return tokens;
}

}  // namespace

TEST_CASE("a strategy that nobody knows is refused") {
  CHECK_THROWS_WITH_AS(parse_word<Strategy>("best"), "expected one of auto, fifo, first-fit, best-fit, first-fit",
                       InvalidInput);
  CHECK(parse_word<Strategy>("similar-length") == Strategy::kSimilarLength);
}

TEST_CASE("first fit decreasing packs as the textbook does") {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const auto tokens = random_tokens(random, 1 + static_cast<std::size_t>(i), 300);
    const PlanLimits plan_limits = limits({{128, 4, 128}, {512, 7, 512}});
    const auto packs = plan_packs(tokens, plan_limits).packs;
    check_packs(packs, tokens, plan_limits);
    const auto expected = textbook_first_fit_decreasing(tokens, plan_limits.budgets.back());
    REQUIRE(packs.size() == expected.size());
    for (std::size_t p = 0; p < packs.size(); ++p) CHECK(packs[p].images == expected[p]);
  }
}

TEST_CASE("similar lengths lie together, longest first, up to the target") {
  const PlanLimits plan_limits = limits({{100, 3, 50}}, Strategy::kSimilarLength);
  const std::vector<std::int32_t> tokens{10, 60, 20, 10, 30, 10, 10, 10};
  const auto packs = plan_packs(tokens, plan_limits).packs;
  check_packs(packs, tokens, plan_limits);
  REQUIRE(packs.size() == 4);
  CHECK(packs[0].images == std::vector<std::int32_t>{1});  // above the target, within the budget: alone
  CHECK(packs[1].images == std::vector<std::int32_t>{4, 2});
  CHECK(packs[2].images == std::vector<std::int32_t>{0, 3, 5});  // equal lengths keep their order
  CHECK(packs[3].images == std::vector<std::int32_t>{6, 7});
}

TEST_CASE("every image is planned once within the limits, under every strategy that has a name") {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    const auto tokens = random_tokens(random, static_cast<std::size_t>(random() % 60), 1024);
    for (const Strategy strategy : kNamed) {
      const PlanLimits plan_limits =
          limits({{256, 8, 256}, {1024, 3, 700}, {2048, 1 + static_cast<std::int32_t>(random() % 9), 1500}}, strategy);
      check_packs(plan_packs(tokens, plan_limits).packs, tokens, plan_limits);
    }
  }
}

TEST_CASE("an image above every budget is named with the remedy") {
  const std::vector<std::int32_t> tokens{10, 20, 30, 5200};
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{1024, 8, 1024}, {4096, 8, 4096}})),
                       "image 3 needs 5200 tokens; the largest budget is 4096; rebuild with --token-budgets "
                       "1024,4096,8192, set overflow=\"downscale\" or lower max_tokens_per_image",
                       OverBudget);
}

TEST_CASE("limits that make no sense are refused") {
  const std::vector<std::int32_t> tokens{10};
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({})), "no token budget", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{100, 0, 100}})), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{100, 1, 100}, {100, 2, 100}})), "ascend", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(std::vector<std::int32_t>{5, 0}, limits({{100, 1, 100}})), "image 1", InvalidInput);
  CHECK(plan_packs(std::vector<std::int32_t>{}, limits({{100, 1, 100}})).packs.empty());
}

/// Packs [tokens of each image] without regard to which image it is.
std::vector<std::vector<std::int32_t>> lengths_of(const std::vector<PackPlan>& packs,
                                                  const std::vector<std::int32_t>& tokens) {
  std::vector<std::vector<std::int32_t>> out;
  for (const PackPlan& pack : packs) {
    out.emplace_back();
    for (const std::int32_t image : pack.images) out.back().push_back(tokens[static_cast<std::size_t>(image)]);
    std::sort(out.back().begin(), out.back().end());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// A cost under which a pack of a fixed budget costs what `times` says.
PlanLimits fixed_budgets(std::vector<Budget> budgets, const std::vector<double>& times) {
  PlanLimits plan_limits = limits(std::move(budgets), Strategy::kAuto);
  for (const double time : times) plan_limits.cost.budgets.push_back({time, 0, 0});
  return plan_limits;
}

/// The least time in which `tokens` can be packed, by trying every partition. For a few images.
double least_time(const std::vector<std::int32_t>& tokens, const PlanLimits& plan_limits) {
  const std::size_t all = (std::size_t{1} << tokens.size()) - 1;
  std::vector<double> alone(all + 1, std::numeric_limits<double>::infinity());  // as one pack
  for (std::size_t set = 1; set <= all; ++set) {
    PackShape pack;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if ((set >> i & 1) == 0) continue;
      pack.tokens += tokens[i];
      pack.images += 1;
      pack.longest = std::max<std::int64_t>(pack.longest, tokens[i]);
      pack.squares += std::int64_t{tokens[i]} * tokens[i];
    }
    for (std::size_t b = 0; b < plan_limits.budgets.size(); ++b) {
      const Budget& budget = plan_limits.budgets[b];
      const bool fits = pack.tokens <= budget.tokens && pack.images <= budget.images &&
                        (budget.longest == 0 || pack.longest <= budget.longest);
      if (fits) alone[set] = std::min(alone[set], plan_limits.cost.pack_us(b, budget.tokens, pack));
    }
  }
  std::vector<double> least = alone;
  for (std::size_t set = 1; set <= all; ++set) {
    const std::size_t lowest = set & (~set + 1);
    for (std::size_t part = set; part > 0; part = (part - 1) & set) {
      if ((part & lowest) != 0 && part != set) least[set] = std::min(least[set], alone[part] + least[set ^ part]);
    }
  }
  return least[all];
}

TEST_CASE("best fit takes the fullest pack with room, first fit the first, fifo the last") {
  const std::vector<std::int32_t> tokens{40, 70, 30, 30, 60};
  const auto packs = [&](Strategy strategy) {
    std::vector<std::vector<std::int32_t>> out;
    for (const PackPlan& pack : plan_packs(tokens, limits({{100, 9, 100}}, strategy)).packs) out.push_back(pack.images);
    return out;
  };
  using Packs = std::vector<std::vector<std::int32_t>>;
  CHECK(packs(Strategy::kFifo) == Packs{{0}, {1, 2}, {3, 4}});
  CHECK(packs(Strategy::kFirstFit) == Packs{{0, 2, 3}, {1}, {4}});
  CHECK(packs(Strategy::kBestFit) == Packs{{0, 3}, {1, 2}, {4}});
  CHECK(packs(Strategy::kFirstFitDecreasing) == Packs{{1, 2}, {4, 0}, {3}});
  CHECK(packs(Strategy::kBestFitDecreasing) == Packs{{1, 2}, {4, 0}, {3}});
}

TEST_CASE("the fastest budget that holds a pack is taken, the smallest of equals") {
  const std::vector<std::int32_t> tokens{60};
  CHECK(plan_packs(tokens, fixed_budgets({{50, 9, 50}, {100, 9, 100}, {200, 9, 200}}, {1, 3, 3})).packs[0].budget == 1);
  CHECK(plan_packs(tokens, fixed_budgets({{50, 9, 50}, {100, 9, 100}, {200, 9, 200}}, {1, 5, 3})).packs[0].budget == 2);
}

TEST_CASE("several small packs or one large, whichever is predicted faster") {
  const std::vector<std::int32_t> tokens{100, 100, 100};
  const std::vector<Budget> budgets{{100, 9, 100}, {300, 9, 300}};
  CHECK(plan_packs(tokens, fixed_budgets(budgets, {10, 31})).packs.size() == 3);
  CHECK(plan_packs(tokens, fixed_budgets(budgets, {10, 29})).packs.size() == 1);
}

TEST_CASE("auto stays close to the least time that any partition has, and usually finds it") {
  std::mt19937 random(5);
  double worst = 1;
  int exact = 0;
  constexpr int kRounds = 300;
  for (int i = 0; i < kRounds; ++i) {
    const auto tokens = random_tokens(random, 2 + random() % 8, 100);
    const auto images = 2 + static_cast<std::int32_t>(random() % 8);
    const PlanLimits plan_limits = fixed_budgets({{100, images, 100}, {200, images, 200}, {400, images, 400}},
                                                 {1.3, 2.0 + static_cast<double>(random() % 10) / 10, 4});
    const Plan plan = plan_packs(tokens, plan_limits);
    check_times(plan);
    const double least = least_time(tokens, plan_limits);
    CHECK(plan.predicted_us >= least - 1e-9);
    worst = std::max(worst, plan.predicted_us / least);
    exact += plan.predicted_us <= least + 1e-9 ? 1 : 0;
  }
  std::printf("auto: the optimum in %d of %d, at worst %.3f times it\n", exact, kRounds, worst);
  CHECK(worst <= 1.34);
  CHECK(exact >= kRounds * 8 / 10);
}

TEST_CASE("auto pads attention no more than the best partition does where T is the pack's own") {
  std::mt19937 random(6);
  for (int i = 0; i < 200; ++i) {
    const auto tokens = random_tokens(random, 2 + random() % 8, 500);
    PlanLimits plan_limits = limits({{16384, 64, 768}}, Strategy::kAuto);
    plan_limits.base = Strategy::kSimilarLength;
    plan_limits.cost = {AttentionCost::kPadded, true, false, {{2000, 200, 0.5}}};
    PlanLimits filled = plan_limits;  // the target is where filling stops
    filled.budgets = {{768, 64, 768}};
    const double least = least_time(tokens, filled);
    const Plan plan = plan_packs(tokens, plan_limits);
    check_packs(plan.packs, tokens, plan_limits);
    // A set that fits one pack stays in one for up to a ninth, others for up to a hundredth.
    CHECK(plan.predicted_us <= least / (plan.packs.size() == 1 ? 0.90 : 0.99) + 1e-9);
    CHECK(plan.predicted_us >= least - 1e-9);
  }
}

TEST_CASE("auto is never predicted slower than any other strategy") {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const auto tokens = random_tokens(random, 1 + random() % 100, 1024);
    PlanLimits plan_limits = limits({{256, 8, 256}, {1024, 24, 1024}, {2048, 32, 2048}}, Strategy::kAuto);
    const double chosen = plan_packs(tokens, plan_limits).predicted_us;
    for (const Strategy strategy : {Strategy::kFirstFitDecreasing, Strategy::kBestFitDecreasing}) {
      plan_limits.strategy = strategy;
      CHECK(chosen <= plan_packs(tokens, plan_limits).predicted_us + 1e-9);
    }
  }
}

TEST_CASE("the lengths in each pack do not depend on the order of the images") {
  std::mt19937 random(8);
  for (int i = 0; i < 100; ++i) {
    auto tokens = random_tokens(random, 1 + random() % 80, 600);
    for (const Strategy strategy :
         {Strategy::kAuto, Strategy::kFirstFitDecreasing, Strategy::kBestFitDecreasing, Strategy::kSimilarLength}) {
      const PlanLimits plan_limits = limits({{300, 5, 300}, {1024, 12, 1024}}, strategy);
      const auto first = lengths_of(plan_packs(tokens, plan_limits).packs, tokens);
      auto shuffled = tokens;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      CHECK(lengths_of(plan_packs(shuffled, plan_limits).packs, shuffled) == first);
    }
  }
}

TEST_CASE("an image longer than the longest that a budget takes goes to a larger one or is refused") {
  const PlanLimits plan_limits = limits({{400, 9, 400, 100}, {800, 9, 800, 300}}, Strategy::kAuto);
  const std::vector<std::int32_t> tokens{200, 90, 100};
  const auto packs = plan_packs(tokens, plan_limits).packs;
  check_packs_within(packs, tokens, plan_limits);
  CHECK_THROWS_WITH_AS(plan_packs(std::vector<std::int32_t>{301}, plan_limits),
                       "the longest image that the engine takes", OverBudget);
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{400, 9, 400, 300}, {800, 9, 800, 100}})), "takes as many",
                       InvalidInput);
}

TEST_CASE("on two streams packs finish when the busier stream does") {
  const std::vector<std::int32_t> tokens{100, 100, 100, 100};
  PlanLimits plan_limits = limits({{100, 9, 100}}, Strategy::kSimilarLength);
  plan_limits.cost = {AttentionCost::kSegments, true, false, {{0, 1.1, 0}}};
  CHECK(std::abs(plan_packs(tokens, plan_limits).predicted_us - 440) < 1e-9);
  plan_limits.streams = 2;
  const Plan plan = plan_packs(tokens, plan_limits);
  CHECK(std::abs(plan.predicted_us - 400) < 1e-9);  // 1.1 times faster than one stream
  CHECK(std::abs(plan.packs[0].finish_us - 200) < 1e-9);
}

TEST_CASE("ten thousand images are planned in time that grows little faster than their number") {
  std::mt19937 random(4);
  const auto tokens = random_tokens(random, 10000, 1024);
  for (const Strategy strategy : {Strategy::kAuto, Strategy::kFirstFitDecreasing, Strategy::kBestFitDecreasing}) {
    const PlanLimits plan_limits = limits({{1024, 64, 1024}, {4096, 128, 4096}}, strategy);
    double ms = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const auto packs = plan_packs(tokens, plan_limits).packs;
      ms = std::min(ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
      check_packs_within(packs, tokens, plan_limits);
    }
    CHECK(ms < 500);  // a few ms; the quadratic way takes seconds under a sanitizer
    std::printf("10000 images by %s: %.2f ms\n", std::string(word_of(strategy)).c_str(), ms);
  }
}
