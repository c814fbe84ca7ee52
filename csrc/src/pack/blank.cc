#include "pack/blank.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "pack/band_writer.h"
#include "pack/scratch.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

bool all_blank_around(std::span<const std::uint8_t> blank, Grid grid, std::int32_t row, std::int32_t col) {
  for (std::int32_t r = std::max(row - 1, 0); r <= std::min(row + 1, grid.rows - 1); ++r) {
    for (std::int32_t c = std::max(col - 1, 0); c <= std::min(col + 1, grid.cols - 1); ++c) {
      if (blank[static_cast<std::size_t>(r) * static_cast<std::size_t>(grid.cols) + static_cast<std::size_t>(c)] == 0) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

KeptPatches kept_beside_blank(std::span<const std::uint8_t> blank, Grid grid) {
  KeptPatches kept;
  std::int32_t patch = 0;
  for (std::int32_t row = 0; row < grid.rows; ++row) {
    for (std::int32_t col = 0; col < grid.cols; ++col, ++patch) {
      const bool goes = blank[static_cast<std::size_t>(patch)] != 0 && all_blank_around(blank, grid, row, col);
      if (!goes) kept.push_back(patch);
    }
  }
  if (kept.empty()) kept.push_back(0);
  return kept;
}

std::shared_ptr<const KeptPatches> patches_that_are_not_blank(const ImageView& image, Grid grid,
                                                              const PreprocessSpec& preprocess, std::int32_t range) {
  check_image(image, "the image", preprocess);
  if (grid.rows < 1 || grid.cols < 1)
    throw InvalidInput("a grid without patches; expected the result of resize_target");
  const auto count = static_cast<std::size_t>(grid.tokens());
  const auto side = static_cast<std::size_t>(preprocess.patch_px);
  std::vector<std::uint8_t> patches(count * side * side * kChannels);
  std::vector<std::uint8_t> blank(count);
  const Segment segment{0, 0, grid, placement_of(image.image_size(), grid, preprocess), nullptr};
  WorkerScratch scratch;
  write_band({0, 0, grid.rows}, image, segment, preprocess, {patches.data(), nullptr, blank.data(), range}, scratch);
  auto kept = std::make_shared<const KeptPatches>(kept_beside_blank(blank, grid));
  return kept->size() < count ? kept : nullptr;
}

}  // namespace navit_edge
