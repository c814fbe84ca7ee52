// Rules of other libraries are compared with these libraries in tests/conformance/test_sizing.py.
#include "navit_edge/sizing.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

PreprocessSpec under(SizingRule rule, std::int32_t patch_px) {
  PreprocessSpec preprocess;
  preprocess.sizing.rule = rule;
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

PreprocessSpec read(const std::string& json, std::int32_t patch_px = 16) {
  PreprocessSpec preprocess;
  preprocess.patch_px = patch_px;
  preprocess.sizing = parse_sizing(json, patch_px);
  return preprocess;
}

}  // namespace

TEST_CASE("a side is rounded to the nearest patch multiple, half up, and never to nothing") {
  CHECK(resize_target({224, 224}, under(Native{}, 16)) == Grid{14, 14});
  CHECK(resize_target({8, 24}, under(Native{}, 16)) == Grid{1, 2});
  CHECK(resize_target({23, 40}, under(Native{}, 16)) == Grid{1, 3});
  CHECK(resize_target({1, 1}, under(Native{}, 16)) == Grid{1, 1});
  CHECK(resize_target({7, 21}, under(Native{}, 14)) == Grid{1, 2});
}

TEST_CASE("the token cap takes the largest grid on the path of a growing image") {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int32_t> side(1, 2000);
  std::uniform_int_distribution<std::int32_t> cap(1, 1200);
  for (int i = 0; i < 2000; ++i) {
    const Size image{side(random), side(random)};
    const std::int32_t patch_px = i % 2 == 0 ? 16 : 14;
    const std::int32_t max_tokens = cap(random);
    const Grid grid = resize_target(image, under(TokenCap{max_tokens}, patch_px));
    CHECK(grid == largest_on_path(image, patch_px, max_tokens));
    CHECK(grid.tokens() <= max_tokens);
  }
  CHECK(resize_target({3000, 4000}, under(TokenCap{1024}, 16)) == Grid{27, 37});
  CHECK(resize_target({640, 640}, under(TokenCap{1024}, 16)) == Grid{32, 32});
  CHECK(resize_target({1, 4000}, under(TokenCap{10}, 16)) == Grid{1, 10});
}

TEST_CASE("the largest sides there are do not overflow") {
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  CHECK(resize_target({most, most}, under(TokenCap{100}, 1)) == Grid{10, 10});
  CHECK(resize_target({most, 1}, under(TokenCap{100}, 16)) == Grid{100, 1});
  CHECK(resize_target({most, most}, under(Native{}, 16)).tokens() == std::int64_t{134217728} * 134217728);
}

TEST_CASE("sizes and rules that make no sense are refused") {
  CHECK_THROWS_WITH_AS(resize_target({0, 10}, under(Native{}, 16)), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_target({10, -1}, under(Native{}, 16)), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "token-cap"})"), "max_tokens", BundleError);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "square"})"), "one of token-cap, native", BundleError);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "native"})", 0), "patch_px", InvalidInput);
}

TEST_CASE("every rule is read from JSON and gives its grid") {
  CHECK(resize_target({33, 31}, read(R"({"rule": "native", "fit": "pad"})")) == Grid{3, 2});
  CHECK(resize_target({33, 31}, read(R"({"rule": "native", "fit": "crop"})")) == Grid{2, 1});
  CHECK(resize_target({3, 5}, read(R"({"rule": "native", "fit": "crop"})")) == Grid{1, 1});
  CHECK(resize_target({10, 10}, read(R"({"rule": "token-cap", "max_tokens": 100, "upscale": true})")) == Grid{10, 10});
  CHECK(resize_target({480, 640}, read(R"({"rule": "naflex", "max_tokens": 256})")) == Grid{14, 18});
  CHECK(resize_target({70, 98}, read(R"({"rule": "smart-resize", "merge": 2, "min_pixels": 1, "max_pixels": 1000000})",
                                     14)) == Grid{4, 8});  // 2.5 and 3.5 cells of 28 px: both to the even neighbour
  CHECK(resize_target({1000, 2000}, read(R"({"rule": "longest-side", "longest_px": 500})")) == Grid{16, 32});
  CHECK(resize_target({100, 200}, read(R"({"rule": "longest-side", "longest_px": 500})")) == Grid{7, 13});
  CHECK(resize_target({100, 200}, read(R"({"rule": "longest-side", "longest_px": 500, "merge": 2})")) == Grid{8, 14});
  const PreprocessSpec budget = read(R"({"rule": "patch-budget", "merge": 3, "max_tokens": 2520})");
  CHECK(resize_target({100, 100}, budget) == Grid{48, 48});  // scaled up
  CHECK(resize_target({3000, 4000}, budget) == Grid{42, 57});
  CHECK(resize_target({1, 4000}, budget) == Grid{3, 840});
  CHECK(resize_target({7, 7}, read(R"({"rule": "patch-budget", "merge": 3, "max_tokens": 9})")) == Grid{3, 3});
  CHECK(resize_target({1, 1}, read(R"({"rule": "fixed", "height_px": 32, "width_px": 48})")) == Grid{2, 3});
}

