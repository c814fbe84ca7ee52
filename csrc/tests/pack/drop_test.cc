// Packs from which patches are dropped: judged by the same packs with all of them, row by row.
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

constexpr std::int32_t kSide = 4;
constexpr std::int32_t kPrefix = 2;
constexpr std::size_t kPatchBytes = 3 * kSide * kSide;

/// Paper, with noise in the rectangle of patches from (top, left) to (bottom, right).
struct Page {
  Page(Grid grid, std::int32_t top, std::int32_t left, std::int32_t bottom, std::int32_t right)
      : pixels(static_cast<std::size_t>(grid.tokens()) * kPatchBytes, 240) {
    std::mt19937 random(17);
    const std::int32_t width = kSide * grid.cols;
    for (std::int32_t y = kSide * top; y < kSide * bottom; ++y) {
      for (std::int32_t i = 3 * kSide * left; i < 3 * kSide * right; ++i) {
        pixels[static_cast<std::size_t>(y * 3 * width + i)] = static_cast<std::uint8_t>(random());
      }
    }
    view = {pixels.data(), kSide * grid.rows, width, 3, 0};
  }
  std::vector<std::uint8_t> pixels;
  ImageView view;
};

struct Setup {
  Setup() {
    spec.preprocess.sizing.rule = Native{};
    spec.preprocess.patch_px = kSide;
    spec.model.prefix_tokens = kPrefix;
    spec.graph.id = "padded";
    const Dim tokens{'T', 0};
    const Dim images{'N', 0};
    spec.graph.inputs = {{"segment_ids", DType::kInt32, {tokens}},  // before the patches: they say how many there are
                         {"patches", DType::kUInt8, {tokens, {'\0', kPatchBytes}}},
                         {"positions", DType::kInt32, {tokens, {'\0', 2}}},
                         {"grid_hw", DType::kInt32, {images, {'\0', 2}}},
                         {"attention_index", DType::kInt32, {images, {'L', 0}}},
                         {"token_index", DType::kInt32, {tokens}},
                         {"cu_seqlens", DType::kInt32, {{'N', 1}}}};
    spec.budgets = {{1000, 8, 1000, 0}};
    spec.dynamic_tokens = true;
  }

  Pack write(const std::vector<Page>& pages, const std::vector<Dropping>& drops = {}, int threads = 1) const {
    std::vector<ImageView> views;
    std::vector<Grid> grids;
    PackPlan plan;
    for (const Page& page : pages) {
      plan.images.push_back(static_cast<std::int32_t>(views.size()));
      views.push_back(page.view);
      grids.push_back(resize_target(page.view.size(), spec.preprocess));
    }
    Pack pack;
    PackWriter(spec).write(plan, views, grids, threads, pack, drops);
    return pack;
  }

  PackSpec spec;
};

const std::uint8_t* patch(const Pack& pack, std::int64_t row) {
  return pack.inputs[1].as<std::uint8_t>() + static_cast<std::size_t>(row) * kPatchBytes;
}

/// Whether `pack` holds of each image of `whole` what its segment keeps, and nothing else.
void check_subset(const Pack& pack, const Pack& whole) {
  std::int32_t row = 0;
  for (std::size_t s = 0; s < whole.segments.size(); ++s) {
    const Segment& segment = pack.segments[s];
    CHECK(segment.first_token == row);
    CHECK(pack.inputs[6].as<std::int32_t>()[s] == row);
    for (std::int64_t i = 0; i < kPrefix + segment.patches(); ++i, ++row) {
      const std::int64_t own =
          i < kPrefix || segment.kept == nullptr ? i : kPrefix + (*segment.kept)[static_cast<std::size_t>(i - kPrefix)];
      const std::int64_t from = whole.segments[s].first_token + own;
      CHECK(std::memcmp(patch(pack, row), patch(whole, from), kPatchBytes) == 0);
      CHECK(std::equal(pack.inputs[2].as<std::int32_t>() + 2 * row, pack.inputs[2].as<std::int32_t>() + 2 * row + 2,
                       whole.inputs[2].as<std::int32_t>() + 2 * from));
      CHECK(pack.inputs[0].as<std::int32_t>()[row] == static_cast<std::int32_t>(s));
    }
  }
  CHECK(row == pack.used_tokens);
  CHECK(pack.tokens == row);
  CHECK(std::equal(pack.inputs[3].as<std::int32_t>(), pack.inputs[3].as<std::int32_t>() + 2 * pack.images,
                   whole.inputs[3].as<std::int32_t>()));
}

}  // namespace

TEST_CASE("a pack holds what is kept of each image, and what is not blank, beside whole ones") {
  const Setup setup;
  std::vector<Page> pages;
  pages.emplace_back(Grid{9, 7}, 2, 1, 4, 3);
  pages.emplace_back(Grid{5, 5}, 0, 0, 5, 5);
  pages.emplace_back(Grid{6, 8}, 0, 0, 6, 8);
  pages.emplace_back(Grid{8, 8}, 0, 0, 0, 0);
  const Pack whole = setup.write(pages);
  const auto some = std::make_shared<const KeptPatches>(KeptPatches{0, 3, 4, 17, 47});
  for (const int threads : {1, 3}) {
    const Pack pack = setup.write(pages, {{nullptr, 16}, {nullptr, 16}, {some, -1}, {nullptr, 16}}, threads);
    check_subset(pack, whole);
    REQUIRE(pack.segments[0].kept != nullptr);
    KeptPatches around;
    for (std::int32_t r = 1; r < 5; ++r) {
      for (std::int32_t c = 0; c < 4; ++c) around.push_back(7 * r + c);
    }
    CHECK(*pack.segments[0].kept == around);
    CHECK(pack.segments[1].kept == nullptr);
    CHECK(pack.segments[2].kept == some);
    CHECK(*pack.segments[3].kept == KeptPatches{0});
    check_subset(setup.write(pages, {{}, {}, {some, -1}, {}}, threads), whole);
  }
}

TEST_CASE("what is found blank on its own is what a pack finds") {
  const Setup setup;
  std::vector<Page> pages;
  pages.emplace_back(Grid{9, 7}, 2, 1, 4, 3);
  const Pack pack = setup.write(pages, {{nullptr, 16}});
  CHECK(*patches_that_are_not_blank(pages[0].view, {9, 7}, setup.spec.preprocess, 16) == *pack.segments[0].kept);
  CHECK(patches_that_are_not_blank(pages[0].view, {3, 2}, setup.spec.preprocess, 0) == nullptr);
}

TEST_CASE("patches that are not some of the grid are refused") {
  const Setup setup;
  std::vector<Page> pages;
  pages.emplace_back(Grid{3, 3}, 0, 0, 3, 3);
  for (const KeptPatches& wrong : {KeptPatches{}, {9}, {-1}, {2, 2}, {4, 3}}) {
    const std::vector<Dropping> drops{{std::make_shared<const KeptPatches>(wrong), -1}};
    CHECK_THROWS_WITH_AS(setup.write(pages, drops), "are not some of its grid of 3 x 3", InvalidInput);
  }
  CHECK_THROWS_WITH_AS(setup.write(pages, {{}, {}}), "2 times what is dropped", InvalidInput);
}
