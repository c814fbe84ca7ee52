// Patches that hold two frames of a film: judged by the patches of each frame alone.
#include <cstdint>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

using Bytes = std::vector<std::uint8_t>;

/// The patches of one pack of all images, behind a prefix token each.
Bytes patches_of(const std::vector<ImageView>& images, std::int32_t patch_px, std::int32_t frames, int threads = 1) {
  PackSpec spec;
  spec.preprocess.sizing.rule = Native{};
  spec.preprocess.patch_px = patch_px;
  spec.preprocess.frames = frames;
  spec.model.prefix_tokens = 1;
  const std::int64_t values = std::int64_t{3} * patch_px * patch_px * frames;
  spec.graph.inputs = {{"patches", DType::kUInt8, {{'T', 0}, {'\0', values}}}};
  spec.budgets = {Budget{4096, 16, 4096}};
  spec.dynamic_tokens = true;
  PackPlan plan;
  std::vector<Grid> grids;
  for (const ImageView& image : images) {
    plan.images.push_back(static_cast<std::int32_t>(grids.size()));
    grids.push_back(resize_target(image.size(), spec.preprocess));
  }
  Pack pack;
  PackWriter(spec).write(plan, images, grids, threads, pack);
  const HostTensor& tensor = pack.inputs.front();
  return {tensor.as<std::uint8_t>(), tensor.as<std::uint8_t>() + tensor.bytes()};
}

}  // namespace

TEST_CASE("a patch of two frames holds the first frame's pixels, then the second's; an image is both frames") {
  for (const std::int32_t patch_px : {4, 14, 16, 32}) {
    for (const std::int32_t more_px : {0, 1}) {  // 1: resized
      const std::int32_t height = 2 * patch_px + more_px;
      const std::int32_t width = 3 * patch_px;
      Bytes first(static_cast<std::size_t>(height * width * 3));
      Bytes second(first.size());
      for (std::size_t i = 0; i < first.size(); ++i) {
        first[i] = static_cast<std::uint8_t>(i * 7);
        second[i] = static_cast<std::uint8_t>(i * 13 + 5);
      }
      const ImageView still{second.data(), height, width, 3, 0};
      ImageView pair{first.data(), height, width, 3, 0};
      const Bytes firsts = patches_of({pair, still}, patch_px, 1);
      const Bytes seconds = patches_of({still, still}, patch_px, 1);
      pair.next_frame = second.data();
      const std::ptrdiff_t frame_bytes = std::ptrdiff_t{3} * patch_px * patch_px;
      Bytes expected;
      for (auto one = firsts.begin(), other = seconds.begin(); one != firsts.end(); one += frame_bytes) {
        expected.insert(expected.end(), one, one + frame_bytes);
        expected.insert(expected.end(), other, other + frame_bytes);
        other += frame_bytes;
      }
      for (const int threads : {1, 3}) CHECK(patches_of({pair, still}, patch_px, 2, threads) == expected);
      CHECK_THROWS_WITH_AS(patches_of({pair}, patch_px, 1), "image 0 is two frames", InvalidInput);
    }
  }
}

TEST_CASE("a frame that follows has no planes") {
  const Bytes pixels(6);
  ImageView view{pixels.data(), 2, 2, 1, 0, PixelFormat::kNv12};
  view.planes[0] = pixels.data() + 4;
  view.next_frame = pixels.data();
  CHECK_THROWS_WITH_AS(patches_of({view}, 2, 2), "with a frame that follows", InvalidInput);
}
