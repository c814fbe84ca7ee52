// Judged by a plain restatement of the graph contract: resize, then cut into patches, one value at a time.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

using Ints = std::vector<std::int32_t>;

struct Picture {
  Picture(std::mt19937& random, std::int32_t height, std::int32_t width)
      : pixels(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3) {
    for (auto& byte : pixels) byte = static_cast<std::uint8_t>(random());
    view = {pixels.data(), height, width, 3, 0};
  }
  std::vector<std::uint8_t> pixels;
  ImageView view;
};

Dim letter(char symbol) { return {symbol, 0}; }
Dim fixed(std::int64_t extent) { return {'\0', extent}; }

struct Setup {
  explicit Setup(std::int32_t patch_px = 4, std::int32_t prefix = 0) {
    preprocess.sizing.rule = Native{};
    preprocess.patch_px = patch_px;
    model.prefix_tokens = prefix;
    graph.id = "padded";
    graph.inputs = {{"patches", DType::kUInt8, {letter('T'), fixed(std::int64_t{3} * patch_px * patch_px)}},
                    {"positions", DType::kInt32, {letter('T'), fixed(2)}},
                    {"segment_ids", DType::kInt32, {letter('T')}},
                    {"grid_hw", DType::kInt32, {letter('N'), fixed(2)}},
                    {"attention_index", DType::kInt32, {letter('N'), letter('L')}},
                    {"token_index", DType::kInt32, {letter('T')}},
                    {"cu_seqlens", DType::kInt32, {{'N', 1}}}};
  }

  Pack write(const std::vector<Picture>& pictures, const Ints& order, bool dynamic = true, int threads = 1,
             std::int32_t quantum = 1) {
    views.clear();
    for (const Picture& picture : pictures) views.push_back(picture.view);
    grids.clear();
    for (const ImageView& view : views) grids.push_back(resize_target(view.size(), preprocess));
    PackPlan plan;
    plan.images = order;
    Pack pack;
    writer(dynamic, quantum).write(plan, views, grids, threads, pack);
    return pack;
  }

  [[nodiscard]] PackWriter writer(bool dynamic = true, std::int32_t quantum = 1) const {
    return PackWriter({preprocess, model, graph, {budget}, dynamic, quantum});
  }

  PreprocessSpec preprocess;
  ModelSpec model;
  GraphSpec graph;
  Budget budget{4096, 16, 4096};
  std::vector<ImageView> views;
  std::vector<Grid> grids;
};

const HostTensor& input(const Pack& pack, const std::string& name) {
  const auto found =
      std::find_if(pack.inputs.begin(), pack.inputs.end(), [&](const HostTensor& one) { return one.name() == name; });
  if (found == pack.inputs.end()) throw std::runtime_error("no input " + name);
  return *found;
}

Ints ints(const Pack& pack, const std::string& name) {
  const HostTensor& tensor = input(pack, name);
  return {tensor.as<std::int32_t>(), tensor.as<std::int32_t>() + tensor.bytes() / 4};
}

std::vector<std::uint8_t> patches(const Pack& pack) {
  const HostTensor& tensor = input(pack, "patches");
  return {tensor.as<std::uint8_t>(), tensor.as<std::uint8_t>() + tensor.bytes()};
}

