// Integers where the rule is ours. Where it is another library's, the same operations on doubles in the same order as
// in its Python (this file is compiled without contraction), so that every size agrees.
#include "sizing/rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "navit_edge/error.h"
#include "navit_edge/sizing.h"

namespace navit_edge {
namespace {

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

std::string text(Size size) { return std::to_string(size.height_px) + " x " + std::to_string(size.width_px); }

/// side / P rounded half up, at least 1.
std::int32_t nearest(std::int32_t side_px, std::int32_t patch_px) {
  const std::int64_t count = (std::int64_t{2} * side_px + patch_px) / (std::int64_t{2} * patch_px);
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, count));
}

std::int32_t rounded_up(std::int32_t side_px, std::int32_t patch_px) {
  return side_px < 1 ? 1 : (side_px - 1) / patch_px + 1;
}

std::int32_t rounded_down(std::int32_t side_px, std::int32_t patch_px) { return std::max(1, side_px / patch_px); }

/// The largest grid under `max_tokens` on the way of an image that is scaled up from nothing to `end`: each side gains
/// a patch where it crosses a rounding boundary, (n + 1/2) patches.
Grid largest_on_path(Size image, Grid end, std::int32_t max_tokens) {
  // The products stay below 2^63: a side of the grid is at most max_tokens.
  Grid grid{1, 1};
  for (;;) {
    const bool rows_first =
        (std::int64_t{2} * grid.rows + 1) * image.width_px <= (std::int64_t{2} * grid.cols + 1) * image.height_px;
    const bool rows_grow = grid.cols >= end.cols || (rows_first && grid.rows < end.rows);
    const Grid next = rows_grow ? Grid{grid.rows + 1, grid.cols} : Grid{grid.rows, grid.cols + 1};
    if (next.tokens() > max_tokens) return grid;
    grid = next;
  }
}

// The grid of an image under each rule. `cap_tokens`: the session's own limit, 0 for none; rules that state a limit of
// their own have it lowered already.

Grid grid_of(const TokenCap& rule, Size image, std::int32_t patch_px, std::int32_t) {
  if (rule.upscale) return largest_on_path(image, {kMost, kMost}, rule.max_tokens);
  const Grid native = native_grid(image, Fit::kResize, patch_px);
  return native.tokens() <= rule.max_tokens ? native : largest_on_path(image, native, rule.max_tokens);
}

Grid grid_of(const Native& rule, Size image, std::int32_t patch_px, std::int32_t cap_tokens) {
  const Grid grid = native_grid(image, rule.fit, patch_px);
  if (cap_tokens == 0 || grid.tokens() <= cap_tokens) return grid;
  return grid_of(TokenCap{cap_tokens, false}, image, patch_px, 0);
}

/// transformers, models/siglip2/image_processing_siglip2.py: get_image_size_for_max_num_patches;
/// timm, data/naflex_transforms.py: get_image_size_for_seq.
Grid grid_of(const NaFlex& rule, Size image, std::int32_t patch_px, std::int32_t) {
  constexpr double kEps = 1e-5;
  double rows = 1;
  double cols = 1;
  const auto scaled = [&](double scale, std::int32_t side_px) {
    return std::max(1.0, std::ceil(side_px * scale / patch_px));
  };
  const auto tokens_at = [&](double scale) {
    rows = scaled(scale, image.height_px);
    cols = scaled(scale, image.width_px);
    return rows * cols;
  };
  double lowest = kEps / 10;
  double highest = 100.0;
  while (highest - lowest >= kEps) {
    const double scale = (lowest + highest) / 2;
    (tokens_at(scale) <= rule.max_tokens ? lowest : highest) = scale;
  }
  if (tokens_at(lowest) > rule.max_tokens) {
    throw InvalidInput("an image of " + text(image) +
                       " pixels (height x width) is too long for the sizing rule naflex: " +
                       "even at its smallest scale, 1e-6, it needs more than " + std::to_string(rule.max_tokens) +
                       " patches; make it smaller first");
  }
  return {static_cast<std::int32_t>(rows), static_cast<std::int32_t>(cols)};
}

struct Sides {
  double height;
  double width;
};

