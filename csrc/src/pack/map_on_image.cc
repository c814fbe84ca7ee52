#include "pack/map_on_image.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/placement.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

/// What a pixel of the picture takes from one side of the map: `own`, the cell that its centre lies in (-1: off the
/// grid), and the weights of the cells from `first` on.
struct Taps {
  std::int32_t own = -1;
  std::int32_t first = 0;
  std::vector<double> weights;
};

/// One side. cells: of the grid. cell_px: their side on the grid's pixels. begin_px, end_px: where the image lies
/// there.
struct Side {
  std::int32_t cells;
  std::int32_t cell_px;
  std::int32_t begin_px;
  std::int32_t end_px;
};

/// Of each of `count` pixels that the image's side is drawn with. Bilinear as Pillow's Image.resize with a box: a
/// triangle that is widened where several cells fall on a pixel. Cells that hold nothing of the image take no part.
std::vector<Taps> taps_of(const Side& side, double image_px_on_grid, std::int32_t count, Filter filter) {
  const double step = image_px_on_grid / count / side.cell_px;  // in cells
  const double start = static_cast<double>(side.begin_px) / side.cell_px;
  const std::int32_t first_cell = std::max(0, side.begin_px) / side.cell_px;
  const std::int32_t end_cell = std::min(side.cells, (side.end_px + side.cell_px - 1) / side.cell_px);
  const double reach = std::max(1.0, step);
  std::vector<Taps> all(static_cast<std::size_t>(count));
  for (std::int32_t i = 0; i < count; ++i) {
    Taps& taps = all[static_cast<std::size_t>(i)];
    const double centre = start + (i + 0.5) * step;
    if (centre < 0 || centre >= side.cells) continue;
    taps.own = std::clamp(static_cast<std::int32_t>(centre), first_cell, end_cell - 1);
    taps.first = taps.own;
    taps.weights = {1.0};
    if (filter == Filter::kNearest) continue;
    const auto low = static_cast<std::int32_t>(std::floor(centre - reach));
    const auto high = static_cast<std::int32_t>(std::ceil(centre + reach));
    taps.first = std::clamp(low, first_cell, taps.own);
    const std::int32_t end = std::clamp(high, taps.own + 1, end_cell);
    taps.weights.clear();
    for (std::int32_t cell = taps.first; cell < end; ++cell) {
      taps.weights.push_back(std::max(0.0, 1 - std::abs(cell + 0.5 - centre) / reach));
    }
  }
  return all;
}

/// Patches a side that a row stands for. Throws InvalidInput.
std::int32_t merge_of(const Result& result, std::int64_t rows) {
  if (rows == result.patches()) return 1;
  if (result.kept == nullptr) {
    const std::int32_t most = std::min(result.grid.rows, result.grid.cols);
    for (std::int32_t merge = 2; merge <= most; ++merge) {
      const bool whole = result.grid.rows % merge == 0 && result.grid.cols % merge == 0;
      if (whole && rows * merge * merge == result.grid.tokens()) return merge;
    }
  }
  throw InvalidInput("there are " + std::to_string(rows) + " rows of values for " + std::to_string(result.patches()) +
                     " patches on a grid of " + std::to_string(result.grid.rows) + " x " +
                     std::to_string(result.grid.cols) +
                     "; expected a row for each patch that the model saw, or for each cell of merged patches");
}

}  // namespace

std::vector<float> map_on_image(const Result& result, std::span<const float> values, std::int64_t cols,
                                const MapOptions& options) {
  if (options.filter != Filter::kBilinear && options.filter != Filter::kNearest) {
    throw InvalidInput("the filter is '" + std::string(word_of(options.filter)) + "'; expected bilinear or nearest");
  }
  const Size out = options.size == Size{} ? result.image : options.size;
  if (out.height_px < 1 || out.width_px < 1 || out.height_px > kMostSidePx || out.width_px > kMostSidePx) {
    throw InvalidInput("the size is " + std::to_string(out.height_px) + " x " + std::to_string(out.width_px) +
                       " pixels (height x width); both must be at least 1 and at most " + std::to_string(kMostSidePx));
  }
  if (cols < 1 || static_cast<std::int64_t>(values.size()) % cols != 0) {
    throw InvalidInput("there are " + std::to_string(values.size()) + " values for rows of " + std::to_string(cols) +
                       "; expected whole rows of at least one value");
  }
  const std::int32_t merge = merge_of(result, static_cast<std::int64_t>(values.size()) / cols);
  const Placement& at = result.placement;
  const Size on_grid = resized_size(result.image, at);
  const std::int32_t cell_px = at.patch_px * merge;
  const std::int32_t map_rows = result.grid.rows / merge;
  const std::int32_t map_cols = result.grid.cols / merge;
  const std::vector<Taps> down = taps_of({map_rows, cell_px, at.top_px, at.top_px + on_grid.height_px},
                                         on_grid.height_px, out.height_px, options.filter);
  const std::vector<Taps> across = taps_of({map_cols, cell_px, at.left_px, at.left_px + on_grid.width_px},
                                           on_grid.width_px, out.width_px, options.filter);

  // Row of `values` for each cell, -1 if it was dropped.
  std::vector<std::int64_t> row_of(static_cast<std::size_t>(map_rows) * static_cast<std::size_t>(map_cols), -1);
  for (std::size_t i = 0; result.kept == nullptr && i < row_of.size(); ++i) row_of[i] = static_cast<std::int64_t>(i);
  for (std::size_t i = 0; result.kept != nullptr && i < result.kept->size(); ++i) {
    row_of[static_cast<std::size_t>((*result.kept)[i])] = static_cast<std::int64_t>(i);
  }
  const auto row_at = [&](std::int32_t row, std::int32_t col) {
    return row_of[static_cast<std::size_t>(row) * static_cast<std::size_t>(map_cols) + static_cast<std::size_t>(col)];
  };

  const auto width = static_cast<std::size_t>(cols);
  std::vector<float> picture(static_cast<std::size_t>(out.height_px) * static_cast<std::size_t>(out.width_px) * width,
                             options.fill);
  std::vector<double> sums(width);
  float* pixel = picture.data();
  for (const Taps& y : down) {
    for (const Taps& x : across) {
      float* const to = pixel;
      pixel += width;
      if (y.own < 0 || x.own < 0 || row_at(y.own, x.own) < 0) continue;
      std::fill(sums.begin(), sums.end(), 0.0);
      double all = 0;
      for (std::size_t j = 0; j < y.weights.size(); ++j) {
        for (std::size_t i = 0; i < x.weights.size(); ++i) {
          const std::int64_t row =
              row_at(y.first + static_cast<std::int32_t>(j), x.first + static_cast<std::int32_t>(i));
          const double weight = y.weights[j] * x.weights[i];
          if (row < 0 || weight == 0) continue;
          all += weight;
          const float* const from = values.data() + row * cols;
          for (std::size_t c = 0; c < width; ++c) sums[c] += weight * from[c];
        }
      }
      for (std::size_t c = 0; c < width; ++c) to[c] = static_cast<float>(sums[c] / all);
    }
  }
  return picture;
}

}  // namespace navit_edge