/// The patches of one image in (row, column, channel) order, row-major over the grid.
std::vector<std::uint8_t> plain_patches(const ImageView& view, Grid grid, std::int32_t patch_px) {
  const Size target{grid.rows * patch_px, grid.cols * patch_px};
  std::vector<std::uint8_t> resized(static_cast<std::size_t>(target.height_px) *
                                    static_cast<std::size_t>(target.width_px) * 3);
  resize_image(view, target, Filter::kBilinear, resized.data());
  std::vector<std::uint8_t> out;
  for (std::int32_t r = 0; r < grid.rows; ++r) {
    for (std::int32_t c = 0; c < grid.cols; ++c) {
      for (std::int32_t i = 0; i < patch_px; ++i) {
        for (std::int32_t j = 0; j < patch_px; ++j) {
          for (std::int32_t k = 0; k < 3; ++k) {
            out.push_back(
                resized[static_cast<std::size_t>(((r * patch_px + i) * target.width_px + c * patch_px + j) * 3 + k)]);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("the pixels of every image lie in patch order, images one after another, prefix rows zero") {
  std::mt19937 random(7);
  for (const std::int32_t patch_px : {4, 14, 16}) {
    for (const std::int32_t prefix : {0, 2}) {
      Setup setup(patch_px, prefix);
      std::vector<Picture> pictures;
      for (int i = 0; i < 5; ++i) {
        pictures.emplace_back(random, 1 + static_cast<std::int32_t>(random() % 90),
                              1 + static_cast<std::int32_t>(random() % 90));
      }
      pictures.emplace_back(random, 3 * patch_px, 2 * patch_px);  // needs no resize
      const Ints order{5, 0, 3, 1};
      const Pack pack = setup.write(pictures, order);
      const std::size_t patch_bytes = static_cast<std::size_t>(patch_px * patch_px * 3);
      std::vector<std::uint8_t> expected;
      for (const std::int32_t image : order) {
        expected.insert(expected.end(), static_cast<std::size_t>(prefix) * patch_bytes, 0);
        const auto at = static_cast<std::size_t>(image);
        const auto own = plain_patches(setup.views[at], setup.grids[at], patch_px);
        expected.insert(expected.end(), own.begin(), own.end());
      }
      CHECK(patches(pack) == expected);
      CHECK(pack.used_tokens == static_cast<std::int32_t>(expected.size() / patch_bytes));
      CHECK(pack.tokens == pack.used_tokens);
    }
  }
}

TEST_CASE("an image in any format gives the patches of its conversion to RGB, resized or not, in bands or whole") {
  std::mt19937 random(15);
  for (const std::int32_t side : {48, 200}) {
    Setup setup(16);
    setup.preprocess.sizing.rule = TokenCap{40};
    setup.preprocess.alpha = Alpha::kComposite;
    setup.preprocess.background = {10, 200, 90};
    const std::size_t area = static_cast<std::size_t>(side * side);
    std::vector<std::uint8_t> pixels(4 * area);
    for (auto& byte : pixels) byte = static_cast<std::uint8_t>(random());
    const auto view = [&](PixelFormat format, std::int32_t channels) {
      return ImageView{pixels.data(), side, side, channels, 0, format};
    };
    ImageView nv12 = view(PixelFormat::kNv12, 1);
    nv12.planes[0] = pixels.data() + area;
    ImageView i420 = view(PixelFormat::kI420, 1);
    i420.planes[0] = pixels.data() + area;
    i420.planes[1] = pixels.data() + area + area / 4;
    i420.matrix = YuvMatrix::kBt709;
    i420.range = YuvRange::kFull;
    for (const ImageView& image : {view(PixelFormat::kRgb, 3), view(PixelFormat::kBgr, 3), view(PixelFormat::kRgbx, 4),
                                   view(PixelFormat::kBgrx, 4), view(PixelFormat::kRgba, 4),
                                   view(PixelFormat::kBgra, 4), view(PixelFormat::kGray, 1), nv12, i420}) {
      std::vector<std::uint8_t> rgb(3 * area);
      convert_to_rgb(image, setup.preprocess.alpha, setup.preprocess.background, rgb.data());
      std::vector<Picture> pictures;
      pictures.emplace_back(random, 1, 1);
      pictures[0].view = image;
      const auto found = patches(setup.write(pictures, {0}));
      CHECK(found == plain_patches({rgb.data(), side, side, 3, 0}, setup.grids[0], 16));
      CHECK(patches(setup.write(pictures, {0}, true, 3)) == found);
    }
  }
}

TEST_CASE("an alpha channel is refused where the preprocess says so") {
  std::mt19937 random(16);
  Setup setup;
  setup.preprocess.alpha = Alpha::kReject;
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 8, 8);
  pictures[0].view = {pictures[0].pixels.data(), 6, 8, 4, 0};
  CHECK_THROWS_WITH_AS(setup.write(pictures, {0}), "image 0 has an alpha channel", InvalidInput);
}

TEST_CASE("the index inputs say what the graph contract says") {
  std::mt19937 random(8);
  Setup setup(4, 1);
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 8, 12);  // 2 x 3
  pictures.emplace_back(random, 4, 4);   // 1 x 1
  const Pack pack = setup.write(pictures, {1, 0});
  CHECK(pack.images == 2);
  CHECK(pack.longest == 7);
  CHECK(ints(pack, "positions") == Ints{-1, -1, 0, 0, -1, -1, 0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2});
  CHECK(ints(pack, "segment_ids") == Ints{0, 0, 1, 1, 1, 1, 1, 1, 1});
  CHECK(ints(pack, "grid_hw") == Ints{1, 1, 2, 3});
  CHECK(ints(pack, "attention_index") == Ints{0, 1, -1, -1, -1, -1, -1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(ints(pack, "token_index") == Ints{0, 1, 7, 8, 9, 10, 11, 12, 13});
  CHECK(ints(pack, "cu_seqlens") == Ints{0, 2, 9});
  REQUIRE(pack.segments.size() == 2);
  CHECK(pack.segments[0].image == 1);
  CHECK(pack.segments[1].image == 0);
  CHECK(pack.segments[1].first_token == 2);
  CHECK(pack.segments[1].grid == Grid{2, 3});
}

TEST_CASE("a static engine's pack is padded to its budget in tokens and images") {
  std::mt19937 random(9);
  Setup setup(4, 2);
  setup.budget = {12, 4, 12};
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 8, 8);
  const Pack dynamic = setup.write(pictures, {0});
  const Pack pack = setup.write(pictures, {0}, false);
  CHECK(pack.tokens == 12);
  CHECK(pack.used_tokens == 6);
  CHECK(pack.images == 4);
  CHECK(ints(pack, "segment_ids") == Ints{0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4});
  CHECK(ints(pack, "positions") == Ints{-1, -1, -2, -2, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(ints(pack, "grid_hw") == Ints{2, 2, 1, 1, 1, 1, 1, 1});
  CHECK(ints(pack, "attention_index") ==
        Ints{0, 1, 2, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1});
  CHECK(ints(pack, "token_index") == Ints{0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0});
  CHECK(ints(pack, "cu_seqlens") == Ints{0, 6, 6, 6, 6});  // padding rows are no image's
  auto expected = patches(dynamic);
  expected.resize(12 * 48, 0);
  CHECK(patches(pack) == expected);
}

TEST_CASE("a padded or cropped image keeps its pixels, and the colour fills the rest") {
  std::mt19937 random(12);
  Setup setup(4);
  std::vector<Picture> pictures;
  for (const auto& [height, width] : std::vector<std::pair<int, int>>{{9, 14}, {3, 18}, {18, 3}, {8, 8}, {1, 1}}) {
    pictures.emplace_back(random, height, width);
  }
  const Rgb colour{5, 6, 7};
  for (const Fit fit : {Fit::kPad, Fit::kCrop}) {
    setup.preprocess.sizing.rule = Native{fit, colour};
    for (const int threads : {1, 3}) {
      const Pack pack = setup.write(pictures, {0, 1, 2, 3, 4}, true, threads);
      const auto found = patches(pack);
      std::size_t at = 0;
      for (const Segment& segment : pack.segments) {
        const ImageView& view = setup.views[static_cast<std::size_t>(segment.image)];
        const Grid grid = segment.grid;
        CHECK(!segment.placement.resized);
        for (std::int32_t t = 0; t < grid.tokens(); ++t) {
          for (std::int32_t i = 0; i < 16; ++i) {  // pixels of a patch
            const std::int32_t y = t / grid.cols * 4 + i / 4 - segment.placement.top_px;
            const std::int32_t x = t % grid.cols * 4 + i % 4 - segment.placement.left_px;
            const bool inside = y >= 0 && x >= 0 && y < view.height_px && x < view.width_px;
            const std::uint8_t* pixel = inside ? view.data + (y * view.width_px + x) * 3 : colour.data();
            CHECK(std::memcmp(found.data() + at, pixel, 3) == 0);
            at += 3;
          }
        }
      }
      CHECK(at == found.size());
    }
  }
}

TEST_CASE("the number of threads does not change a byte") {
  std::mt19937 random(10);
  Setup setup(16);
  setup.budget.tokens = 1 << 20;
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 701, 433);
  pictures.emplace_back(random, 30, 1000);
  pictures.emplace_back(random, 512, 512);
  pictures.emplace_back(random, 3, 3);
  setup.preprocess.sizing.rule = TokenCap{300};
  const Ints order{2, 0, 1, 3};
  const auto one = patches(setup.write(pictures, order, true, 1));
  for (const int threads : {2, 3, 8}) CHECK(patches(setup.write(pictures, order, true, threads)) == one);
}

TEST_CASE("a pack's buffers are used again and keep nothing of the pack before") {
  std::mt19937 random(11);
  Setup setup(4, 1);
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 40, 40);
  pictures.emplace_back(random, 9, 5);
  const Pack fresh = setup.write(pictures, {1});
  Pack reused = setup.write(pictures, {0});
  const std::byte* before = input(reused, "patches").data();
  PackPlan plan;
  plan.images = {1};
  setup.writer().write(plan, setup.views, setup.grids, 1, reused);
  CHECK(input(reused, "patches").data() == before);
  for (const HostTensor& tensor : fresh.inputs) {
    const HostTensor& other = input(reused, tensor.name());
    REQUIRE(other.bytes() == tensor.bytes());
    CHECK(std::memcmp(other.data(), tensor.data(), tensor.bytes()) == 0);
  }
}

TEST_CASE("T and L are rounded up with rows that belong to no image, and the images' own rows stay as they are") {
  std::mt19937 random(21);
  for (const std::int32_t prefix : {0, 1}) {
    Setup setup(4, prefix);
    std::vector<Picture> pictures;
    pictures.emplace_back(random, 20, 16);
    pictures.emplace_back(random, 12, 12);
    const Pack plain = setup.write(pictures, {0, 1});
    for (const std::int32_t quantum : {1, 2, 7, 8, 32}) {
      const Pack pack = setup.write(pictures, {0, 1}, true, 1, quantum);
      CHECK(pack.used_tokens == plain.tokens);
      CHECK(pack.images == 2);
      CHECK(pack.tokens % quantum == 0);
      CHECK(pack.tokens - plain.tokens < quantum);
      CHECK(pack.longest % quantum == 0);
      CHECK(pack.longest - plain.longest < quantum);
      const auto starts_alike = [&](const auto& longer, const auto& shorter) {
        return std::equal(shorter.begin(), shorter.end(), longer.begin());
      };
      CHECK(starts_alike(patches(pack), patches(plain)));
      CHECK(starts_alike(ints(pack, "positions"), ints(plain, "positions")));
      const Ints ids = ints(pack, "segment_ids");
      CHECK(starts_alike(ids, ints(plain, "segment_ids")));
      CHECK(std::all_of(ids.begin() + plain.tokens, ids.end(), [](std::int32_t id) { return id == 2; }));
      CHECK(ints(pack, "grid_hw") == ints(plain, "grid_hw"));
      CHECK(ints(pack, "cu_seqlens") == ints(plain, "cu_seqlens"));
      const Ints index = ints(pack, "attention_index");
      const Ints token_index = ints(pack, "token_index");
      REQUIRE(index.size() == static_cast<std::size_t>(2 * pack.longest));
      for (std::int32_t t = 0; t < pack.used_tokens; ++t) {
        CHECK(index[static_cast<std::size_t>(token_index[static_cast<std::size_t>(t)])] == t);
      }
      CHECK(std::count(index.begin(), index.end(), -1) == 2 * pack.longest - pack.used_tokens);
    }
  }
}

TEST_CASE(
    "rounding stays within the budget and its longest image, and is the same with a cap of the sizing rule as "
    "without") {
  std::mt19937 random(22);
  Setup setup;
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 20, 20);  // 25 tokens
  setup.budget.tokens = 27;
  CHECK(setup.write(pictures, {0}, true, 1, 8).tokens == 27);
  CHECK(setup.write(pictures, {0}, true, 1, 8).longest == 27);
  setup.budget.longest = 26;
  CHECK(setup.write(pictures, {0}, true, 1, 8).longest == 26);
  setup.preprocess.sizing.rule = TokenCap{25};
  CHECK(setup.write(pictures, {0}, true, 1, 8).longest == 26);
  CHECK(setup.write(pictures, {0}, false, 1, 8).tokens == 27);
  CHECK(setup.write(pictures, {0}, false, 1, 1).longest == 25);
}

TEST_CASE("rounded tokens of a model that merges patches are whole blocks") {
  std::mt19937 random(23);
  Setup setup;
  setup.model.token_merge = 2;
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 16, 16);
  for (const std::int32_t quantum : {1, 3, 6, 8}) {
    const Pack pack = setup.write(pictures, {0}, true, 1, quantum);
    CHECK(pack.tokens % 4 == 0);
    CHECK(pack.tokens % quantum == 0);
  }
  setup.model.deepstack_merge = 3;
  CHECK(setup.write(pictures, {0}, true, 1, 1).tokens % 36 == 0);
  setup.model.deepstack_merge = 1;
  setup.budget.tokens = 18;
  CHECK(setup.write(pictures, {0}, true, 1, 24).tokens == 16);
}

TEST_CASE("a graph gets the inputs it names, in its order, and no others") {
  std::mt19937 random(12);
  Setup setup;
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 8, 8);
  setup.graph.inputs = {setup.graph.inputs[3], setup.graph.inputs[0]};
  const Pack pack = setup.write(pictures, {0});
  REQUIRE(pack.inputs.size() == 2);
  CHECK(pack.inputs[0].name() == "grid_hw");
  CHECK(pack.inputs[1].name() == "patches");
}

TEST_CASE("plans and images that do not fit are refused") {
  std::mt19937 random(14);
  std::vector<Picture> pictures;
  pictures.emplace_back(random, 16, 16);
  pictures.emplace_back(random, 16, 16);
  Setup setup;
  CHECK_THROWS_WITH_AS(setup.write(pictures, {}), "no image", InvalidInput);
  CHECK_THROWS_WITH_AS(setup.write(pictures, {2}), "there are 2", InvalidInput);
  CHECK_THROWS_WITH_AS(setup.write(pictures, {-1}), "image -1", InvalidInput);
  setup.budget = {31, 16, 31};
  CHECK_THROWS_WITH_AS(setup.write(pictures, {0, 1}), "budget of 31 tokens", InvalidInput);
  setup.budget = {64, 1, 64};
  CHECK_THROWS_WITH_AS(setup.write(pictures, {0, 1}), "its budget is 1", InvalidInput);
  pictures[1].view.data = nullptr;
  CHECK_THROWS_WITH_AS(setup.write(pictures, {1}), "image 1", InvalidInput);
}
