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

PreprocessSpec rule(std::string name, std::int32_t patch_px, std::int32_t max_tokens) {
  PreprocessSpec preprocess;
  preprocess.sizing = {std::move(name), max_tokens};
  preprocess.filter = "bilinear";
  preprocess.patch_px = patch_px;
  return preprocess;
}

/// The rule as docs/preprocessing.md words it, by brute force: of all grids on the path of a growing image, the largest
/// under the cap. A side of `px` pixels scaled by s = num / den has round-half-up(px * s / P) patches, at least one.
Grid largest_on_path(Size image, std::int32_t patch_px, std::int32_t max_tokens) {
  const auto native = [&](std::int32_t px) { return std::max(1, (2 * px + patch_px) / (2 * patch_px)); };
  const Grid whole{native(image.height_px), native(image.width_px)};
  if (whole.tokens() <= max_tokens) return whole;
  // Boundaries of both axes as fractions of the scale, sorted; rows go first at equal scale.
  struct Step {
    std::int64_t num, den;
    bool rows;
  };
  std::vector<Step> steps;
  for (std::int32_t r = 1; r < whole.rows; ++r) steps.push_back({2 * r + 1, image.height_px, true});
  for (std::int32_t c = 1; c < whole.cols; ++c) steps.push_back({2 * c + 1, image.width_px, false});
  std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
    const std::int64_t left = a.num * b.den;
    const std::int64_t right = b.num * a.den;
    return left != right ? left < right : (a.rows && !b.rows);
  });
  Grid grid{1, 1};
  for (const Step& step : steps) {
    const Grid next{grid.rows + (step.rows ? 1 : 0), grid.cols + (step.rows ? 0 : 1)};
    if (next.tokens() > max_tokens) break;
    grid = next;
  }
  return grid;
}

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

TEST_CASE("a side is rounded to the nearest patch multiple, half up, and never to nothing") {
  CHECK(resize_target({224, 224}, rule("native", 16, 0)) == Grid{14, 14});
  CHECK(resize_target({8, 24}, rule("native", 16, 0)) == Grid{1, 2});
  CHECK(resize_target({23, 40}, rule("native", 16, 0)) == Grid{1, 3});
  CHECK(resize_target({1, 1}, rule("native", 16, 0)) == Grid{1, 1});
  CHECK(resize_target({7, 21}, rule("native", 14, 0)) == Grid{1, 2});
}

TEST_CASE("the token cap takes the largest grid on the path of a growing image") {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int32_t> side(1, 2000);
  std::uniform_int_distribution<std::int32_t> cap(1, 1200);
  for (int i = 0; i < 2000; ++i) {
    const Size image{side(random), side(random)};
    const std::int32_t patch_px = i % 2 == 0 ? 16 : 14;
    const std::int32_t max_tokens = cap(random);
    const Grid grid = resize_target(image, rule("token-cap", patch_px, max_tokens));
    CHECK(grid == largest_on_path(image, patch_px, max_tokens));
    CHECK(grid.tokens() <= max_tokens);
  }
  CHECK(resize_target({3000, 4000}, rule("token-cap", 16, 1024)) == Grid{27, 37});
  CHECK(resize_target({640, 640}, rule("token-cap", 16, 1024)) == Grid{32, 32});
  CHECK(resize_target({1, 4000}, rule("token-cap", 16, 10)) == Grid{1, 10});
}

TEST_CASE("the largest sides there are do not overflow") {
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  CHECK(resize_target({most, most}, rule("token-cap", 1, 100)) == Grid{10, 10});
  CHECK(resize_target({most, 1}, rule("token-cap", 16, 100)) == Grid{100, 1});
  CHECK(resize_target({most, most}, rule("native", 16, 0)).tokens() == std::int64_t{134217728} * 134217728);
}

TEST_CASE("sizes and rules that make no sense are refused") {
  CHECK_THROWS_WITH_AS(resize_target({0, 10}, rule("native", 16, 0)), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_target({10, -1}, rule("native", 16, 0)), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_target({10, 10}, rule("token-cap", 16, 0)), "max_tokens", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_target({10, 10}, rule("square", 16, 0)), "known: token-cap, native", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_target({10, 10}, rule("native", 0, 0)), "patch_px", InvalidInput);
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
