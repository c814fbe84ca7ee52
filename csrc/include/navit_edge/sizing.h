// Sizing: how large an image becomes. Sizes only, no pixels (docs/preprocessing.md).
#pragma once

#include <cstdint>
#include <string_view>

#include "navit_edge/manifest.h"
#include "navit_edge/placement.h"  // IWYU pragma: export
#include "navit_edge/types.h"

namespace navit_edge {

/// Reads `preprocess.sizing` of a manifest, by itself: {"rule": "naflex", "max_tokens": 256}. Throws BundleError for an
/// unknown rule or field, and for fields that do not fit the rule.
NAVIT_EDGE_API SizingSpec parse_sizing(std::string_view json, std::int32_t patch_px);

/// `sizing` for a caller who wants at most `max_tokens` patches an image: the bundle's own limit is lowered, never
/// raised. Throws InvalidInput below 1, and if no image can keep the limit under the rule.
NAVIT_EDGE_API SizingSpec capped(SizingSpec sizing, std::int32_t patch_px, std::int32_t max_tokens);

/// The grid of an image under the rule of `preprocess`, whose fields are such as parse_sizing accepts. Throws
/// InvalidInput for an empty image, and for one that the rule refuses.
NAVIT_EDGE_API Grid resize_target(Size image, const PreprocessSpec& preprocess);

}  // namespace navit_edge