TEST_CASE("navit-resize scales down, fills up to whole cells, and says which part of the grid an image covers") {
  PreprocessSpec rule = read(R"({"rule": "navit-resize", "max_tokens": 100, "longest_px": 224, "merge": 2})", 14);
  CHECK(resize_target({50, 90}, rule) == Grid{4, 8});
  Placement placement = placement_of({50, 90}, {4, 8}, rule);
  CHECK(placement.resized);
  CHECK(resized_size({50, 90}, placement) == Size{50, 90});
  CHECK(resize_target({300, 300}, rule) == Grid{12, 12});  // 21 x 21 whole patches: scaled by 10 / 21
  CHECK(resized_size({300, 300}, placement_of({300, 300}, {12, 12}, rule)) == Size{142, 142});
  CHECK(resized_size({300, 300}, placement_of({300, 300}, {6, 6}, rule)) == Size{84, 84});  // a policy's: covered whole
  rule.sizing = capped(rule.sizing, 14, 30);
  const Grid grid = resize_target({300, 300}, rule);
  CHECK(grid == Grid{4, 4});
  CHECK(resized_size({300, 300}, placement_of({300, 300}, grid, rule)).height_px <= 56);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "navit-resize", "max_tokens": 100, "longest_px": 224})"), "merge is 0",
                       BundleError);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "navit-resize", "longest_px": 224, "merge": 2})"), "max_tokens is 0",
                       BundleError);
}

TEST_CASE("longest-side with a merge keeps whole cells, under a cap too, and refuses a cap below one") {
  const PreprocessSpec merged = read(R"({"rule": "longest-side", "longest_px": 500, "merge": 2})");
  PreprocessSpec under_cap = merged;
  under_cap.sizing = capped(merged.sizing, merged.patch_px, 50);
  const Grid grid = resize_target({100, 200}, under_cap);
  CHECK(grid == Grid{4, 10});
  CHECK_THROWS_WITH_AS(capped(merged.sizing, merged.patch_px, 3), "longest-side merges 4 patches to one", InvalidInput);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "longest-side", "longest_px": 500, "merge": -1})"), "merge", BundleError);
  CHECK_THROWS_WITH_AS(read(R"({"rule": "longest-side", "longest_px": 500, "merge": 1025})"), "merge of 0 to 1024",
                       BundleError);
  constexpr std::int32_t most = 2147483647;
  CHECK(resize_target({most, most}, read(R"({"rule": "longest-side", "longest_px": 2147483647, "merge": 2})", 1)) ==
        Grid{most - 1, most - 1});
}

TEST_CASE("an image is placed where its grid is the padded or cropped one, and resized onto any other") {
  PreprocessSpec preprocess = read(R"({"rule": "native", "fit": "crop"})");
  Placement placement = placement_of({50, 9}, {3, 1}, preprocess);
  CHECK(!placement.resized);
  CHECK(placement.top_px == -1);
  CHECK(placement.left_px == 3);
  CHECK(placement.scale_y == 1);
  CHECK(placement_of({51, 16}, {3, 1}, preprocess).top_px == -2);  // 1.5 rounds to even, as in Python
  CHECK(placement_of({53, 16}, {3, 1}, preprocess).top_px == -2);  // 2.5, too
  placement = placement_of({50, 20}, {2, 1}, preprocess);
  CHECK(placement.resized);
  CHECK(placement.scale_y == 32.0 / 50);
  CHECK(placement.scale_x == 16.0 / 20);
  preprocess.sizing.rule = Native{Fit::kPad};
  CHECK(!placement_of({50, 9}, {4, 1}, preprocess).resized);
  CHECK(placement_of({50, 9}, {3, 1}, preprocess).resized);
  preprocess.sizing.rule = Native{};
  CHECK(placement_of({50, 9}, {4, 1}, preprocess).resized);
}