/// An image with a side below `cell` pixels, enlarged as the smart_resize of models/glm4v ("floor", where rounding may
/// leave the side a pixel below the cell) and of models/paddleocr_vl ("nearest") in transformers do it first.
Sides enlarged(Sides image, double cell, Enlarge enlarge) {
  auto [height, width] = image;
  if (enlarge == Enlarge::kFloor && (height < cell || width < cell)) {
    const double scale = std::max(cell / height, cell / width);
    height = std::floor(height * scale);
    width = std::floor(width * scale);
  }
  if (enlarge == Enlarge::kNearest && height < cell) {
    width = std::nearbyint((width * cell) / height);
    height = cell;
  }
  if (enlarge == Enlarge::kNearest && width < cell) {
    height = std::nearbyint((height * cell) / width);
    width = cell;
  }
  return {height, width};
}

/// transformers, models/qwen2_vl/image_processing_qwen2_vl.py: smart_resize. The products of sides are below 2^53 for
/// every image that fits in a memory, so that Python's exact integers and these doubles agree. An aspect of 200 and at
/// most 2^53 pixels keep the sides below 2^31.
Grid grid_of(const SmartResize& rule, Size image, std::int32_t patch_px, std::int32_t) {
  constexpr double kMostAspect = 200;
  const double factor = static_cast<double>(patch_px) * rule.merge;
  const auto [height, width] =
      enlarged({static_cast<double>(image.height_px), static_cast<double>(image.width_px)}, factor, rule.enlarge);
  const double aspect = std::max(height, width) / std::min(height, width);
  if (aspect > kMostAspect) {
    throw InvalidInput("an image of " + text(image) + " pixels (height x width) has an aspect of " +
                       std::to_string(aspect) + "; the sizing rule smart-resize takes at most 200; crop it first");
  }
  const auto max_pixels = static_cast<double>(rule.max_pixels);
  const auto min_pixels = static_cast<double>(rule.min_pixels);
  double rows = std::nearbyint(height / factor);  // of factor pixels each; half to even, as Python rounds
  double cols = std::nearbyint(width / factor);
  const double pixels = (rows * factor) * (cols * factor);
  if (pixels > max_pixels) {
    const double beta = std::sqrt(height * width / max_pixels);
    rows = std::max(1.0, std::floor(height / beta / factor));
    cols = std::max(1.0, std::floor(width / beta / factor));
  } else if (pixels < min_pixels) {
    const double beta = std::sqrt(min_pixels / (height * width));
    rows = std::ceil(height * beta / factor);
    cols = std::ceil(width * beta / factor);
  }
  return {static_cast<std::int32_t>(rows * rule.merge), static_cast<std::int32_t>(cols * rule.merge)};
}

/// transformers, models/gemma4/image_processing_pil_gemma4.py: get_aspect_ratio_preserving_size. There some
/// squares come out as nothing by rounding if the limit is one cell, and are refused; here they get the cell.
Grid grid_of(const PatchBudget& rule, Size image, std::int32_t patch_px, std::int32_t) {
  const double height = image.height_px;
  const double width = image.width_px;
  const double cell = static_cast<double>(rule.merge) * patch_px;
  const double target_pixels = static_cast<double>(rule.max_tokens) * (static_cast<double>(patch_px) * patch_px);
  const double factor = std::sqrt(target_pixels / (height * width));
  double rows = std::floor(factor * height / cell);  // of cells
  double cols = std::floor(factor * width / cell);
  const double most = rule.max_tokens / (rule.merge * rule.merge);
  if (rows == 0 && cols == 0) {
    rows = cols = 1;
  } else if (rows == 0) {
    rows = 1;
    cols = std::min(std::floor(width / height), most);
  } else if (cols == 0) {
    cols = 1;
    rows = std::min(std::floor(height / width), most);
  }
  return {static_cast<std::int32_t>(rows * rule.merge), static_cast<std::int32_t>(cols * rule.merge)};
}

/// A side in patches, whole cells of `merge` of them. The bound keeps the count in its type: no memory holds more.
std::int32_t whole_cells(std::int32_t side_px, std::int32_t patch_px, std::int32_t merge) {
  const std::int64_t cell_px = std::int64_t{patch_px} * merge;
  const std::int64_t cells = side_px < 1 ? 1 : (side_px - 1) / cell_px + 1;
  return static_cast<std::int32_t>(std::min<std::int64_t>(cells, kMost / merge) * merge);
}

