// The fields of a sizing rule: reading and checking.
#pragma once

#include <cstdint>
#include <string>

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// What is wrong with the fields of `sizing`, in words; empty where nothing is.
std::string sizing_fault(const SizingSpec& sizing, std::int32_t patch_px);

/// `preprocess.sizing`. Throws BundleError.
SizingSpec read_sizing(const JsonReader& json, std::int32_t patch_px);

}  // namespace navit_edge
