// Whether a session's memory can be there at all, before any of it is taken.
#pragma once

#include <span>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// Bytes that a session of `engines` and `slots` sets aside at the least: inputs, outputs, and what is counted by
/// image.
double bytes_to_open(const Manifest& manifest, std::span<const EngineSpec> engines, int slots);

/// The error of an engine whose budgets are too large: `found` says what there is.
BackendError too_little_memory(const std::string& engine, const Budget& budget, double bytes, const std::string& found);

}  // namespace navit_edge
