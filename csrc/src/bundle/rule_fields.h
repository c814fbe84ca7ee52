// The fields of a sizing rule: reading and checking.
#pragma once

#include <cstdint>

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `preprocess.sizing`. Throws BundleError for an unknown rule or field, and for fields that do not fit the rule.
SizingRule read_sizing_rule(const JsonReader& json, std::int32_t patch_px);

}  // namespace navit_edge
