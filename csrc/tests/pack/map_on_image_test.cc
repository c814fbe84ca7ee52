#include "pack/map_on_image.h"

#include <cmath>
#include <memory>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/placement.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

Result placed(Size image, Grid grid, Fit fit) {
  PreprocessSpec preprocess;
  preprocess.patch_px = 4;
  Native native;
  native.fit = fit;
  preprocess.sizing.rule = native;
  Result result;
  result.image = image;
  result.grid = grid;
  result.placement = placement_of(image, grid, preprocess);
  return result;
}

}  // namespace

TEST_CASE("a value between two centres is between theirs, and at the edge that of the edge") {
  const Result result = placed({4, 8}, {1, 2}, Fit::kResize);
  const std::vector<float> values{0, 8};
  const std::vector<float> found = result.on_image(values, 1);
  const std::vector<float> row{0, 0, 1, 3, 5, 7, 8, 8};
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - row[i % 8]) < 1e-6F);
  MapOptions nearest;
  nearest.filter = Filter::kNearest;
  nearest.size = {1, 4};
  CHECK(result.on_image(values, 1, nearest) == std::vector<float>{0, 0, 8, 8});
}

TEST_CASE("there is no data where the image was cropped and where a patch was dropped") {
  Result result = placed({6, 10}, {1, 2}, Fit::kCrop);
  const std::vector<float> values{1, 10, 2, 20};
  const std::vector<float> found = result.on_image(values, 2);
  CHECK(found.size() == 120);
  for (std::size_t y = 0; y < 6; ++y) {
    for (std::size_t x = 0; x < 10; ++x) {
      CHECK(std::isnan(found[(y * 10 + x) * 2]) == (y < 1 || y >= 5 || x < 1 || x >= 9));
    }
  }
  result.kept = std::make_shared<const KeptPatches>(KeptPatches{1});
  MapOptions options;
  options.fill = -1;
  const std::vector<float> kept = result.on_image(std::vector<float>{2, 20}, 2, options);
  for (std::size_t x = 0; x < 10; ++x) CHECK(kept[(2 * 10 + x) * 2 + 1] == (x >= 5 && x < 9 ? 20.0F : -1.0F));
}

TEST_CASE("rows of merged cells are told by their number") {
  const Result result = placed({16, 8}, {4, 2}, Fit::kResize);
  MapOptions nearest;
  nearest.filter = Filter::kNearest;
  const std::vector<float> found = result.on_image(std::vector<float>{3, 4}, 1, nearest);
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == (i < 64 ? 3.0F : 4.0F));
}

TEST_CASE("values that are no map are refused") {
  const Result result = placed({16, 8}, {4, 2}, Fit::kResize);
  const std::vector<float> three(3);
  CHECK_THROWS_WITH_AS(result.on_image(three, 1), "3 rows of values for 8 patches on a grid of 4 x 2", InvalidInput);
  CHECK_THROWS_WITH_AS(result.on_image(three, 2), "expected whole rows", InvalidInput);
  CHECK_THROWS_WITH_AS(result.on_image(three, 0), "expected whole rows", InvalidInput);
  MapOptions options;
  options.size = {3, 0};
  CHECK_THROWS_WITH_AS(result.on_image(std::vector<float>(8), 1, options), "the size is 3 x 0", InvalidInput);
  options.size = {};
  options.filter = Filter::kBox;
  CHECK_THROWS_WITH_AS(result.on_image(std::vector<float>(8), 1, options), "expected bilinear or nearest",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(Result().on_image(three, 1), "where its image lies", InvalidInput);
}
