#include "navit_edge/plan.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "navit_edge/error.h"

using namespace navit_edge;

namespace {

PlanLimits limits(std::vector<Budget> budgets, Strategy strategy = Strategy::kFirstFitDecreasing) {
  return {std::move(budgets), strategy};
}

/// Every image once; sums right; no limit broken; the smallest budget that holds the pack.
void check_plan(const std::vector<PackPlan>& packs, const std::vector<std::int32_t>& tokens, const PlanLimits& limits) {
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
  CHECK_THROWS_WITH_AS(parse_strategy("best"), "known: first-fit-decreasing, similar-length", InvalidInput);
  CHECK(parse_strategy("similar-length") == Strategy::kSimilarLength);
}

TEST_CASE("first fit decreasing packs as the textbook does") {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const auto tokens = random_tokens(random, 1 + static_cast<std::size_t>(i), 300);
    const PlanLimits plan_limits = limits({{128, 4, 128}, {512, 7, 512}});
    const auto packs = plan_packs(tokens, plan_limits);
    check_plan(packs, tokens, plan_limits);
    const auto expected = textbook_first_fit_decreasing(tokens, plan_limits.budgets.back());
    REQUIRE(packs.size() == expected.size());
    for (std::size_t p = 0; p < packs.size(); ++p) CHECK(packs[p].images == expected[p]);
  }
}

TEST_CASE("similar lengths lie together, longest first, up to the target") {
  const PlanLimits plan_limits = limits({{100, 3, 50}}, Strategy::kSimilarLength);
  const std::vector<std::int32_t> tokens{10, 60, 20, 10, 30, 10, 10, 10};
  const auto packs = plan_packs(tokens, plan_limits);
  check_plan(packs, tokens, plan_limits);
  REQUIRE(packs.size() == 4);
  CHECK(packs[0].images == std::vector<std::int32_t>{1});  // above the target, within the budget: alone
  CHECK(packs[1].images == std::vector<std::int32_t>{4, 2});
  CHECK(packs[2].images == std::vector<std::int32_t>{0, 3, 5});  // equal lengths keep their order
  CHECK(packs[3].images == std::vector<std::int32_t>{6, 7});
}

TEST_CASE("every image is planned once within the limits, under both strategies") {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    const auto tokens = random_tokens(random, static_cast<std::size_t>(random() % 60), 1024);
    for (const Strategy strategy : {Strategy::kFirstFitDecreasing, Strategy::kSimilarLength}) {
      const PlanLimits plan_limits =
          limits({{256, 8, 256}, {1024, 3, 700}, {2048, 1 + static_cast<std::int32_t>(random() % 9), 1500}}, strategy);
      check_plan(plan_packs(tokens, plan_limits), tokens, plan_limits);
    }
  }
}

TEST_CASE("an image above every budget is named with the remedy") {
  const std::vector<std::int32_t> tokens{10, 20, 30, 5200};
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{1024, 8, 1024}, {4096, 8, 4096}})),
                       "image 3 needs 5200 tokens; the largest budget is 4096; rebuild with --token-budgets "
                       "1024,4096,8192 or lower max_tokens_per_image",
                       OverBudget);
}

TEST_CASE("limits that make no sense are refused") {
  const std::vector<std::int32_t> tokens{10};
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({})), "no token budget", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{100, 0, 100}})), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(tokens, limits({{100, 1, 100}, {100, 2, 100}})), "ascend", InvalidInput);
  CHECK_THROWS_WITH_AS(plan_packs(std::vector<std::int32_t>{5, 0}, limits({{100, 1, 100}})), "image 1", InvalidInput);
  CHECK(plan_packs(std::vector<std::int32_t>{}, limits({{100, 1, 100}})).empty());
}

TEST_CASE("ten thousand images are planned in time that grows little faster than their number") {
  std::mt19937 random(4);
  const auto tokens = random_tokens(random, 10000, 1024);
  const PlanLimits plan_limits = limits({{1024, 64, 1024}});
  const auto start = std::chrono::steady_clock::now();
  const auto packs = plan_packs(tokens, plan_limits);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  check_plan(packs, tokens, plan_limits);
  CHECK(ms < 500);  // about 2 ms; the quadratic way takes seconds under a sanitizer
  std::printf("10000 images, %zu packs: %.2f ms\n", packs.size(), ms);
}
