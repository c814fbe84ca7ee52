// Sizing rules, as far as other stages ask for parts of them.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/manifest.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// Why no image could keep `max_tokens` under the rule, in words; empty if one could.
std::string cap_fault(const SizingSpec& sizing, std::int32_t patch_px, std::int32_t max_tokens);

/// The grid under `capped(preprocess.sizing, max_tokens)`. If the rule gives an image more at the least (a long one
/// under smart-resize), that. `preprocess` and `max_tokens` have no fault. Allocates nothing.
Grid grid_under_cap(Size image, const PreprocessSpec& preprocess, std::int32_t max_tokens);

/// The grid of the rule "native" without a cap.
Grid native_grid(Size image, const SizingSpec& sizing, std::int32_t patch_px);

}  // namespace navit_edge