/// transformers, models/pixtral/image_processing_pixtral.py: get_resize_output_image_size, with patches of P * merge as
/// PixtralProcessor asks for them. There a side that comes out below one pixel gets no patch; here it gets a cell.
Grid longest_side_of(Size image, std::int32_t patch_px, const LongestSide& rule) {
  const double longest = rule.longest_px;
  const double ratio = std::max(image.height_px / longest, image.width_px / longest);
  if (ratio > 1) {
    image = {static_cast<std::int32_t>(std::floor(image.height_px / ratio)),
             static_cast<std::int32_t>(std::floor(image.width_px / ratio))};
  }
  const std::int32_t merge = std::max(1, rule.merge);
  return {whole_cells(image.height_px, patch_px, merge), whole_cells(image.width_px, patch_px, merge)};
}

Grid grid_of(const LongestSide& rule, Size image, std::int32_t patch_px, std::int32_t cap_tokens) {
  const Grid grid = longest_side_of(image, patch_px, rule);
  if (cap_tokens == 0 || grid.tokens() <= cap_tokens) return grid;
  // The longest side that keeps the cap: the count of patches never falls as the side grows.
  std::int32_t fits = 1;
  std::int32_t exceeds = std::min(rule.longest_px, std::max(image.height_px, image.width_px));
  while (exceeds - fits > 1) {
    const std::int32_t middle = fits + (exceeds - fits) / 2;
    (longest_side_of(image, patch_px, {middle, rule.merge}).tokens() <= cap_tokens ? fits : exceeds) = middle;
  }
  return longest_side_of(image, patch_px, {fits, rule.merge});
}

/// transformers, models/kimi_k25/image_processing_kimi_k25.py: navit_resize.
FilledGrid navit_resize(const NavitResize& rule, Size image, std::int32_t patch_px, std::int32_t max_tokens) {
  const double rows = std::max(1, image.height_px / patch_px);
  const double cols = std::max(1, image.width_px / patch_px);
  const double longest = rule.longest_px;
  const double scale =
      std::min({1.0, std::sqrt(max_tokens / (rows * cols)), longest / image.height_px, longest / image.width_px});
  const auto scaled = [&](std::int32_t side_px) {
    return std::min(std::max(1, static_cast<std::int32_t>(side_px * scale)), rule.longest_px);
  };
  const Size content{scaled(image.height_px), scaled(image.width_px)};
  return {content,
          {whole_cells(content.height_px, patch_px, rule.merge), whole_cells(content.width_px, patch_px, rule.merge)}};
}

Grid grid_of(const NavitResize& rule, Size image, std::int32_t patch_px, std::int32_t cap_tokens) {
  return filled_grid(rule, image, patch_px, cap_tokens).grid;
}

Grid grid_of(const Fixed& rule, Size, std::int32_t patch_px, std::int32_t) {
  return {rule.height_px / patch_px, rule.width_px / patch_px};
}

Grid target(Size image, const SizingSpec& sizing, std::int32_t patch_px) {
  return std::visit([&](const auto& rule) { return grid_of(rule, image, patch_px, sizing.cap_tokens); }, sizing.rule);
}

/// `sizing` with its limits brought down to `max_tokens`.
SizingSpec lowered(SizingSpec sizing, std::int32_t patch_px, std::int32_t max_tokens) {
  sizing.cap_tokens = sizing.cap_tokens == 0 ? max_tokens : std::min(sizing.cap_tokens, max_tokens);
  const auto lower = [&](auto& rule) {
    if constexpr (requires { rule.max_tokens; }) {
      rule.max_tokens = std::min(rule.max_tokens, max_tokens);
    } else if constexpr (requires { rule.max_pixels; }) {
      const double most_pixels = static_cast<double>(max_tokens) * patch_px * patch_px;  // may pass 2^63
      if (most_pixels < static_cast<double>(rule.max_pixels)) rule.max_pixels = static_cast<std::int64_t>(most_pixels);
      rule.min_pixels = std::min(rule.min_pixels, rule.max_pixels);
    }
  };
  std::visit(lower, sizing.rule);
  return sizing;
}

}  // namespace

