// Random sizes, strides, formats, filters and mistakes against write_pack, resize_image and convert_to_rgb: each gives
// a result or InvalidInput, reads no byte that is not the image's and writes none that is not the result's. Buffers
// have the exact size, so that the address sanitizer sees both. `NAVIT_EDGE_FUZZ_COUNT` rounds (`make fuzz`), a few
// hundred in CI.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  std::int32_t up_to(std::int32_t most) {
    return static_cast<std::int32_t>(random_() % static_cast<unsigned>(most + 1));
  }
  bool one_in(std::int32_t n) { return up_to(n - 1) == 0; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

 private:
  std::mt19937 random_;
};

/// A plane that owns exactly the bytes its rows span; rows may lie in any order of strides.
struct Plane {
  Plane(Dice& dice, std::int32_t rows, std::int32_t row_bytes) {
    const std::int64_t gap = dice.one_in(2) ? 0 : dice.up_to(40);
    const std::int64_t step = row_bytes + gap;
    const auto count = static_cast<std::size_t>(step * (rows - 1) + row_bytes);
    memory = std::make_unique<std::uint8_t[]>(count);
    for (std::size_t i = 0; i < count; ++i) memory[i] = dice.byte();
    const bool flipped = dice.one_in(3);
    stride = flipped ? -step : step;
    data = memory.get() + (flipped ? step * (rows - 1) : 0);
  }
  std::unique_ptr<std::uint8_t[]> memory;
  const std::uint8_t* data;
  std::int64_t stride;
};

struct RandomImage {
  explicit RandomImage(Dice& dice) {
    const auto side = [&] {
      return 1 + (dice.one_in(3) ? dice.up_to(2) : dice.one_in(8) ? dice.up_to(900) : dice.up_to(90));
    };
    view.height_px = side();
    view.width_px = side();
    view.format = static_cast<PixelFormat>(dice.up_to(static_cast<std::int32_t>(PixelFormat::kI420)));
    switch (view.format) {
      case PixelFormat::kByChannels:
        view.channels = dice.one_in(2) ? 3 : dice.one_in(2) ? 1 : 4;
        break;
      case PixelFormat::kRgb:
      case PixelFormat::kBgr:
        view.channels = 3;
        break;
      case PixelFormat::kGray:
      case PixelFormat::kNv12:
      case PixelFormat::kI420:
        view.channels = 1;
        break;
      default:
        view.channels = 4;
    }
    view.matrix = dice.one_in(2) ? YuvMatrix::kBt601 : YuvMatrix::kBt709;
    view.range = dice.one_in(2) ? YuvRange::kLimited : YuvRange::kFull;
    planes.emplace_back(dice, view.height_px, view.width_px * view.channels);
    const int chroma = view.format == PixelFormat::kNv12 ? 1 : view.format == PixelFormat::kI420 ? 2 : 0;
    for (int i = 0; i < chroma; ++i) {
      planes.emplace_back(dice, (view.height_px + 1) / 2, (view.width_px + 1) / 2 * (chroma == 1 ? 2 : 1));
      view.planes[i] = planes.back().data;
      view.plane_stride_bytes[i] = planes.back().stride;
    }
    view.data = planes.front().data;
    view.row_stride_bytes = planes.front().stride;
  }
  ImageView view;
  std::vector<Plane> planes;
};

/// A view that must be refused before a pixel of it is read.
ImageView broken(Dice& dice, ImageView view) {
  switch (dice.up_to(5)) {
    case 0:
      view.height_px = -dice.up_to(3);
      break;
    case 1:
      view.width_px = (1 << 20) + 1 + dice.up_to(1000);
      break;
    case 2:
      view.data = nullptr;
      break;
    case 3:
      view.channels = dice.one_in(2) ? 2 : 5 + dice.up_to(100);
      break;
    case 4:
      view.format = static_cast<PixelFormat>(20 + dice.up_to(1000));
      break;
    default:
      view.height_px = 2 + dice.up_to(5);
      view.width_px = 8;
      view.row_stride_bytes = dice.one_in(2) ? 7 : -1;
  }
  return view;
}

int rounds() {
  const char* wanted = std::getenv("NAVIT_EDGE_FUZZ_COUNT");
  return wanted != nullptr ? std::max(1, std::atoi(wanted)) : 400;
}

}  // namespace

TEST_CASE("any image, target and filter gives a result or InvalidInput, and stays inside of its memory") {
  for (int round = 0; round < rounds(); ++round) {
    Dice dice(static_cast<unsigned>(round));
    const RandomImage image(dice);
    PreprocessSpec preprocess;
    preprocess.filter = static_cast<Filter>(dice.up_to(5));
    preprocess.alpha = dice.one_in(2) ? Alpha::kDrop : Alpha::kComposite;
    preprocess.background = {dice.byte(), dice.byte(), dice.byte()};
    preprocess.patch_px = 1 + dice.up_to(33);

    const auto area = [](Size size) {
      return static_cast<std::size_t>(size.height_px) * static_cast<std::size_t>(size.width_px);
    };
    const Size same = image.view.size();
    const Size target = dice.one_in(6) ? same : Size{1 + dice.up_to(120), 1 + dice.up_to(120)};
    const auto channels = static_cast<std::size_t>(resized_channels(image.view));
    const auto out = std::make_unique<std::uint8_t[]>(area(target) * channels);
    resize_image(image.view, target, preprocess.filter, out.get());
    const auto rgb = std::make_unique<std::uint8_t[]>(area(same) * 3);
    convert_to_rgb(image.view, preprocess.alpha, preprocess.background, rgb.get());

    // The pack of the image is that of its conversion, whatever the threads.
    const Grid grid =
        same.height_px % preprocess.patch_px == 0 && same.width_px % preprocess.patch_px == 0 && dice.one_in(2)
            ? Grid{same.height_px / preprocess.patch_px, same.width_px / preprocess.patch_px}
            : Grid{1 + dice.up_to(6), 1 + dice.up_to(6)};
    const ImageView views[] = {image.view, {rgb.get(), same.height_px, same.width_px, 3, 0}};
    const Grid grids[] = {grid, grid};
    GraphSpec graph;
    graph.inputs = {
        {"patches", DType::kUInt8, {{'T', 0}, {'\0', std::int64_t{3} * preprocess.patch_px * preprocess.patch_px}}}};
    Pack pack;
    PackPlan plan;
    plan.images = {0, 1};
    const PackWriter writer({preprocess, {}, graph, {{1 << 28, 4, 1 << 28}}, true});
    writer.write(plan, views, grids, 1 + dice.up_to(2), pack);
    const std::uint8_t* patches = pack.inputs[0].as<std::uint8_t>();
    const std::size_t half = pack.inputs[0].bytes() / 2;
    CHECK(std::equal(patches, patches + half, patches + half));

    const ImageView wrong = broken(dice, image.view);
    std::uint8_t none[1] = {};
    const ImageView with_wrong[] = {image.view, wrong};
    CHECK_THROWS_AS(writer.write(plan, with_wrong, grids, 1, pack), InvalidInput);
    CHECK_THROWS_AS(resize_image(wrong, target, preprocess.filter, none), InvalidInput);
    CHECK_THROWS_AS(convert_to_rgb(wrong, preprocess.alpha, preprocess.background, none), InvalidInput);
    CHECK_THROWS_AS(resize_image(image.view, {0, target.width_px}, preprocess.filter, none), InvalidInput);
    CHECK_THROWS_AS(resize_image(image.view, {1, (1 << 20) + 1}, preprocess.filter, none), InvalidInput);
  }
}
