// Sizing rules, as far as other stages ask for parts of them.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// The limit of patches of an image that `rule` states itself; 0: none.
std::int32_t token_limit(const SizingRule& rule) noexcept;

/// The fewest patches that `rule` can give an image: what it merges to one, or 1.
std::int64_t least_patches(const SizingRule& rule) noexcept;

/// Why no image could keep `max_tokens` under the rule, in words; empty if one could.
std::string cap_fault(const SizingRule& rule, std::int32_t patch_px, std::int32_t max_tokens);

/// The grid under `capped(preprocess.sizing, max_tokens)`. If the rule gives an image more at the least (a long one
/// under smart-resize), that. `preprocess` and `max_tokens` have no fault. Allocates nothing.
Grid grid_under_cap(Size image, const PreprocessSpec& preprocess, std::int32_t max_tokens);

/// What an image is scaled to under the rule navit-resize, before its sides are filled up, and the grid of that. If
/// `cap_tokens` is not 0, at most so many patches as far as the rule can.
struct FilledGrid {
  Size content;
  Grid grid;
};
FilledGrid filled_grid(const NavitResize& rule, Size image, std::int32_t patch_px, std::int32_t cap_tokens);

/// The grid of the rule "native" without a cap.
Grid native_grid(Size image, Fit fit, std::int32_t patch_px);

}  // namespace navit_edge