FilledGrid filled_grid(const NavitResize& rule, Size image, std::int32_t patch_px, std::int32_t cap_tokens) {
  const FilledGrid filled = navit_resize(rule, image, patch_px, rule.max_tokens);
  if (cap_tokens == 0 || filled.grid.tokens() <= cap_tokens) return filled;
  // The largest limit whose grid keeps the cap, filled up: the count of patches never falls as the limit grows.
  std::int32_t fits = 1;
  std::int32_t exceeds = rule.max_tokens;
  while (exceeds - fits > 1) {
    const std::int32_t middle = fits + (exceeds - fits) / 2;
    (navit_resize(rule, image, patch_px, middle).grid.tokens() <= cap_tokens ? fits : exceeds) = middle;
  }
  return navit_resize(rule, image, patch_px, fits);
}

Grid native_grid(Size image, Fit fit, std::int32_t patch_px) {
  const auto count = fit == Fit::kPad ? rounded_up : fit == Fit::kCrop ? rounded_down : nearest;
  return {count(image.height_px, patch_px), count(image.width_px, patch_px)};
}

std::int32_t token_limit(const SizingRule& rule) noexcept {
  if (const auto* cap = std::get_if<TokenCap>(&rule)) return cap->max_tokens;
  if (const auto* naflex = std::get_if<NaFlex>(&rule)) return naflex->max_tokens;
  if (const auto* budget = std::get_if<PatchBudget>(&rule)) return budget->max_tokens;
  return 0;
}

std::int64_t least_patches(const SizingRule& rule) noexcept {
  const auto cell = [](const auto& one) -> std::int64_t {
    if constexpr (requires { one.merge; }) {
      const std::int64_t merge = std::max(1, one.merge);
      return merge * merge;
    } else {
      return 1;
    }
  };
  return std::visit(cell, rule);
}

std::string cap_fault(const SizingRule& rule, std::int32_t patch_px, std::int32_t max_tokens) {
  if (const std::int64_t cell = least_patches(rule); cell > 1 && max_tokens < cell) {
    return "the bundle's sizing rule " + std::string(word_of(rule)) + " merges " + std::to_string(cell) +
           " patches to one, so that an image has at least " + std::to_string(cell) + "; raise it";
  }
  const auto* fixed = std::get_if<Fixed>(&rule);
  if (fixed == nullptr) return {};
  const Grid grid = grid_of(*fixed, {}, patch_px, 0);
  if (grid.tokens() <= max_tokens) return {};
  return "the bundle's sizing rule fixed gives every image " + std::to_string(grid.rows) + " x " +
         std::to_string(grid.cols) + " = " + std::to_string(grid.tokens()) +
         " patches; raise it, or export with a smaller size";
}

SizingSpec capped(SizingSpec sizing, std::int32_t patch_px, std::int32_t max_tokens) {
  if (max_tokens < 1) {
    throw InvalidInput("max_tokens_per_image is " + std::to_string(max_tokens) +
                       "; expected at least 1, or 0 for the bundle's own cap");
  }
  const std::string fault = cap_fault(sizing.rule, patch_px, max_tokens);
  if (!fault.empty()) throw InvalidInput("max_tokens_per_image is " + std::to_string(max_tokens) + "; " + fault);
  return lowered(std::move(sizing), patch_px, max_tokens);
}

Grid grid_under_cap(Size image, const PreprocessSpec& preprocess, std::int32_t max_tokens) {
  return target(image, lowered(preprocess.sizing, preprocess.patch_px, max_tokens), preprocess.patch_px);
}

Grid resize_target(Size image, const PreprocessSpec& preprocess) {
  if (image.height_px < 1 || image.width_px < 1) {
    throw InvalidInput("an image of " + text(image) +
                       " pixels (height x width) has no grid; both sides must be at least 1");
  }
  const SizingSpec& sizing = preprocess.sizing;
  const Grid grid = target(image, sizing, preprocess.patch_px);
  if (sizing.cap_tokens > 0 && grid.tokens() > sizing.cap_tokens) {  // a long image under smart-resize
    throw InvalidInput("an image of " + text(image) + " pixels (height x width) needs " +
                       std::to_string(grid.tokens()) + " patches under the sizing rule " +
                       std::string(word_of(sizing.rule)) + "; max_tokens_per_image is " +
                       std::to_string(sizing.cap_tokens) + "; raise it, or crop the image to a smaller aspect");
  }
  return grid;
}

}  // namespace navit_edge
